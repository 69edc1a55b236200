//! The log as its users see it: appending, reading, subscribing, shutting down.

use crate::fixture::{self, Log, event};
use tokio::task::JoinSet;
use trunkline_event_log::{Error, Expected, Filter, StreamId};
use uuid::Uuid;

#[tokio::test]
async fn an_event_reads_back_as_it_was() {
    let log = Log::open();
    let full = fixture::full_event();
    let appended = log.append("s", Expected::Empty, vec![full.clone(), event(2)]).await.unwrap();
    assert_eq!((appended.first_position, appended.last_position, appended.version), (1, 2, 2));
    let page = log.read_stream("s", 1, 10).await.unwrap();
    assert!(page.end);
    assert_eq!(page.events[0].event, full);
    assert_eq!(page.events[1].event, event(2));
    assert_eq!(log.read_all(0, 10, None).await.unwrap().events, page.events);
}

#[tokio::test]
async fn a_conflict_names_the_version() {
    let log = Log::open();
    log.append("s", Expected::Any, vec![event(1), event(2)]).await.unwrap();
    for expected in [Expected::Empty, Expected::Version(1), Expected::Version(3)] {
        let error = log.append("s", expected, vec![event(3)]).await.unwrap_err();
        assert_eq!(error, Error::Conflict { stream: StreamId::new("s"), expected, actual: 2 });
    }
    assert_eq!(log.append("s", Expected::Version(2), vec![event(3)]).await.unwrap().version, 3);
    assert_eq!(log.head(), 3);
}

#[tokio::test]
async fn recorded_events_come_in_order_and_survive_closing() {
    let log = Log::open();
    let call = Uuid::from_u128(7);
    for n in 0..1000 {
        log.record(call, event(n)).await.unwrap();
    }
    let log = log.reopen();
    let page = log.read_stream(call, 1, 2000).await.unwrap();
    let ids: Vec<_> = page.events.iter().map(|e| e.event.id.as_u128()).collect();
    assert_eq!(ids, (0..1000).collect::<Vec<_>>());
    assert_eq!(page.events[999].version, 1000);
}

#[tokio::test]
async fn positions_have_no_gap_under_many_producers() {
    let log = Log::open();
    let mut producers = JoinSet::new();
    for producer in 0..16_u128 {
        let log = log.handle();
        producers.spawn(async move {
            for n in 0..50 {
                let stream = Uuid::from_u128(producer);
                if n % 5 == 0 {
                    log.record("shared", event(n)).await.unwrap();
                }
                // Every other one conflicts.
                let _ = log.append(stream, Expected::Version(n as u64 / 2), vec![event(n), event(n)]).await;
            }
        });
    }
    producers.join_all().await;
    let log = log.reopen();
    let page = log.read_all(1, 4096, None).await.unwrap();
    let positions: Vec<_> = page.events.iter().map(|e| e.position).collect();
    assert_eq!(positions, (1..=log.head()).collect::<Vec<_>>());
    assert!(page.end);
}

#[tokio::test]
async fn pages_are_bounded_and_filters_hold() {
    let log = Log::open();
    let big = fixture::event_of_size(9, 3 << 20);
    log.append("s", Expected::Any, vec![big.clone(), big.clone(), big]).await.unwrap();
    log.append("s", Expected::Any, (0..100).map(event).collect()).await.unwrap();
    let page = log.read_all(1, 1000, None).await.unwrap();
    assert_eq!((page.events.len(), page.next, page.end), (2, 3, false));
    let page = log.read_stream("s", 3, 10).await.unwrap();
    assert_eq!((page.events.len(), page.next, page.end), (10, 13, false));
    let odd = trunkline_model::Event { target: "git/show".into(), ..event(1) };
    log.append("t", Expected::Any, vec![odd.clone()]).await.unwrap();
    let filter = Filter { target: Some("git/show".to_owned()), ..Filter::default() };
    let page = log.read_all(1, 1000, Some(filter.clone())).await.unwrap();
    assert_eq!((page.events.len(), page.next, page.end), (1, 105, true));
    assert_eq!(page.events[0].event, odd);
    assert!(filter.matches(&odd) && !filter.matches(&event(1)));
    let other = Filter { type_prefix: Some("dev.other".to_owned()), ..filter };
    assert_eq!(log.read_all(1, 10, Some(other)).await.unwrap().events, []);
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let log = Log::open();
    let error = log.append("s", Expected::Any, vec![]).await.unwrap_err();
    assert_eq!(error.code(), "TL5002");
    let error = log.record("s", fixture::event_of_size(1, 17 << 20)).await.unwrap_err();
    assert_eq!(error.code(), "TL5002");
    assert_eq!(log.head(), 0);
}

#[tokio::test]
async fn a_full_queue_makes_producers_wait() {
    let log = Log::with(|config| config.queue_events = 8);
    let log_writes = async {
        for n in 0..500 {
            log.record("s", event(n)).await.unwrap();
        }
    };
    log_writes.await;
    log.append("s", Expected::Version(500), vec![event(1)]).await.unwrap();
}

#[tokio::test]
async fn a_subscriber_sees_all_once_while_others_write() {
    let log = Log::open();
    log.append("s", Expected::Any, (0..700).map(event).collect()).await.unwrap();
    let mut subscribers = JoinSet::new();
    for from in [0, 1, 500, 701, 900] {
        let mut subscription = log.subscribe(from);
        subscribers.spawn(async move {
            let mut seen = Vec::new();
            while let Some(event) = subscription.next().await.unwrap() {
                seen.push(event.position);
            }
            (from.max(1), seen)
        });
    }
    let mut producers = JoinSet::new();
    for _ in 0..8 {
        let log = log.handle();
        producers.spawn(async move {
            for n in 0..100 {
                log.append("s", Expected::Any, vec![event(n)]).await.unwrap();
            }
        });
    }
    producers.join_all().await;
    log.close();
    for (from, seen) in subscribers.join_all().await {
        assert_eq!(seen, (from..=1500).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_closed_log_says_so() {
    let log = Log::open();
    log.close();
    assert_eq!(log.append("s", Expected::Any, vec![event(1)]).await.unwrap_err(), Error::Closed);
    assert_eq!(log.record("s", event(1)).await.unwrap_err(), Error::Closed);
}

#[tokio::test]
async fn snapshots_keep_the_latest() {
    let log = Log::open();
    log.append("s", Expected::Any, (0..5).map(event).collect()).await.unwrap();
    let state = |n: u32| trunkline_model::Json::from(serde_json::json!({ "n": n }));
    log.save_snapshot("s", 4, state(4)).await.unwrap();
    log.save_snapshot("s", 2, state(2)).await.unwrap();
    let error = log.save_snapshot("s", 6, state(6)).await.unwrap_err();
    assert_eq!(error.code(), "TL5001");
    let snapshot = log.load_snapshot("s").await.unwrap().unwrap();
    assert_eq!((snapshot.version, snapshot.state), (4, state(4)));
    assert_eq!(log.load_snapshot("t").await.unwrap(), None);
}
