CREATE TABLE shipments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    order_id TEXT NOT NULL,
    address TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'created' CHECK (status IN ('created', 'in_transit', 'delivered', 'cancelled')),
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
) STRICT;
CREATE TABLE stops (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    shipment INTEGER NOT NULL REFERENCES shipments (id),
    at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
    place TEXT NOT NULL,
    what TEXT NOT NULL
) STRICT;

INSERT INTO shipments (id, order_id, address, status, created_at) VALUES
    (301, 'ord-1001', '{"name":"Ada","street":"Lindenweg 4","postal_code":"80331","city":"München","country":"DE"}',
     'delivered', '2026-10-02T15:00:00Z'),
    (302, 'ord-1002', '{"name":"Grace","street":"Keizersgracht 12","postal_code":"1015 CN","city":"Amsterdam","country":"NL"}',
     'delivered', '2026-10-20T08:00:00Z'),
    (303, 'ord-1004', '{"name":"Edsger","street":"Rue des Tanneurs 7","postal_code":"67000","city":"Strasbourg","country":"FR"}',
     'in_transit', '2026-11-19T07:20:00Z');
INSERT INTO stops (shipment, at, place, what) VALUES
    (301, '2026-10-02T15:00:00Z', 'Warehouse', 'label printed'),
    (301, '2026-10-02T18:30:00Z', 'Nürnberg', 'sorted'),
    (301, '2026-10-04T11:05:00Z', 'München', 'delivered'),
    (302, '2026-10-20T08:00:00Z', 'Warehouse', 'label printed'),
    (302, '2026-10-22T13:45:00Z', 'Amsterdam', 'delivered to a neighbour'),
    (303, '2026-11-19T07:20:00Z', 'Warehouse', 'label printed'),
    (303, '2026-11-20T02:10:00Z', 'Karlsruhe', 'sorted');
