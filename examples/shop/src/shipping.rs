//! Shipping: shipments that can be cancelled until the carrier has them, and where they are.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::problem::Problem;
use crate::request::{Checks, Command, Nothing, number};
use crate::serve::Service;
use crate::store::{Reply, Store};

pub(crate) const SERVICE: Service = Service {
    name: "shipping",
    schema: include_str!("shipping.sql"),
    openapi: include_str!("../openapi/shipping.yaml"),
    routes,
};

/// Countries that the carrier serves (ISO 3166-1 alpha-2).
const SERVED: [&str; 8] = ["AT", "BE", "CH", "DE", "ES", "FR", "IT", "NL"];

fn routes() -> Router<Store> {
    Router::new()
        .route("/shipments", post(create))
        .route("/shipments/{shipment_id}", get(read))
        .route("/shipments/{shipment_id}/tracking", get(track))
        .route("/shipments/{shipment_id}/cancel", post(cancel))
}

#[derive(Serialize)]
struct Shipment {
    id: String,
    order_id: String,
    address: Address,
    status: String,
    created_at: String,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Address {
    name: String,
    street: String,
    postal_code: String,
    city: String,
    country: String,
}

#[derive(Serialize)]
struct Stop {
    at: String,
    place: String,
    what: String,
}

fn find(connection: &Connection, id: &str) -> Result<Shipment, Problem> {
    let row = connection
        .query_row(
            "SELECT order_id, address, status, created_at FROM shipments WHERE id = ?",
            [number("shp-", id)],
            |row| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?, row.get(3)?)),
        )
        .optional()?;
    let (order_id, address, status, created_at) = row.ok_or_else(|| Problem::not_found("shipment", id))?;
    let address = serde_json::from_str(&address).unwrap_or_default();
    Ok(Shipment { id: id.to_owned(), order_id, address, status, created_at })
}

/// Notes where a shipment is or what became of it.
fn note(connection: &Connection, id: &str, place: &str, what: &str) -> Result<(), Problem> {
    connection.execute(
        "INSERT INTO stops (shipment, place, what) VALUES (?, ?, ?)",
        (number("shp-", id), place, what),
    )?;
    Ok(())
}

async fn read(State(store): State<Store>, Path(id): Path<String>) -> Result<Reply, Problem> {
    store.read(move |connection| Ok(Reply::ok(&find(connection, &id)?))).await
}

async fn track(State(store): State<Store>, Path(id): Path<String>) -> Result<Reply, Problem> {
    store
        .read(move |connection| {
            let shipment = find(connection, &id)?;
            let mut query =
                connection.prepare("SELECT at, place, what FROM stops WHERE shipment = ? ORDER BY id")?;
            let rows = query.query_map([number("shp-", &id)], |row| {
                Ok(Stop { at: row.get(0)?, place: row.get(1)?, what: row.get(2)? })
            })?;
            let stops = rows.collect::<rusqlite::Result<Vec<_>>>()?;
            Ok(Reply::ok(&json!({"shipment_id": id, "status": shipment.status, "stops": stops})))
        })
        .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewShipment {
    order_id: String,
    address: Address,
}

impl NewShipment {
    fn check(&self) -> Result<(), Problem> {
        let mut checks = Checks::default();
        checks.text(&self.order_id, "#/order_id");
        checks.text(&self.address.name, "#/address/name");
        checks.text(&self.address.street, "#/address/street");
        checks.text(&self.address.postal_code, "#/address/postal_code");
        checks.text(&self.address.city, "#/address/city");
        checks.that(
            SERVED.contains(&self.address.country.as_str()),
            "#/address/country",
            format!("a country that the carrier serves: {}", SERVED.join(", ")),
        );
        checks.done()
    }
}

async fn create(State(store): State<Store>, command: Command<NewShipment>) -> Result<Reply, Problem> {
    command.input.check()?;
    store
        .change(command, |transaction, new| {
            transaction.execute(
                "INSERT INTO shipments (order_id, address) VALUES (?, ?)",
                (&new.order_id, json!(new.address).to_string()),
            )?;
            let id = format!("shp-{}", transaction.last_insert_rowid());
            note(transaction, &id, "Warehouse", "label printed")?;
            Ok(Reply::created(format!("/shipments/{id}"), &find(transaction, &id)?))
        })
        .await
}

async fn cancel(
    State(store): State<Store>,
    Path(id): Path<String>,
    command: Command<Nothing>,
) -> Result<Reply, Problem> {
    store
        .change(command, move |transaction, Nothing {}| {
            let shipment = find(transaction, &id)?;
            match shipment.status.as_str() {
                // Cancelling twice is cancelling once: what was asked for is the case.
                "cancelled" => return Ok(Reply::ok(&shipment)),
                "created" => {}
                status => {
                    let detail = format!("{id} is {status}; the carrier has it already");
                    return Err(Problem::conflict("not-cancellable", "Not cancellable", detail));
                }
            }
            transaction
                .execute("UPDATE shipments SET status = 'cancelled' WHERE id = ?", [number("shp-", &id)])?;
            note(transaction, &id, "Warehouse", "cancelled")?;
            Ok(Reply::ok(&find(transaction, &id)?))
        })
        .await
}
