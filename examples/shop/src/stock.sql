CREATE TABLE items (
    sku TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    price_cents INTEGER NOT NULL CHECK (price_cents >= 0),
    on_hand INTEGER NOT NULL CHECK (on_hand >= 0),
    reserved INTEGER NOT NULL DEFAULT 0 CHECK (reserved BETWEEN 0 AND on_hand)
) STRICT;
CREATE TABLE reservations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    order_id TEXT,
    lines TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'held' CHECK (status IN ('held', 'released')),
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
) STRICT;

INSERT INTO items (sku, name, price_cents, on_hand, reserved) VALUES
    ('cosy-wool', 'Tea cosy, wool', 1850, 9, 0),
    ('cup-glass', 'Double-walled glass cup', 990, 140, 0),
    ('kettle-steel', 'Kettle, brushed steel, 1.2 l', 4990, 6, 0),
    ('mug-blue', 'Mug, blue glaze', 1250, 85, 0),
    ('mug-white', 'Mug, white glaze', 1150, 60, 0),
    ('scale-pocket', 'Pocket scale, 0.1 g', 2790, 0, 0),
    ('strainer', 'Tea strainer', 640, 33, 1),
    ('tea-assam', 'Assam, 100 g', 890, 210, 0),
    ('tea-rooibos', 'Rooibos, 100 g', 720, 95, 0),
    ('tea-sencha', 'Sencha, 100 g', 1190, 48, 3),
    ('teapot-clay', 'Teapot, Yixing clay', 3600, 1, 1),
    ('thermometer', 'Thermometer', 1490, 12, 0);
INSERT INTO reservations (id, order_id, lines, status, created_at) VALUES
    (501, 'ord-1003', '[{"sku":"teapot-clay","quantity":1}]', 'released', '2026-11-01T08:01:00Z'),
    (502, 'ord-1004', '[{"sku":"tea-sencha","quantity":3},{"sku":"strainer","quantity":1}]', 'held', '2026-11-18T12:31:00Z'),
    (503, 'ord-1005', '[{"sku":"teapot-clay","quantity":1}]', 'held', '2026-11-20T20:02:00Z');
