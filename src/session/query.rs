//! A query, taken apart to see its text, and put together again for the driver.

use std::sync::OnceLock;

use sqlx::error::BoxDynError;
use sqlx::{Arguments as _, AssertSqlSafe, Error, Execute, SqlSafeStr as _, SqlStr};

use crate::engine::{Bound, Engine};

/// A query of the application, or a question that goes before one.
pub(super) struct Query<DB: Engine> {
    pub(super) sql: SqlStr,
    pub(super) arguments: Option<DB::Arguments>,
    /// What its values are bound as, once somebody has asked.
    pub(super) bound: OnceLock<Option<Bound>>,
    /// What the driver prepares for it is kept.
    pub(super) persistent: bool,
    /// Not to be put into a transaction.
    pub(super) alone: bool,
    /// So many connections have learnt a type by it, and lost it by that.
    pub(super) taught: usize,
}

impl<DB: Engine> Query<DB> {
    pub(super) fn take<'q>(mut query: impl Execute<'q, DB>) -> Result<Self, Error> {
        // NOTE: the order matters. The arguments are encoded on taking, and `sql` consumes the query. What columns a statement of the
        // application had when it was prepared is left out: where the driver prepares it again it may have others.
        let arguments = query.take_arguments().map_err(Error::Encode)?;
        let persistent = query.persistent();
        let sql = query.sql();
        Ok(Self { sql, arguments, bound: OnceLock::new(), persistent, alone: false, taught: 0 })
    }

    /// A text of this crate's own, in one exchange.
    pub(super) fn of(sql: String) -> Self {
        Self {
            sql: Self::text(sql),
            arguments: None,
            bound: OnceLock::new(),
            persistent: false,
            alone: false,
            taught: 0,
        }
    }

    /// Only what the driver prepares can have become stale.
    pub(super) fn is_prepared(&self) -> bool {
        self.arguments.is_some()
    }

    pub(super) fn has_values(&self) -> bool {
        self.arguments.as_ref().is_some_and(|arguments| arguments.len() > 0)
    }

    /// What its values are bound as, where it has any, or its text may have parameters for some.
    pub(super) fn bound(&self) -> Option<&Bound> {
        let arguments = self.arguments.as_ref()?;
        if arguments.len() == 0 && !self.may_have_parameters() {
            return None;
        }
        self.bound.get_or_init(|| DB::bound(self.sql.as_str(), arguments)).as_ref()
    }

    /// Whether its text may have parameters.
    pub(super) fn may_have_parameters(&self) -> bool {
        self.sql.as_str().contains(DB::RULES.parameter)
    }

    /// The same query with another text.
    pub(super) fn reworded(self, text: String) -> Self {
        Self { sql: Self::text(text), bound: OnceLock::new(), ..self }
    }

    /// A text as the driver takes it.
    pub(super) fn text(text: String) -> SqlStr {
        AssertSqlSafe(text).into_sql_str()
    }

    /// The same query in one exchange, without anything prepared.
    pub(super) fn unprepared(self) -> Self {
        Self { arguments: None, bound: OnceLock::new(), ..self }
    }
}

impl<DB: Engine> Clone for Query<DB> {
    fn clone(&self) -> Self {
        Self {
            sql: self.sql.clone(),
            arguments: self.arguments.clone(),
            bound: self.bound.clone(),
            persistent: self.persistent,
            alone: self.alone,
            taught: self.taught,
        }
    }
}

impl<DB: Engine> Execute<'_, DB> for Query<DB> {
    fn sql(self) -> SqlStr {
        self.sql
    }

    fn statement(&self) -> Option<&DB::Statement> {
        None
    }

    fn take_arguments(&mut self) -> Result<Option<DB::Arguments>, BoxDynError> {
        Ok(self.arguments.take())
    }

    fn persistent(&self) -> bool {
        self.persistent
    }
}
