//! What requests are understood as, and that nothing of it is an invalid call.

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};
use serde_json::json;

use super::*;

fn fill(schema: Value, text: &str, known: &[Known]) -> Filled {
    let form = Form::new("ship_order", "Ships an order to a city.", &Schema::new(schema));
    // 2026-03-04, a Wednesday, 10:00 two hours east of UTC.
    let now = Timestamp::constant(1_772_611_200, 0).to_zoned(TimeZone::fixed(Offset::constant(2)));
    form.fill(&Request { text, now: &now, known, fixed: None })
}

fn order() -> Value {
    json!({
        "type": "object",
        "properties": {
            "order_id": {"type": "integer", "description": "The number of the order."},
            "city": {"type": "string", "description": "The city to ship to."},
            "speed": {"type": "string", "enum": ["standard", "express"]},
        },
        "required": ["order_id", "city"],
        "additionalProperties": false,
    })
}

#[test]
fn there_is_a_weight_for_every_feature() {
    assert_eq!(weights::WEIGHTS.len(), training::WEIGHTS);
}

#[test]
fn each_value_says_where_it_is_from_and_how_sure_it_is() {
    let text = "Please ship order 42 to Berlin by express";
    let filled = fill(order(), text, &[]);
    assert_eq!(filled.arguments, json!({"order_id": 42, "city": "Berlin", "speed": "express"}));
    assert_eq!(filled.call().unwrap().to_value(), filled.arguments);
    let city = filled.found.iter().find(|found| found.path == "/city").unwrap();
    let Source::Request(span) = city.source.clone() else { panic!("{:?}", city.source) };
    assert_eq!(&text[span], "Berlin");
    assert!(city.confidence > 0.3 && city.confidence <= 1.0 && filled.confidence() <= city.confidence);
    assert_eq!(filled.question(), None);
}

#[test]
fn what_is_missing_is_asked_for_in_one_question() {
    let filled = fill(order(), "ship it", &[]);
    assert_eq!(filled.call(), None);
    assert_eq!(filled.question().unwrap(), "What are the order id and the city?");
    let schema = json!({"properties": {"size": {"enum": ["small", "large"]}}, "required": ["size"]});
    assert_eq!(fill(schema, "", &[]).question().unwrap(), "What is the size (one of small, large)?");
}

#[test]
fn the_conversation_and_defaults_fill_what_is_not_said() {
    let known = [Known { name: "order_id".into(), value: json!(7), pointed: true }];
    let filled = fill(order(), "ship it to Rome", &known);
    assert_eq!(filled.arguments, json!({"order_id": 7, "city": "Rome"}));
    assert!(filled.found.iter().any(|found| found.source == Source::Conversation));
    let schema = json!({"properties": {"page": {"type": "integer", "default": 1}}, "required": ["page"]});
    assert_eq!(fill(schema, "go on", &[]).found[0].source, Source::Default);
    // Not what the schema takes, so it is asked for.
    let known = [Known { name: "order_id".into(), value: json!("seven"), pointed: true }];
    assert_eq!(fill(order(), "ship it to Rome", &known).missing[0].path, "/order_id");
}

#[test]
fn values_of_every_kind_are_found() {
    let one = |name: &str, mut schema: Value, text: &str| {
        schema["description"] = json!(format!("The {name}."));
        let schema = json!({"type": "object", "properties": {name: schema}, "required": [name]});
        fill(schema, text, &[]).arguments[name].clone()
    };
    assert_eq!(
        one("email", json!({"type": "string", "format": "email"}), "write to ann@example.com"),
        "ann@example.com"
    );
    assert_eq!(
        one("url", json!({"type": "string", "format": "uri"}), "open https://a.example/b?c=1."),
        "https://a.example/b?c=1"
    );
    assert_eq!(
        one("date", json!({"type": "string", "format": "date"}), "meet on the day after tomorrow"),
        "2026-03-06"
    );
    assert_eq!(
        one("start", json!({"type": "string", "format": "date-time"}), "start tomorrow at 3 pm"),
        "2026-03-05T15:00:00+02:00"
    );
    assert_eq!(one("rate", json!({"type": "number"}), "a rate of 8%"), 0.08);
    assert_eq!(one("amount", json!({"type": "number"}), "an amount of $1,250.50"), 1250.5);
    assert_eq!(
        one("numbers", json!({"type": "array", "items": {"type": "integer"}}), "the numbers 3, 5 and 8"),
        json!([3, 5, 8])
    );
    assert_eq!(one("title", json!({"type": "string"}), "with the title 'My own day'"), "My own day");
    let schema = json!({"properties": {"to": {"properties": {"city": {"type": "string"}}, "required": ["city"]}}, "required": ["to"]});
    assert_eq!(fill(schema, "ship it to the city of Oslo", &[]).arguments, json!({"to": {"city": "Oslo"}}));
}

#[test]
fn no_text_and_no_schema_makes_an_invalid_call() {
    let schemas = [
        order(),
        json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 100}}, "required": ["n"]}),
        json!({"properties": {"a": {"anyOf": [{"type": "null"}, {"type": "string", "pattern": "^x"}]}}, "required": ["a"]}),
        json!({"properties": {"a": {"$ref": "#/properties/a"}}, "required": ["a", "b"]}),
        json!({"type": "array"}),
        json!({"type": 7}),
        json!({}),
        json!(true),
    ];
    let texts = [
        String::new(),
        "ship 5 to x".to_owned(),
        "\u{1f600} \u{202e}مرحبا 東京 Привет नमस्ते 🏳️‍🌈 e\u{301}".repeat(50),
        "ship order 42 to Berlin, ".repeat(42_000),
        "[".repeat(1 << 20),
        "9".repeat(1 << 20),
        "\"a' ".repeat(1 << 18),
        "A.B ".repeat(1 << 18),
    ];
    for schema in schemas {
        let checker = Schema::new(schema.clone());
        for text in &texts {
            if let Some(call) = fill(schema.clone(), text, &[]).call() {
                assert_eq!(checker.validate(&call), Ok(()));
            }
        }
    }
}
