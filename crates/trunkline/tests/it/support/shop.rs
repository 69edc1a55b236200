//! The shop's four services, run by the real binary beside the gateway: they live on when it is killed.

use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::process::TRUNKLINE;
use super::{http, within};

/// A running shop.
pub(crate) struct Shop {
    _folder: TempDir,
    _child: Child,
    /// Kept open: who writes to a closed pipe may die of it.
    _stdout: Lines<BufReader<ChildStdout>>,
    /// The services' names and URLs.
    services: Vec<(String, String)>,
}

impl Shop {
    /// Starts it on free ports.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(TRUNKLINE);
        command.args(["shop", "--listen-base", "127.0.0.1:0", "--data"]).arg(folder.path());
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut services = Vec::new();
        while services.len() < 4 {
            let line = within("a line of the shop", stdout.next_line()).await.unwrap().unwrap();
            let (name, url) = line.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            services.push((name.to_owned(), url.to_owned()));
        }
        Self { _folder: folder, _child: child, _stdout: stdout, services }
    }

    /// The URL of a service: `orders`, `stock`, `payments`, `shipping`.
    pub(crate) fn url(&self, name: &str) -> &str {
        let found = self.services.iter().find(|(known, _)| known.ends_with(name));
        &found.unwrap_or_else(|| panic!("{name}: {:?}", self.services)).1
    }

    /// The sections `flows.tools` and `services` of a configuration in front of it, with the undo of every change.
    /// `flows` is more YAML of the section `flows`.
    pub(crate) fn config(&self, flows: &str) -> String {
        let documents = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/shop/openapi");
        let mut config = format!(
            "flows:\n{flows}  tools:\n{}{}{}{}services:\n",
            undo("shop-orders__createOrder", "shop-orders__cancelOrder", "order_id"),
            undo("shop-stock__reserveStock", "shop-stock__releaseStock", "reservation_id"),
            undo("shop-payments__chargePayment", "shop-payments__refundPayment", "payment_id"),
            undo("shop-shipping__createShipment", "shop-shipping__cancelShipment", "shipment_id"),
        );
        for name in ["orders", "stock", "payments", "shipping"] {
            let url = self.url(name);
            config += &format!(
                "  shop-{name}: {{ openapi: {{ document: \"{documents}/{name}.yaml\", base_url: \"{url}\" }} }}\n"
            );
        }
        config
    }

    /// Reads from a service.
    pub(crate) async fn get(&self, service: &str, path: &str) -> Value {
        let address = self.url(service).trim_start_matches("http://").parse().unwrap();
        http::get(address, path).await.json().await
    }

    /// How many of an article are reserved.
    pub(crate) async fn reserved(&self, sku: &str) -> u64 {
        self.get("stock", &format!("/items/{sku}")).await["reserved"].as_u64().unwrap()
    }
}

fn undo(tool: &str, by: &str, argument: &str) -> String {
    format!("    {tool}: {{ undo: {{ tool: {by}, args: {{ {argument}: \"$${{ .result.id }}\" }} }} }}\n")
}
