//! The shop: four small HTTP services to try Trunkline on. The `shop` binary runs them, and so does `trunkline shop`,
//! so that the example needs no second program.

mod chaos;
mod orders;
mod payments;
mod problem;
mod request;
mod serve;
mod shipping;
mod spans;
mod stock;
mod store;

pub use serve::{Config, run};
