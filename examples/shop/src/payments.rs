//! Payments: charges and their refunds, in whole cents.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use rusqlite::{Connection, OptionalExtension, Row};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::problem::{Problem, status};
use crate::request::{Checks, Command, Params, number, page_size};
use crate::serve::Service;
use crate::store::{Reply, Store};

pub(crate) const SERVICE: Service = Service {
    name: "payments",
    schema: include_str!("payments.sql"),
    openapi: include_str!("../openapi/payments.yaml"),
    routes,
};

const COLUMNS: &str = "id, order_id, amount_cents, refunded_cents, currency, card, created_at";

/// A card that is always declined.
const DECLINED: &str = "card-declined";

fn routes() -> Router<Store> {
    Router::new()
        .route("/payments", get(list).post(charge))
        .route("/payments/{payment_id}", get(read))
        .route("/payments/{payment_id}/refunds", post(refund))
}

#[derive(Serialize)]
struct Payment {
    id: String,
    order_id: String,
    amount_cents: i64,
    refunded_cents: i64,
    currency: String,
    card: String,
    status: &'static str,
    created_at: String,
}

fn payment(row: &Row<'_>) -> rusqlite::Result<Payment> {
    let (amount_cents, refunded_cents): (i64, i64) = (row.get(2)?, row.get(3)?);
    Ok(Payment {
        id: format!("pay-{}", row.get::<_, i64>(0)?),
        order_id: row.get(1)?,
        amount_cents,
        refunded_cents,
        currency: row.get(4)?,
        card: row.get(5)?,
        status: match refunded_cents {
            0 => "charged",
            refunded if refunded < amount_cents => "partly_refunded",
            _ => "refunded",
        },
        created_at: row.get(6)?,
    })
}

fn find(connection: &Connection, id: &str) -> Result<Payment, Problem> {
    connection
        .query_row(&format!("SELECT {COLUMNS} FROM payments WHERE id = ?"), [number("pay-", id)], payment)
        .optional()?
        .ok_or_else(|| Problem::not_found("payment", id))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    order_id: Option<String>,
    limit: Option<u32>,
}

async fn list(State(store): State<Store>, Params(filter): Params<Filter>) -> Result<Reply, Problem> {
    let limit = page_size(filter.limit)?;
    store
        .read(move |connection| {
            let mut query = connection.prepare(&format!(
                "SELECT {COLUMNS} FROM payments WHERE order_id = ifnull(?1, order_id) ORDER BY id DESC LIMIT ?2"
            ))?;
            let rows = query.query_map((filter.order_id, limit), payment)?;
            let payments = rows.collect::<rusqlite::Result<Vec<_>>>()?;
            Ok(Reply::ok(&json!({"payments": payments})))
        })
        .await
}

async fn read(State(store): State<Store>, Path(id): Path<String>) -> Result<Reply, Problem> {
    store.read(move |connection| Ok(Reply::ok(&find(connection, &id)?))).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Charge {
    order_id: String,
    amount_cents: i64,
    #[serde(default = "euro")]
    currency: String,
    card: String,
}

fn euro() -> String {
    "EUR".to_owned()
}

async fn charge(State(store): State<Store>, command: Command<Charge>) -> Result<Reply, Problem> {
    let charge = &command.input;
    let mut checks = Checks::default();
    checks.text(&charge.order_id, "#/order_id");
    checks.text(&charge.card, "#/card");
    checks.cents(charge.amount_cents, 1, "#/amount_cents");
    checks.that(
        charge.currency.len() == 3 && charge.currency.bytes().all(|byte| byte.is_ascii_uppercase()),
        "#/currency",
        "three capital letters (ISO 4217)",
    );
    checks.done()?;
    store
        .change(command, |transaction, charge| {
            if charge.card == DECLINED {
                return Err(Problem::new(
                    status::PAYMENT_REQUIRED,
                    "card-declined",
                    "Card declined",
                    "the bank declined the card; nothing was charged",
                ));
            }
            transaction.execute(
                "INSERT INTO payments (order_id, amount_cents, currency, card) VALUES (?, ?, ?, ?)",
                (charge.order_id, charge.amount_cents, charge.currency, charge.card),
            )?;
            let id = format!("pay-{}", transaction.last_insert_rowid());
            Ok(Reply::created(format!("/payments/{id}"), &find(transaction, &id)?))
        })
        .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refund {
    amount_cents: Option<i64>,
    reason: Option<String>,
}

async fn refund(
    State(store): State<Store>,
    Path(id): Path<String>,
    command: Command<Refund>,
) -> Result<Reply, Problem> {
    let mut checks = Checks::default();
    if let Some(amount) = command.input.amount_cents {
        checks.cents(amount, 1, "#/amount_cents");
    }
    if let Some(reason) = &command.input.reason {
        checks.text(reason, "#/reason");
    }
    checks.done()?;
    store
        .change(command, move |transaction, refund| {
            let payment = find(transaction, &id)?;
            let left = payment.amount_cents - payment.refunded_cents;
            let amount_cents = refund.amount_cents.unwrap_or(left);
            if left == 0 || amount_cents > left {
                let detail = format!("{amount_cents} cents are asked for, {left} are left of {id}");
                return Err(Problem::conflict("refund-exceeds-charge", "Refund exceeds charge", detail));
            }
            transaction.execute(
                "UPDATE payments SET refunded_cents = refunded_cents + ? WHERE id = ?",
                (amount_cents, number("pay-", &id)),
            )?;
            transaction.execute(
                "INSERT INTO refunds (payment, amount_cents, reason) VALUES (?, ?, ?)",
                (number("pay-", &id), amount_cents, &refund.reason),
            )?;
            let refund_id = format!("ref-{}", transaction.last_insert_rowid());
            let body = json!({
                "id": refund_id,
                "amount_cents": amount_cents,
                "reason": refund.reason,
                "payment": find(transaction, &id)?,
            });
            Ok(Reply::created(format!("/payments/{id}"), &body))
        })
        .await
}
