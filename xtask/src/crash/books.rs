//! The books of the shop: what the sagas should have left behind, and what they did.

use serde_json::Value;

use super::http;

/// What every saga buys. There is less of it than all sagas want: some are refused.
pub(super) const SKU: &str = "cup-glass";

/// What it costs, in cents.
pub(super) const PRICE: u64 = 990;

/// The services of the shop.
pub(super) struct Books {
    base: u16,
}

/// What the test found.
#[derive(Default)]
pub(super) struct Report {
    pub(super) sagas: usize,
    pub(super) done: u64,
    pub(super) undone: u64,
    pub(super) faulted: u64,
    pub(super) stuck: u64,
    pub(super) open: u64,
    /// Effects that happened more than once under one key.
    pub(super) twice: u64,
    pub(super) faults: Vec<String>,
}

impl Books {
    pub(super) fn new(base: u16) -> Self {
        Self { base }
    }

    /// How many are reserved.
    pub(super) fn reserved(&self) -> anyhow::Result<u64> {
        let item = http::get(self.base + 1, &format!("/items/{SKU}"))?;
        Ok(item["reserved"].as_u64().unwrap_or_default())
    }

    /// Compares what is in the shop with how the sagas ended. `customers` is how many were ever tried.
    pub(super) fn check(
        &self,
        reserved_before: u64,
        customers: u32,
        ends: &[Value],
    ) -> anyhow::Result<Report> {
        let mut report = Report { sagas: ends.len(), ..Report::default() };
        for end in ends {
            match end["status"].as_str() {
                Some("completed") => report.done += 1,
                Some("undone") => report.undone += 1,
                Some("faulted") => report.faulted += 1,
                Some("stuck") => report.stuck += 1,
                _ => report.open += 1,
            }
        }
        let (mut kept, mut paid) = (0, 0);
        for number in 0..customers {
            let orders = http::get(self.base, &format!("/orders?customer=crash-{number}"))?;
            let orders =
                orders["items"].as_array().or(orders["orders"].as_array()).cloned().unwrap_or_default();
            report.twice += (orders.len() as u64).saturating_sub(1);
            for order in &orders {
                kept += u64::from(order["status"] != "cancelled");
                let id = order["id"].as_str().unwrap_or_default();
                let payments = http::get(self.base + 2, &format!("/payments?order_id={id}"))?;
                let payments = payments["items"].as_array().or(payments["payments"].as_array()).cloned();
                let payments = payments.unwrap_or_default();
                report.twice += (payments.len() as u64).saturating_sub(1);
                for payment in &payments {
                    let cents = |name: &str| payment[name].as_u64().unwrap_or_default();
                    paid += cents("amount_cents").saturating_sub(cents("refunded_cents"));
                }
            }
        }
        let reserved = self.reserved()?.saturating_sub(reserved_before);
        // What is stuck may have any part of its effects.
        let mut compare = |what: &str, found: u64, each: u64| {
            let (least, most) = (report.done * each, (report.done + report.stuck + report.open) * each);
            if !(least..=most).contains(&found) {
                report.faults.push(format!("{what}: {found}, where {least} to {most} was to be"));
            }
        };
        compare("orders that are not cancelled", kept, 1);
        compare("cents kept", paid, PRICE);
        compare("reserved", reserved, 1);
        if report.twice > 0 {
            report.faults.push(format!("{} effects were done twice under one key", report.twice));
        }
        if report.done == 0 || report.undone == 0 {
            report.faults.push("no saga was done, or none undone: the test has tested nothing".to_owned());
        }
        Ok(report)
    }
}
