//! Events in either of their two forms. One that can be read says the same after it was written in both.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use trunkline_model::Event;

fuzz_target!(|text: &[u8]| {
    let Ok(value) = serde_json::from_slice::<Value>(text) else { return };
    let read = [Event::from_cloudevent(&value), Event::from_specification(&value)];
    for event in read.into_iter().flatten() {
        let cloudevent = reread(&event.to_cloudevent());
        assert_eq!(Event::from_cloudevent(&cloudevent).as_ref().ok(), Some(&event));
        let specification = reread(&event.to_specification());
        assert_eq!(Event::from_specification(&specification).as_ref().ok(), Some(&event));
    }
});

/// The value after a way over the wire.
fn reread(value: &Value) -> Value {
    serde_json::from_str(&value.to_string()).expect("what is written can be read")
}
