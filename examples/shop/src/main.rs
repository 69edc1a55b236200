//! The shop: four small HTTP services to try Trunkline on.

fn main() {}
