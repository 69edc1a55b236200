//! Random appends behave like a list in memory.

use std::collections::HashMap;

use proptest::prelude::*;
use trunkline_event_log::{Appended, Error, Expected, StreamId};
use uuid::Uuid;

use crate::fixture::{Log, event};

#[derive(Clone, Debug)]
enum Step {
    Append { stream: u8, expected: Expected, events: u8 },
    Record { stream: u8 },
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let expected = prop_oneof![
        2 => Just(Expected::Any),
        1 => Just(Expected::Empty),
        3 => (0..6_u64).prop_map(Expected::Version),
    ];
    let step = prop_oneof![
        8 => (0..6_u8, expected, 1..4_u8)
            .prop_map(|(stream, expected, events)| Step::Append { stream, expected, events }),
        3 => (0..6_u8).prop_map(|stream| Step::Record { stream }),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..40)
}

/// Some streams are named, some are calls.
fn stream(number: u8) -> StreamId {
    match number % 2 {
        0 => StreamId::new(&format!("stream/{number}")),
        _ => StreamId::from(Uuid::from_u128(u128::from(number) << 80)),
    }
}

/// Stream, version and event of each position.
type Model = Vec<(StreamId, u64, u128)>;

fn version(model: &Model, stream: &StreamId) -> u64 {
    model.iter().filter(|(of, ..)| of == stream).count() as u64
}

fn put(model: &mut Model, stream: &StreamId, id: u128) {
    let next = version(model, stream) + 1;
    model.push((stream.clone(), next, id));
}

async fn take(log: Log, model: &mut Model, step: Step, ids: &mut std::ops::RangeFrom<u128>) -> Log {
    match step {
        Step::Append { stream: number, expected, events } => {
            let stream = stream(number);
            let actual = version(model, &stream);
            let fits = match expected {
                Expected::Any => true,
                Expected::Empty => actual == 0,
                Expected::Version(wanted) => actual == wanted,
            };
            let new: Vec<_> = ids.take(usize::from(events)).collect();
            let result = log.append(stream.clone(), expected, new.iter().copied().map(event).collect()).await;
            if !fits {
                assert_eq!(result, Err(Error::Conflict { stream, expected, actual }));
                return log;
            }
            let first_position = model.len() as u64 + 1;
            new.into_iter().for_each(|id| put(model, &stream, id));
            let last_position = model.len() as u64;
            let version = actual + u64::from(events);
            assert_eq!(result, Ok(Appended { first_position, last_position, version }));
        }
        Step::Record { stream: number } => {
            let id = ids.next().unwrap();
            put(model, &stream(number), id);
            log.record(stream(number), event(id)).await.unwrap();
        }
        Step::Reopen => return log.reopen(),
    }
    log
}

async fn run(steps: Vec<Step>) {
    let mut log = Log::open();
    let (mut model, mut ids) = (Model::new(), 1..);
    for step in steps {
        log = take(log, &mut model, step, &mut ids).await;
    }
    let log = log.reopen();
    let all = log.read_all(1, 4096, None).await.unwrap();
    let mut streams: HashMap<StreamId, Vec<u64>> = HashMap::new();
    assert_eq!(all.events.len(), model.len());
    for (position, (read, (stream, version, id))) in (1..).zip(all.events.iter().zip(&model)) {
        assert_eq!((read.position, &read.stream, read.version), (position, stream, *version));
        assert_eq!(read.event, event(*id));
        streams.entry(stream.clone()).or_default().push(position);
    }
    for (stream, positions) in streams {
        let page = log.read_stream(stream, 1, 4096).await.unwrap();
        assert_eq!(page.events.iter().map(|event| event.position).collect::<Vec<_>>(), positions);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_log_is_a_list(steps in steps()) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(run(steps));
    }
}
