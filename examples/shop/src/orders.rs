//! Orders: created, listed, read, cancelled.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use rusqlite::{Connection, OptionalExtension, Row};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::problem::Problem;
use crate::request::{Checks, Command, Params, number, page, page_size};
use crate::serve::Service;
use crate::store::{Reply, Store};

pub(crate) const SERVICE: Service = Service {
    name: "orders",
    schema: include_str!("orders.sql"),
    openapi: include_str!("../openapi/orders.yaml"),
    routes,
};

const COLUMNS: &str = "id, customer, items, total_cents, note, status, cancel_reason, created_at";
const MAX_ITEMS: usize = 50;
const MAX_QUANTITY: i64 = 1_000;

fn routes() -> Router<Store> {
    Router::new()
        .route("/orders", get(list).post(create))
        .route("/orders/{order_id}", get(read))
        .route("/orders/{order_id}/cancel", post(cancel))
}

#[derive(Serialize)]
struct Order {
    id: String,
    customer: String,
    items: Vec<Item>,
    total_cents: i64,
    note: Option<String>,
    status: String,
    cancel_reason: Option<String>,
    created_at: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    sku: String,
    quantity: i64,
    unit_price_cents: i64,
}

fn order(row: &Row<'_>) -> rusqlite::Result<Order> {
    let items: String = row.get(2)?;
    Ok(Order {
        id: format!("ord-{}", row.get::<_, i64>(0)?),
        customer: row.get(1)?,
        items: serde_json::from_str(&items).unwrap_or_default(),
        total_cents: row.get(3)?,
        note: row.get(4)?,
        status: row.get(5)?,
        cancel_reason: row.get(6)?,
        created_at: row.get(7)?,
    })
}

fn find(connection: &Connection, id: &str) -> Result<Order, Problem> {
    connection
        .query_row(&format!("SELECT {COLUMNS} FROM orders WHERE id = ?"), [number("ord-", id)], order)
        .optional()?
        .ok_or_else(|| Problem::not_found("order", id))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    customer: Option<String>,
    status: Option<String>,
    limit: Option<u32>,
    after: Option<String>,
}

async fn list(State(store): State<Store>, Params(filter): Params<Filter>) -> Result<Reply, Problem> {
    let limit = page_size(filter.limit)?;
    let after = match &filter.after {
        None => 0,
        Some(id) => {
            number("ord-", id).ok_or_else(|| Problem::malformed("after has to be the id of an order"))?
        }
    };
    store
        .read(move |connection| {
            let mut query = connection.prepare(&format!(
                "SELECT {COLUMNS} FROM orders WHERE id > ?1 AND customer = ifnull(?2, customer)
                 AND status = ifnull(?3, status) ORDER BY id LIMIT ?4"
            ))?;
            let rows = query.query_map((after, filter.customer, filter.status, limit + 1), order)?;
            let (orders, next) =
                page(rows.collect::<rusqlite::Result<_>>()?, limit, |order: &Order| &order.id);
            Ok(Reply::ok(&json!({"orders": orders, "next": next})))
        })
        .await
}

async fn read(State(store): State<Store>, Path(id): Path<String>) -> Result<Reply, Problem> {
    store.read(move |connection| Ok(Reply::ok(&find(connection, &id)?))).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewOrder {
    customer: String,
    items: Vec<Item>,
    note: Option<String>,
}

impl NewOrder {
    fn check(&self) -> Result<i64, Problem> {
        let mut checks = Checks::default();
        checks.text(&self.customer, "#/customer");
        if let Some(note) = &self.note {
            checks.text(note, "#/note");
        }
        checks.that(
            (1..=MAX_ITEMS).contains(&self.items.len()),
            "#/items",
            format!("1 to {MAX_ITEMS} items"),
        );
        for (index, item) in self.items.iter().take(MAX_ITEMS).enumerate() {
            checks.text(&item.sku, format!("#/items/{index}/sku"));
            checks.that(
                (1..=MAX_QUANTITY).contains(&item.quantity),
                format!("#/items/{index}/quantity"),
                format!("a quantity of 1 to {MAX_QUANTITY}"),
            );
            checks.cents(item.unit_price_cents, 0, format!("#/items/{index}/unit_price_cents"));
        }
        checks.done()?;
        // At most 50 · 1,000 · 10^8, far below the limit of i64.
        Ok(self.items.iter().map(|item| item.quantity * item.unit_price_cents).sum())
    }
}

async fn create(State(store): State<Store>, command: Command<NewOrder>) -> Result<Reply, Problem> {
    let total_cents = command.input.check()?;
    store
        .change(command, move |transaction, new| {
            transaction.execute(
                "INSERT INTO orders (customer, items, total_cents, note) VALUES (?, ?, ?, ?)",
                (&new.customer, json!(new.items).to_string(), total_cents, &new.note),
            )?;
            let id = format!("ord-{}", transaction.last_insert_rowid());
            Ok(Reply::created(format!("/orders/{id}"), &find(transaction, &id)?))
        })
        .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cancellation {
    reason: Option<String>,
}

async fn cancel(
    State(store): State<Store>,
    Path(id): Path<String>,
    command: Command<Cancellation>,
) -> Result<Reply, Problem> {
    if let Some(reason) = &command.input.reason {
        let mut checks = Checks::default();
        checks.text(reason, "#/reason");
        checks.done()?;
    }
    store
        .change(command, move |transaction, Cancellation { reason }| {
            let order = find(transaction, &id)?;
            match order.status.as_str() {
                // Cancelling twice is cancelling once: what was asked for is the case.
                "cancelled" => return Ok(Reply::ok(&order)),
                "open" => {}
                status => {
                    let detail = format!("{id} is {status}; only an open order can be cancelled");
                    return Err(Problem::conflict("not-cancellable", "Not cancellable", detail));
                }
            }
            transaction.execute(
                "UPDATE orders SET status = 'cancelled', cancel_reason = ? WHERE id = ?",
                (reason, number("ord-", &id)),
            )?;
            Ok(Reply::ok(&find(transaction, &id)?))
        })
        .await
}
