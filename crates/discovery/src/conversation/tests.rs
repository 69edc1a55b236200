//! What a conversation remembers, and for how long.

use serde_json::json;

use super::*;

const MINUTE: u64 = 60_000;

fn listed() -> Vec<Event> {
    let result = json!({"orders": [{"id": "o-1", "city": "Rome"}, {"id": "o-2", "city": "Oslo"}, {"id": "o-3", "city": "Bonn"}]});
    vec![Event::Called {
        at: MINUTE,
        tool: "shop.list_orders".into(),
        arguments: json!({"customer": "ann"}),
        result,
    }]
}

fn value(context: &Context, name: &str) -> Option<Value> {
    context.known.iter().find(|known| known.name == name).map(|known| known.value.clone())
}

#[test]
fn one_of_a_list_is_found_by_its_place() {
    let conversation = Conversation::of(&listed());
    let id = |request: &str| value(&conversation.context(request, 2 * MINUTE), "order_id");
    assert_eq!(id("ship the second one"), Some(json!("o-2")));
    assert_eq!(id("cancel the last one"), Some(json!("o-3")));
    assert_eq!(id("cancel the ninth one"), None);
    assert_eq!(id("ship something"), None);
    assert_eq!(id("ship that order"), Some(json!("o-1")));
}

#[test]
fn that_is_said_of_the_thing_that_was_last() {
    let mut conversation = Conversation::of(&listed());
    conversation.apply(&Event::Mentioned {
        at: 2 * MINUTE,
        entities: vec![("order_id".into(), json!("o-9")), ("customer_id".into(), json!(7))],
    });
    let context = conversation.context("what about that order?", 3 * MINUTE);
    assert_eq!((value(&context, "order_id"), value(&context, "customer_id")), (Some(json!("o-9")), None));
    assert!(context.referred && !conversation.context("hello", 3 * MINUTE).referred);
    assert_eq!(value(&conversation.context("same as before", 3 * MINUTE), "customer"), Some(json!("ann")));
}

#[test]
fn what_is_old_is_forgotten_and_preferences_stay() {
    let mut conversation = Conversation::of(&listed());
    conversation.apply(&Event::Preferred { at: MINUTE, name: "currency".into(), value: json!("EUR") });
    let later = MINUTE + 31 * MINUTE;
    let context = conversation.context("ship that order", later);
    assert_eq!(context.known, [Known { name: "currency".into(), value: json!("EUR"), pointed: false }]);
    assert!(conversation.boosts(later).is_empty());
    let boosts = conversation.boosts(2 * MINUTE);
    assert_eq!(boosts[0].0, "shop.list_orders");
    assert!(boosts[0].1 > 0.0 && boosts[0].1 <= BOOST);
    conversation.apply(&Event::Cleared { at: later });
    assert_eq!(conversation.context("ship that order", later).known, []);
}

#[test]
fn it_is_a_fold_of_its_events_and_bounded() {
    let mut events = listed();
    for number in 0..1_000_u64 {
        let row = json!({"id": number, "text": "x".repeat(10_000), "deep": [[[[[1]]]]]});
        events.push(Event::Called {
            at: number,
            tool: format!("t{number}"),
            arguments: json!({"n": number}),
            result: row,
        });
        events.push(Event::Preferred { at: number, name: format!("p{number}"), value: json!(number) });
    }
    let conversation = Conversation::of(&events);
    assert!(
        conversation.entities.len() <= ENTITIES
            && conversation.tools.len() <= TOOLS
            && conversation.preferences.len() <= PREFERENCES
    );
    let again: Vec<Event> = serde_json::from_value(serde_json::to_value(&events).unwrap()).unwrap();
    assert_eq!(Conversation::of(&again), conversation);
    assert!(serde_json::to_string(&conversation).unwrap().len() < 200_000);
    let _ = conversation.context(&"that \u{1f600} 東京 ".repeat(100_000), 5);
}
