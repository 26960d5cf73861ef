-- One order in one call: duplicate check, conditional update, order row. Answers 1 held, 0 short, or the state of an order known already.
-- Half-filled pages leave room for heap-only updates of the stock rows: no index is touched when stock is taken.
CREATE TABLE stock (
    sku       bigint PRIMARY KEY,
    available bigint NOT NULL CHECK (available >= 0),
    reserved  bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

CREATE TABLE orders (
    id_time   bigint NOT NULL,
    id_random bigint NOT NULL,
    sku       bigint NOT NULL,
    quantity  integer NOT NULL,
    customer  bigint NOT NULL,
    due       bigint NOT NULL,
    state     smallint NOT NULL,
    PRIMARY KEY (id_time, id_random)
);

CREATE FUNCTION place(p_time bigint, p_random bigint, p_sku bigint, p_quantity integer, p_customer bigint, p_due bigint) RETURNS smallint
LANGUAGE plpgsql AS $$
DECLARE
    known smallint;
BEGIN
    SELECT state INTO known FROM orders WHERE id_time = p_time AND id_random = p_random;
    IF FOUND THEN
        RETURN known;
    END IF;
    UPDATE stock SET available = available - p_quantity, reserved = reserved + p_quantity WHERE sku = p_sku AND available >= p_quantity;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    INSERT INTO orders VALUES (p_time, p_random, p_sku, p_quantity, p_customer, p_due, 1);
    RETURN 1;
END
$$;
