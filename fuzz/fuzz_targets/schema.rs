//! A schema from a server, and a value to check against it: two JSON texts, one after the other. That it ends is the
//! test.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::{Deserializer, Value};
use trunkline_model::{Json, Schema};

fuzz_target!(|text: &[u8]| {
    let mut values = Deserializer::from_slice(text).into_iter::<Value>();
    let (Some(Ok(schema)), Some(Ok(value))) = (values.next(), values.next()) else { return };
    let (schema, value) = (Schema::new(schema), Json::from(value));
    if let Err(violations) = schema.validate(&value) {
        assert!(!violations.is_empty() && violations.len() <= 100);
        assert!(violations.iter().all(|violation| !violation.to_string().is_empty()));
        assert!(schema.defect().is_none());
    }
});
