CREATE TABLE payments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    order_id TEXT NOT NULL,
    amount_cents INTEGER NOT NULL CHECK (amount_cents > 0),
    refunded_cents INTEGER NOT NULL DEFAULT 0 CHECK (refunded_cents BETWEEN 0 AND amount_cents),
    currency TEXT NOT NULL,
    card TEXT NOT NULL,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
) STRICT;
CREATE INDEX payments_by_order ON payments (order_id);
CREATE TABLE refunds (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    payment INTEGER NOT NULL REFERENCES payments (id),
    amount_cents INTEGER NOT NULL CHECK (amount_cents > 0),
    reason TEXT,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
) STRICT;

INSERT INTO payments (id, order_id, amount_cents, refunded_cents, currency, card, created_at) VALUES
    (7001, 'ord-1001', 3390, 0, 'EUR', 'card-ada', '2026-10-02T09:14:30Z'),
    (7002, 'ord-1002', 4990, 990, 'EUR', 'card-grace', '2026-10-19T17:41:00Z'),
    (7003, 'ord-1003', 3600, 3600, 'EUR', 'card-ada', '2026-11-01T08:05:20Z'),
    (7004, 'ord-1004', 4210, 0, 'EUR', 'card-edsger', '2026-11-18T12:32:00Z');
INSERT INTO refunds (id, payment, amount_cents, reason, created_at) VALUES
    (1, 7002, 990, 'a dent in the lid', '2026-10-28T10:00:00Z'),
    (2, 7003, 3600, 'order cancelled', '2026-11-02T09:30:00Z');
