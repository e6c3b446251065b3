//! What may be set for one statement, by `SET STATEMENT … FOR` of MariaDB or by MySQL's hint `SET_VAR`, and leaves nothing but what
//! that statement has done.
//!
//! The values go back by themselves; what they have brought about may not: a trace of the text, a number for the next row. So the list
//! is of what is known to leave nothing.

/// Limits and sizes, and how a statement is executed.
const PASSING: [&str; 35] = [
    "max_statement_time",
    "lock_wait_timeout",
    "innodb_lock_wait_timeout",
    "sort_buffer_size",
    "join_buffer_size",
    "join_buffer_space_limit",
    "join_cache_level",
    "read_buffer_size",
    "read_rnd_buffer_size",
    "mrr_buffer_size",
    "max_heap_table_size",
    "tmp_table_size",
    "tmp_memory_table_size",
    "tmp_disk_table_size",
    "max_sort_length",
    "max_length_for_sort_data",
    "group_concat_max_len",
    "max_recursive_iterations",
    "sql_select_limit",
    "eq_range_index_dive_limit",
    "in_predicate_conversion_threshold",
    "optimizer_switch",
    "optimizer_search_depth",
    "optimizer_prune_level",
    "optimizer_use_condition_selectivity",
    "long_query_time",
    "max_execution_time",
    "range_optimizer_max_mem_size",
    "range_alloc_block_size",
    "set_operations_buffer_size",
    "bulk_insert_buffer_size",
    "cte_max_recursion_depth",
    "max_error_count",
    "max_seeks_for_key",
    "div_precision_increment",
];

/// Whether nothing of a setting stays when it was set for one statement.
pub(super) fn passes_for_one_statement(name: &str) -> bool {
    PASSING.iter().any(|known| name.eq_ignore_ascii_case(known))
}
