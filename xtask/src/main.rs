//! Development tasks: `cargo xtask test|conformance|bench|fuzz`.

fn main() {}
