//! An expression of a flow, after a first line with the JSON that it is asked of. It has a value or an error, within its
//! bounds, and the same again.

#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use trunkline_orchestrator::expression::{Expression, ExpressionError, Limits, Template};

fuzz_target!(|text: &str| {
    let (input, expression) = text.split_once('\n').unwrap_or(("null", text));
    let input = serde_json::from_str(input).unwrap_or(Value::Null);
    let limits = Limits { time: Duration::from_millis(50), memory: 1 << 20 };
    let parsed = Expression::new(expression);
    let begun = Instant::now();
    let first = parsed.evaluate(&input, &[], limits);
    // The bound is on the time of the processor; this machine may be busy.
    assert!(begun.elapsed() < Duration::from_secs(5), "it is not stopped");
    if let Err(ExpressionError::Stopped(_)) = first {
        return;
    }
    match (parsed.evaluate(&input, &[], limits), first) {
        // Time is no part of the meaning.
        (Err(ExpressionError::Stopped(_)), _) => {}
        (second, first) => assert_eq!(second, first),
    }
    let template = Template::new(Value::from(format!("${{ {expression} }}")));
    let _ = template.evaluate(&input, &[], limits);
});
