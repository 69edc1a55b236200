//! Projections and retention.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use trunkline_event_log::rusqlite::Transaction;
use trunkline_event_log::{
    Error, EventLog, Expected, Projection, ProjectionResult, RecordedEvent, Retention,
};

use crate::fixture::{Log, event, event_of_size};

/// Adds up positions; fails or panics at one of them while it is told to.
struct Sum {
    version: u32,
    fails_at: Option<u64>,
    broken: Arc<AtomicBool>,
}

impl Sum {
    fn sound(version: u32) -> Box<Self> {
        Box::new(Self { version, fails_at: None, broken: Arc::default() })
    }
}

impl Projection for Sum {
    fn name(&self) -> &str {
        "sum"
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn setup(&self, transaction: &Transaction<'_>) -> ProjectionResult {
        Ok(transaction.execute_batch("CREATE TABLE IF NOT EXISTS sum (n INTEGER NOT NULL)")?)
    }

    fn apply(&self, transaction: &Transaction<'_>, event: &RecordedEvent) -> ProjectionResult {
        transaction.execute("INSERT INTO sum VALUES (?1)", [event.position])?;
        if self.fails_at == Some(event.position) && self.broken.load(Ordering::Relaxed) {
            if event.position.is_multiple_of(2) {
                return Err("told to fail".into());
            }
            panic!("told to panic");
        }
        Ok(())
    }

    fn reset(&self, transaction: &Transaction<'_>) -> ProjectionResult {
        Ok(transaction.execute_batch("DROP TABLE IF EXISTS sum")?)
    }
}

async fn rows(log: &EventLog) -> (u64, u64) {
    log.query(|sql| {
        sql.query_row("SELECT count(*), coalesce(sum(n), 0) FROM sum", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
    })
    .await
    .unwrap()
}

async fn fill(log: &EventLog, count: u128) {
    for n in 0..count {
        log.append("s", Expected::Any, vec![event(n)]).await.unwrap();
    }
}

#[tokio::test]
async fn a_projection_sees_each_event_once_over_restarts() {
    let log = Log::open();
    fill(&log, 300).await;
    log.project(Sum::sound(1)).await.unwrap();
    fill(&log, 20).await;
    log.projected("sum", 320).await.unwrap();
    assert_eq!(rows(&log).await, (320, 320 * 321 / 2));
    assert_eq!(log.project(Sum::sound(1)).await.unwrap_err().code(), "TL5012");
    let log = log.reopen();
    fill(&log, 5).await;
    log.project(Sum::sound(1)).await.unwrap();
    log.projected("sum", 325).await.unwrap();
    assert_eq!(rows(&log).await.0, 325);
    // A new version begins again.
    let log = log.reopen();
    log.project(Sum::sound(2)).await.unwrap();
    log.projected("sum", 325).await.unwrap();
    assert_eq!(rows(&log).await, (325, 325 * 326 / 2));
}

#[tokio::test]
async fn a_projection_that_fails_stops_alone_and_can_be_rebuilt() {
    for fails_at in [20, 21] {
        let log = Log::open();
        let broken = Arc::new(AtomicBool::new(true));
        let sum = Sum { version: 1, fails_at: Some(fails_at), broken: Arc::clone(&broken) };
        log.project(Box::new(sum)).await.unwrap();
        fill(&log, 30).await;
        let error = log.projected("sum", 30).await.unwrap_err();
        assert_eq!(error.code(), "TL5012");
        // What it did in the failed transaction is undone.
        let position = log.projections()[0].position;
        assert!(position < fails_at);
        assert_eq!(rows(&log).await.0, position);
        broken.store(false, Ordering::Relaxed);
        log.rebuild_projection("sum").await.unwrap();
        fill(&log, 1).await;
        log.projected("sum", 31).await.unwrap();
        assert_eq!(rows(&log).await, (31, 31 * 32 / 2));
        log.forget_projection("sum").await.unwrap();
        assert_eq!(log.projections(), []);
        assert_eq!(log.projected("sum", 1).await.unwrap_err().code(), "TL5012");
    }
}

fn by_age() -> Retention {
    Retention { max_age: Some(Duration::from_secs(3600)), max_bytes: None }
}

#[tokio::test]
async fn old_events_go_and_positions_stay() {
    let log = Log::with(|config| config.retention = by_age());
    fill(&log, 1200).await;
    log.save_snapshot("s", 1200, trunkline_model::Json::null()).await.unwrap();
    log.pass(3000);
    log.append("t", Expected::Empty, vec![event(1), event(2)]).await.unwrap();
    log.enforce_retention().await.unwrap();
    assert_eq!(log.oldest(), 1);
    log.pass(1000);
    log.enforce_retention().await.unwrap();
    assert_eq!((log.oldest(), log.head()), (1201, 1202));
    // The newest event stays however old it is, and a stream with a snapshot keeps its version.
    log.pass(9000);
    log.enforce_retention().await.unwrap();
    assert_eq!((log.oldest(), log.head()), (1202, 1202));
    let log = log.reopen();
    assert_eq!((log.oldest(), log.head()), (1202, 1202));
    let appended = log.append("s", Expected::Version(1200), vec![event(3)]).await.unwrap();
    assert_eq!((appended.first_position, appended.version), (1203, 1201));
    let page = log.read_all(1, 10, None).await.unwrap();
    assert_eq!(page.events[0].position, 1202);
}

#[tokio::test]
async fn size_bounds_what_is_kept() {
    let log = Log::with(|config| config.retention.max_bytes = Some(100_000));
    for n in 0..100 {
        log.append("s", Expected::Any, vec![event_of_size(n, 9_000)]).await.unwrap();
    }
    log.enforce_retention().await.unwrap();
    assert_eq!((log.oldest(), log.head()), (90, 100));
}

#[tokio::test]
async fn holds_and_projections_keep_events() {
    let log = Log::with(|config| config.retention = by_age());
    let broken = Arc::new(AtomicBool::new(true));
    log.project(Box::new(Sum { version: 1, fails_at: Some(8), broken })).await.unwrap();
    fill(&log, 7).await;
    log.projected("sum", 7).await.unwrap();
    fill(&log, 13).await;
    assert!(log.projected("sum", 20).await.is_err());
    log.hold("saga/1", 5).await.unwrap();
    log.pass(10_000);
    log.enforce_retention().await.unwrap();
    assert_eq!(log.oldest(), 5);
    log.hold("saga/1", 15).await.unwrap();
    log.enforce_retention().await.unwrap();
    assert_eq!(log.oldest(), 8);
    log.forget_projection("sum").await.unwrap();
    log.enforce_retention().await.unwrap();
    assert_eq!(log.oldest(), 15);
    log.release("saga/1").await.unwrap();
    log.enforce_retention().await.unwrap();
    assert_eq!(log.oldest(), 20);
}

#[tokio::test]
async fn a_subscriber_that_retention_overtakes_is_told() {
    let log = Log::with(|config| config.retention = by_age());
    fill(&log, 1000).await;
    let mut subscription = log.subscribe(1);
    assert_eq!(subscription.next().await.unwrap().unwrap().position, 1);
    log.pass(10_000);
    log.enforce_retention().await.unwrap();
    let mut last = 1;
    let error = loop {
        match subscription.next().await {
            Ok(event) => last = event.unwrap().position,
            Err(error) => break error,
        }
    };
    assert_eq!(error, Error::Dropped { from: last + 1, oldest: 1000 });
    assert_eq!(subscription.next().await.unwrap().unwrap().position, 1000);
}
