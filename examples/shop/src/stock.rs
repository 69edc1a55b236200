//! Stock: items, and reservations that hold some of them until they are released.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use rusqlite::{Connection, OptionalExtension, Row, Transaction};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::problem::Problem;
use crate::request::{Checks, Command, Nothing, Params, number, page, page_size};
use crate::serve::Service;
use crate::store::{Reply, Store};

pub(crate) const SERVICE: Service = Service {
    name: "stock",
    schema: include_str!("stock.sql"),
    openapi: include_str!("../openapi/stock.yaml"),
    routes,
};

const COLUMNS: &str = "sku, name, price_cents, on_hand, reserved";
const MAX_LINES: usize = 50;
const MAX_QUANTITY: i64 = 1_000;

fn routes() -> Router<Store> {
    Router::new()
        .route("/items", get(list))
        .route("/items/{sku}", get(read))
        .route("/reservations", post(reserve))
        .route("/reservations/{reservation_id}", get(read_reservation).delete(release))
}

#[derive(Serialize)]
struct Item {
    sku: String,
    name: String,
    price_cents: i64,
    on_hand: i64,
    reserved: i64,
    available: i64,
}

fn item(row: &Row<'_>) -> rusqlite::Result<Item> {
    let (on_hand, reserved): (i64, i64) = (row.get(3)?, row.get(4)?);
    Ok(Item {
        sku: row.get(0)?,
        name: row.get(1)?,
        price_cents: row.get(2)?,
        on_hand,
        reserved,
        available: on_hand - reserved,
    })
}

fn find(connection: &Connection, sku: &str) -> Result<Item, Problem> {
    connection
        .query_row(&format!("SELECT {COLUMNS} FROM items WHERE sku = ?"), [sku], item)
        .optional()?
        .ok_or_else(|| Problem::not_found("item", sku))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    search: Option<String>,
    available: Option<bool>,
    limit: Option<u32>,
    after: Option<String>,
}

async fn list(State(store): State<Store>, Params(filter): Params<Filter>) -> Result<Reply, Problem> {
    let limit = page_size(filter.limit)?;
    store
        .read(move |connection| {
            let mut query = connection.prepare(&format!(
                "SELECT {COLUMNS} FROM items WHERE sku > ?1
                 AND (?2 IS NULL OR instr(lower(sku || ' ' || name), lower(?2)) > 0)
                 AND (?3 IS NULL OR ?3 = (on_hand > reserved)) ORDER BY sku LIMIT ?4"
            ))?;
            let after = filter.after.unwrap_or_default();
            let rows = query.query_map((after, filter.search, filter.available, limit + 1), item)?;
            let (items, next) = page(rows.collect::<rusqlite::Result<_>>()?, limit, |item: &Item| &item.sku);
            Ok(Reply::ok(&json!({"items": items, "next": next})))
        })
        .await
}

async fn read(State(store): State<Store>, Path(sku): Path<String>) -> Result<Reply, Problem> {
    store.read(move |connection| Ok(Reply::ok(&find(connection, &sku)?))).await
}

#[derive(Serialize)]
struct Reservation {
    id: String,
    order_id: Option<String>,
    lines: Vec<Line>,
    status: String,
    created_at: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    sku: String,
    quantity: i64,
}

fn find_reservation(connection: &Connection, id: &str) -> Result<Reservation, Problem> {
    let row = connection
        .query_row(
            "SELECT order_id, lines, status, created_at FROM reservations WHERE id = ?",
            [number("res-", id)],
            |row| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?, row.get(3)?)),
        )
        .optional()?;
    let (order_id, lines, status, created_at) = row.ok_or_else(|| Problem::not_found("reservation", id))?;
    let lines = serde_json::from_str(&lines).unwrap_or_default();
    Ok(Reservation { id: id.to_owned(), order_id, lines, status, created_at })
}

async fn read_reservation(State(store): State<Store>, Path(id): Path<String>) -> Result<Reply, Problem> {
    store.read(move |connection| Ok(Reply::ok(&find_reservation(connection, &id)?))).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewReservation {
    order_id: Option<String>,
    lines: Vec<Line>,
}

impl NewReservation {
    fn check(&self) -> Result<(), Problem> {
        let mut checks = Checks::default();
        if let Some(order) = &self.order_id {
            checks.text(order, "#/order_id");
        }
        checks.that(
            (1..=MAX_LINES).contains(&self.lines.len()),
            "#/lines",
            format!("1 to {MAX_LINES} lines"),
        );
        for (index, line) in self.lines.iter().take(MAX_LINES).enumerate() {
            checks.text(&line.sku, format!("#/lines/{index}/sku"));
            checks.that(
                (1..=MAX_QUANTITY).contains(&line.quantity),
                format!("#/lines/{index}/quantity"),
                format!("a quantity of 1 to {MAX_QUANTITY}"),
            );
        }
        checks.done()
    }
}

async fn reserve(State(store): State<Store>, command: Command<NewReservation>) -> Result<Reply, Problem> {
    command.input.check()?;
    store
        .change(command, |transaction, new| {
            for line in &new.lines {
                hold(transaction, line)?;
            }
            transaction.execute(
                "INSERT INTO reservations (order_id, lines) VALUES (?, ?)",
                (&new.order_id, json!(new.lines).to_string()),
            )?;
            let id = format!("res-{}", transaction.last_insert_rowid());
            Ok(Reply::created(format!("/reservations/{id}"), &find_reservation(transaction, &id)?))
        })
        .await
}

/// Holds the quantity of a line, or says what is left.
fn hold(transaction: &Transaction<'_>, line: &Line) -> Result<(), Problem> {
    let item = find(transaction, &line.sku)?;
    if item.available < line.quantity {
        let detail = format!(
            "{} of {} are asked for, {} are available; nothing was reserved",
            line.quantity, line.sku, item.available
        );
        return Err(Problem::conflict("insufficient-stock", "Insufficient stock", detail));
    }
    transaction
        .execute("UPDATE items SET reserved = reserved + ? WHERE sku = ?", (line.quantity, &line.sku))?;
    Ok(())
}

async fn release(
    State(store): State<Store>,
    Path(id): Path<String>,
    command: Command<Nothing>,
) -> Result<Reply, Problem> {
    store
        .change(command, move |transaction, Nothing {}| {
            let reservation = find_reservation(transaction, &id)?;
            if reservation.status != "held" {
                return Ok(Reply::ok(&reservation));
            }
            for line in &reservation.lines {
                transaction.execute(
                    "UPDATE items SET reserved = reserved - ? WHERE sku = ?",
                    (line.quantity, &line.sku),
                )?;
            }
            transaction
                .execute("UPDATE reservations SET status = 'released' WHERE id = ?", [number("res-", &id)])?;
            Ok(Reply::ok(&find_reservation(transaction, &id)?))
        })
        .await
}
