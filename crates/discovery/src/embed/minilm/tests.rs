//! The encoder, beside what plain arithmetic gives.

use serde_json::Value;

use super::*;

const SMALL: &[u8] = include_bytes!("fixture/small.bin");

/// The least cosine between a vector and what plain arithmetic gives for the weights before they were rounded.
fn worst(encoder: &MiniLm, cases: &str) -> f32 {
    let cases: Vec<Value> = serde_json::from_str(cases).unwrap();
    let cosine = |case: &Value| {
        let wanted: Vec<f32> = serde_json::from_value(case["vector"].clone()).unwrap();
        let found = encoder.encode(case["text"].as_str().unwrap());
        assert_eq!(found.len(), wanted.len());
        found.iter().zip(wanted).map(|(one, other)| one * other).sum::<f32>()
    };
    cases.iter().map(cosine).fold(1.0, f32::min)
}

#[test]
fn vectors_are_those_of_plain_arithmetic() {
    let encoder = MiniLm::read(SMALL).unwrap();
    let worst = worst(&encoder, include_str!("fixture/small.json"));
    assert!(worst > 0.999, "{worst}");
}

/// With the real weights, where the environment says where they are; it is said where they are not.
#[test]
fn the_real_weights_give_the_real_vectors() {
    let Ok(file) = std::env::var("TRUNKLINE_MINILM") else {
        return eprintln!("left out: TRUNKLINE_MINILM names no file of weights");
    };
    let encoder = MiniLm::read(&std::fs::read(file).unwrap()).unwrap();
    let worst = worst(&encoder, include_str!("fixture/real.json"));
    assert!(worst > 0.999, "{worst}");
}

#[test]
fn whatever_is_said_has_a_vector() {
    let encoder = MiniLm::read(SMALL).unwrap();
    let long = "send mail ".repeat(100_000);
    for text in ["", " \u{0}\n", "東京タワー \u{1f600}\u{202e}", &"x".repeat(1 << 20), &long] {
        let vector = encoder.encode(text);
        let length: f32 = vector.iter().map(|number| number * number).sum();
        assert!((length - 1.0).abs() < 1e-3, "{length}");
    }
}

#[test]
fn a_file_that_is_cut_or_something_else_is_refused() {
    for end in (0..SMALL.len()).step_by(97) {
        assert!(MiniLm::read(&SMALL[..end]).is_err(), "{end}");
    }
    assert_eq!(MiniLm::read(&[SMALL, b"x"].concat()).err(), Some(BadWeights::Cut));
    for at in 4..32 {
        let mut bytes = SMALL.to_vec();
        bytes[at] = 255;
        assert!(MiniLm::read(&bytes).is_err(), "{at}");
    }
}
