CREATE TABLE orders (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    customer TEXT NOT NULL,
    items TEXT NOT NULL,
    total_cents INTEGER NOT NULL CHECK (total_cents >= 0),
    note TEXT,
    status TEXT NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'completed', 'cancelled')),
    cancel_reason TEXT,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
) STRICT;
CREATE INDEX orders_by_customer ON orders (customer);

INSERT INTO orders (id, customer, items, total_cents, note, status, cancel_reason, created_at) VALUES
    (1001, 'ada', '[{"sku":"mug-blue","quantity":2,"unit_price_cents":1250},{"sku":"tea-assam","quantity":1,"unit_price_cents":890}]',
     3390, NULL, 'completed', NULL, '2026-10-02T09:14:00Z'),
    (1002, 'grace', '[{"sku":"kettle-steel","quantity":1,"unit_price_cents":4990}]',
     4990, 'ring twice', 'completed', NULL, '2026-10-19T17:40:00Z'),
    (1003, 'ada', '[{"sku":"teapot-clay","quantity":1,"unit_price_cents":3600}]',
     3600, NULL, 'cancelled', 'found a better one', '2026-11-01T08:05:00Z'),
    (1004, 'edsger', '[{"sku":"tea-sencha","quantity":3,"unit_price_cents":1190},{"sku":"strainer","quantity":1,"unit_price_cents":640}]',
     4210, 'a gift', 'open', NULL, '2026-11-18T12:31:00Z'),
    (1005, 'barbara', '[{"sku":"teapot-clay","quantity":1,"unit_price_cents":3600}]',
     3600, NULL, 'open', NULL, '2026-11-20T20:02:00Z');
