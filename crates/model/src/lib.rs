//! The vocabulary every part of Trunkline speaks: tools, calls, outcomes, principals, events.
