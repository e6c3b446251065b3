//! SeaORM on a proxy: what an application of SeaORM does, and what must not happen when its transactions are dropped or outlived.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use lambda_rds::{Error, Outcome, Proxy};
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, IsolationLevel, ModelTrait, PaginatorTrait, QueryFilter,
    QueryOrder, Schema, SqlErr, StreamTrait, TransactionError, TransactionTrait,
};

use super::stage::*;
use crate::support::fault_proxy::FaultProxy;
use crate::support::until::polled;

#[allow(unreachable_pub, reason = "the derives make public what belongs to it")]
mod cake {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "cake")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
        #[sea_orm(unique)]
        pub name: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(has_many = "super::fruit::Entity")]
        Fruit,
    }

    impl Related<super::fruit::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Fruit.def()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

#[allow(unreachable_pub, reason = "the derives make public what belongs to it")]
mod fruit {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "fruit")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
        pub name: String,
        pub cake_id: Option<i32>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(belongs_to = "super::cake::Entity", from = "Column::CakeId", to = "super::cake::Column::Id")]
        Cake,
    }

    impl Related<super::cake::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Cake.def()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// A proxy to a server of its own schema, with both tables. One connection: what is not given back is missed at once.
async fn kitchen() -> (Server, Proxy<Db>) {
    let server = Server::start(ServerOptions::default()).await;
    server.execute(OWN_SCHEMA).await;
    let db = proxy_to(&server).max_connections(1).build().expect("valid");
    let schema = Schema::new(backend(&db));
    db.execute(&schema.create_table_from_entity(cake::Entity)).await.expect("a table");
    db.execute(&schema.create_table_from_entity(fruit::Entity)).await.expect("a table");
    (server, db)
}

fn backend(db: &impl ConnectionTrait) -> sea_orm::DbBackend {
    db.get_database_backend()
}

fn a_cake(name: &str) -> cake::ActiveModel {
    cake::ActiveModel { id: NotSet, name: Set(name.to_owned()) }
}

async fn names(db: &impl ConnectionTrait) -> Vec<String> {
    let cakes = cake::Entity::find().order_by_asc(cake::Column::Name).all(db).await.expect("answers");
    cakes.into_iter().map(|cake| cake.name).collect()
}

#[tokio::test]
async fn entities_are_written_found_related_paged_and_streamed() -> Result<(), DbErr> {
    let (_server, db) = kitchen().await;
    let cheese = cake::Entity::insert(a_cake("cheese")).exec_with_returning(&db).await?;
    let chocolate = cake::Entity::insert(a_cake("chocolate")).exec(&db).await?.last_insert_id;
    assert_ne!(cheese.id, chocolate);
    let of = |name: &str, cake| fruit::ActiveModel { id: NotSet, name: Set(name.to_owned()), cake_id: Set(cake) };
    let fruits = [of("apple", Some(cheese.id)), of("pear", Some(cheese.id)), of("fig", None)];
    fruit::Entity::insert_many(fruits).exec(&db).await?;

    let with = cake::Entity::find().find_with_related(fruit::Entity).order_by_asc(fruit::Column::Name).all(&db).await?;
    let cheese_with = with.iter().find(|(cake, _)| *cake == cheese).expect("there");
    assert_eq!(cheese_with.1.iter().map(|fruit| &*fruit.name).collect::<Vec<_>>(), ["apple", "pear"]);
    assert_eq!(cheese.find_related(fruit::Entity).count(&db).await?, 2);

    let pages = fruit::Entity::find().order_by_asc(fruit::Column::Name).paginate(&db, 2);
    assert_eq!((pages.num_pages().await?, pages.fetch_page(1).await?.len()), (2, 1));

    let renamed = fruit::Entity::update_many()
        .col_expr(fruit::Column::Name, "plum".into())
        .filter(fruit::Column::CakeId.is_null())
        .exec(&db)
        .await?;
    assert_eq!(renamed.rows_affected, 1);
    let statement = backend(&db).build(
        sea_orm::sea_query::Query::select()
            .column(fruit::Column::Name)
            .from(fruit::Entity)
            .order_by(fruit::Column::Name, sea_orm::Order::Asc),
    );
    let rows = db.stream_raw(statement).await?;
    let streamed: Vec<String> = rows.map_ok(|row| row.try_get("", "name").expect("a name")).try_collect().await?;
    assert_eq!(streamed, ["apple", "pear", "plum"]);

    assert_eq!(fruit::Entity::delete_many().exec(&db).await?.rows_affected, 3);
    assert_eq!(cake::Entity::find_by_id(i32::MAX).one(&db).await?, None);
    Ok(())
}

#[tokio::test]
async fn a_transaction_keeps_what_it_commits_and_nothing_else() -> Result<(), DbErr> {
    let (_server, db) = kitchen().await;
    let tx = db.begin().await?;
    cake::Entity::insert(a_cake("kept")).exec(&tx).await?;
    for (name, end) in [("released", 0), ("rolled back", 1), ("dropped", 2)] {
        let inner = tx.begin().await?;
        cake::Entity::insert(a_cake(name)).exec(&inner).await?;
        match end {
            0 => inner.commit().await?,
            1 => inner.rollback().await?,
            _ => drop(inner),
        }
    }
    // What is read within a transaction has its connection, and streams too.
    let rows = tx.stream_raw(sea_orm::Statement::from_string(backend(&tx), "select name from cake")).await?;
    assert_eq!(rows.try_collect::<Vec<_>>().await?.len(), 2);
    tx.commit().await?;
    for end in 0..2 {
        let tx = db.begin().await?;
        cake::Entity::insert(a_cake("gone")).exec(&tx).await?;
        if end == 0 { tx.rollback().await? } else { drop(tx) }
    }
    assert_eq!(names(&db).await, ["kept", "released"]);
    Ok(())
}

#[tokio::test]
async fn a_closures_error_rolls_back_and_is_the_one_that_is_told() -> Result<(), DbErr> {
    let (_server, db) = kitchen().await;
    let insert = |name: &'static str, fails: bool| {
        TransactionTrait::transaction(&db, move |tx| {
            Box::pin(async move {
                cake::Entity::insert(a_cake(name)).exec(tx).await?;
                if fails { Err(DbErr::Custom("no more".to_owned())) } else { Ok(names(tx).await.len()) }
            })
        })
    };
    assert_eq!(insert("first", false).await.expect("commits"), 1);
    let told = insert("second", true).await.expect_err("fails");
    assert!(matches!(&told, TransactionError::Transaction(DbErr::Custom(text)) if text == "no more"), "{told}");
    assert_eq!(names(&db).await, ["first"]);
    Ok(())
}

#[tokio::test]
async fn a_transaction_is_what_it_was_asked_to_be_and_the_next_one_is_not() -> Result<(), DbErr> {
    let (server, db) = kitchen().await;
    let read_only = Some(sea_orm::AccessMode::ReadOnly);
    let tx = db.begin_with_config(Some(IsolationLevel::ReadUncommitted), read_only).await?;
    let refused = cake::Entity::insert(a_cake("none")).exec(&tx).await.expect_err("is read-only");
    assert!(refused.to_string().to_lowercase().contains("read"), "{refused}");
    tx.rollback().await?;

    let other = proxy_to(&server).build().expect("valid");
    let writer = other.begin().await?;
    cake::Entity::insert(a_cake("not yet")).exec(&writer).await?;
    for (level, seen) in [(Some(IsolationLevel::ReadUncommitted), READS_UNCOMMITTED), (None, false)] {
        let tx = db.begin_with_config(level, None).await?;
        assert_eq!(names(&tx).await.len(), usize::from(seen));
        tx.commit().await?;
    }
    writer.commit().await?;
    cake::Entity::insert(a_cake("written")).exec(&db).await?;
    assert_eq!(names(&db).await, ["not yet", "written"]);
    Ok(())
}

/// In no transaction its statements would be committed one by one.
#[tokio::test]
async fn nothing_runs_in_a_transaction_that_has_ended() -> Result<(), DbErr> {
    for end in 0..4 {
        let (_server, db) = kitchen().await;
        let outer = db.begin().await?;
        let inner = outer.begin().await?;
        let innermost = inner.begin().await?;
        let mut around = Some(outer);
        match (end, around.take_if(|_| end < 3)) {
            (0, Some(outer)) => outer.commit().await?,
            (1, Some(outer)) => outer.rollback().await?,
            (2, outer) => drop(outer),
            _ => inner.rollback().await?,
        }
        let refused =
            cake::Entity::insert(a_cake("astray")).exec(&innermost).await.expect_err("its transaction has ended");
        let refused = Error::from(refused);
        assert!(matches!(refused, Error::TransactionAborted { outcome: Outcome::NotExecuted, .. }), "{end}: {refused}");
        assert!(innermost.begin().await.is_err(), "{end}");
        assert!(innermost.commit().await.is_err(), "{end}");
        drop(around);
        assert_eq!(names(&db).await, [""; 0], "{end}");
    }
    Ok(())
}

/// What was done in both is committed with the one around: whoever is told less does it twice.
#[tokio::test]
async fn the_late_end_of_a_savepoint_tells_nothing_better_than_the_truth() -> Result<(), DbErr> {
    for commits in [true, false] {
        let (_server, db) = kitchen().await;
        let outer = db.begin().await?;
        let inner = outer.begin().await?;
        cake::Entity::insert(a_cake("there")).exec(&inner).await?;
        outer.commit().await?;
        let ended = if commits { inner.commit().await } else { inner.rollback().await };
        let ended = Error::from(ended.expect_err("it has ended with the one around it"));
        assert!(matches!(ended, Error::TransactionAborted { outcome: Outcome::Unknown, .. }), "{commits}: {ended}");
        assert_eq!(names(&db).await, ["there"]);
    }
    Ok(())
}

/// A text may set a savepoint too, which is nobody's value.
#[tokio::test]
async fn a_savepoint_inside_of_one_that_a_text_has_set_is_open() -> Result<(), DbErr> {
    let (_server, db) = kitchen().await;
    let outer = db.begin().await?;
    outer.execute_unprepared("savepoint by_text").await?;
    let inner = outer.begin().await?;
    cake::Entity::insert(a_cake("inner")).exec(&inner).await?;
    let innermost = inner.begin().await?;
    cake::Entity::insert(a_cake("taken back")).exec(&innermost).await?;
    innermost.rollback().await?;
    inner.commit().await?;
    outer.commit().await?;
    assert_eq!(names(&db).await, ["inner"]);
    Ok(())
}

/// A stream has its transaction's connection until it is dropped. Who waits for it in the same task would wait for ever.
#[tokio::test]
async fn what_waits_for_a_stream_of_its_own_transaction_is_refused_in_time() -> Result<(), DbErr> {
    let (server, db) = kitchen().await;
    cake::Entity::insert_many([a_cake("one"), a_cake("two")]).exec(&db).await?;
    let impatient = proxy_to(&server).max_connections(1).borrow_timeout(Duration::from_secs(2)).build();
    let impatient = impatient.expect("valid");
    let tx = impatient.begin().await?;
    let all = backend(&db).build(sea_orm::sea_query::Query::select().column(cake::Column::Name).from(cake::Entity));
    let mut rows = tx.stream_raw(all).await?;
    assert!(rows.try_next().await?.is_some());
    let refused = Error::from(cake::Entity::insert(a_cake("meanwhile")).exec(&tx).await.expect_err("it would wait"));
    assert!(matches!(refused, Error::Refused { .. }), "{refused}");
    assert_eq!(refused.outcome(), Outcome::NotExecuted);
    drop(rows);
    cake::Entity::insert(a_cake("afterwards")).exec(&tx).await?;
    tx.commit().await?;
    assert_eq!(names(&db).await, ["afterwards", "one", "two"]);
    Ok(())
}

/// A savepoint that is kept somewhere keeps neither the transaction around it open nor its connection.
#[tokio::test]
async fn a_dropped_transaction_is_rolled_back_whoever_holds_a_savepoint_of_it() -> Result<(), DbErr> {
    let (server, db) = kitchen().await;
    let single = proxy_to(&server).max_connections(1).borrow_timeout(Duration::from_secs(2)).build().expect("valid");
    let outer = single.begin().await?;
    let inner = outer.begin().await?;
    cake::Entity::insert(a_cake("dropped")).exec(&inner).await?;
    drop(outer);
    single.upkeep().await;
    assert_eq!(single.status().leased, 0);
    cake::Entity::insert(a_cake("another")).exec(&single).await?;
    assert!(inner.commit().await.is_err());
    assert_eq!(names(&db).await, ["another"]);
    Ok(())
}

/// One that is dropped after the transaction around it has ended takes nothing with it that is at its depth by now.
#[tokio::test]
async fn what_is_dropped_late_rolls_nobody_else_back() -> Result<(), DbErr> {
    let (_server, db) = kitchen().await;
    let outer = db.begin().await?;
    let inner = outer.begin().await?;
    let innermost = inner.begin().await?;
    inner.rollback().await?;
    let inner = outer.begin().await?;
    let another = inner.begin().await?;
    cake::Entity::insert(a_cake("kept")).exec(&another).await?;
    drop(innermost);
    assert_eq!(names(&another).await, ["kept"]);
    another.commit().await?;
    inner.commit().await?;
    outer.commit().await?;
    assert_eq!(names(&db).await, ["kept"]);
    Ok(())
}

#[tokio::test]
async fn errors_are_the_servers_and_ours() -> Result<(), DbErr> {
    let (server, db) = kitchen().await;
    cake::Entity::insert(a_cake("once")).exec(&db).await?;
    let twice = cake::Entity::insert(a_cake("once")).exec(&db).await.expect_err("is there already");
    assert!(matches!(twice.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))), "{twice}");
    assert_eq!(Error::from(twice).outcome(), Outcome::RolledBack);
    let missing =
        cake::Entity::update(cake::ActiveModel { id: Set(i32::MAX), name: Set("x".to_owned()) }).exec(&db).await;
    assert!(matches!(missing, Err(DbErr::RecordNotUpdated)), "{missing:?}");
    drop(server);
    let lost = Error::from(cake::Entity::find().all(&db).await.expect_err("the server is gone"));
    assert_ne!(lost.outcome(), Outcome::Completed);
    assert!(lost.is_connection_lost() || lost.is_retryable(), "{lost}");
    Ok(())
}

/// A future of SeaORM's that is dropped anywhere leaves no row, no open transaction, and the connection for the next one.
#[tokio::test]
async fn a_transaction_that_is_dropped_at_any_await_leaves_nothing() -> Result<(), DbErr> {
    let (server, _) = kitchen().await;
    // Each answer is waited for, however busy the machine is.
    let way = FaultProxy::start(SocketAddr::from((Ipv4Addr::LOCALHOST, server.port()))).await;
    way.delay(Duration::from_millis(2));
    let db = proxy_to(&server).port(way.port()).max_connections(1).build().expect("valid");
    let mut polls = 0;
    loop {
        polls += 1;
        let work = TransactionTrait::transaction(&db, |tx| {
            Box::pin(async move {
                cake::Entity::insert(a_cake("outer")).exec(tx).await?;
                let inner = tx.begin().await?;
                cake::Entity::insert(a_cake("inner")).exec(&inner).await?;
                inner.commit().await?;
                Err::<(), _>(DbErr::Custom("never".to_owned()))
            })
        });
        let ended = polled(polls, work).await.is_some();
        assert_eq!(names(&db).await, [""; 0], "after {polls} polls");
        if ended {
            assert!(polls > 4, "{polls}");
            return Ok(());
        }
    }
}
