//! How the weights are learned: which candidate was right, for requests whose arguments are known.

use super::candidates::Reading;
use super::features::{self, Hits};
use super::{Form, Request};
use serde_json::Value;

/// A choice between candidates, the last one being to leave the parameter out.
pub struct Example {
    /// The features of each candidate that are not 0.
    pub candidates: Vec<Vec<(u16, f32)>>,
    /// Which are right.
    pub right: Vec<bool>,
}

/// How many weights there are.
pub const WEIGHTS: usize = features::ALL;

/// The choices that a request asks for. `right` tells whether a value, or none, is right at a path.
#[must_use]
pub fn examples(
    form: &Form,
    request: &Request<'_>,
    right: impl Fn(&[String], Option<&Value>) -> bool,
) -> Vec<Example> {
    let reading = Reading::new(request.text, request.now);
    let mut examples = Vec::new();
    for parameter in &form.parameters {
        let hits = Hits::new(&reading, parameter);
        let candidates = reading.candidates(parameter);
        let nothing = features::of_nothing(parameter, &hits, candidates.len());
        let mut example = Example { candidates: Vec::new(), right: Vec::new() };
        for candidate in &candidates {
            example.candidates.push(features::of(&reading, &form.tool, parameter, &hits, candidate));
            example.right.push(right(&parameter.path, Some(&candidate.value)));
        }
        // Where no candidate is right, the right thing is to ask.
        let none = right(&parameter.path, None) || !example.right.contains(&true);
        example.candidates.push(nothing);
        example.right.push(none);
        examples.push(example);
    }
    examples
}
