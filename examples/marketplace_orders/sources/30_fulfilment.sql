-- The way of the goods: handed to the carrier, then delivered. The order's money follows the goods.
WITH orders AS (
    SELECT DISTINCT
        order_id, customer_id, order_delivered_carrier_date, order_delivered_customer_date,
        order_estimated_delivery_date
    FROM read_csv(
        [
            getvariable('orders') || '/sample_1000/olist_orders_dataset.csv',
            getvariable('orders') || '/first_4071/olist_orders_dataset.csv'
        ],
        union_by_name = true,
        types = {
            'order_id': 'VARCHAR', 'customer_id': 'VARCHAR', 'order_delivered_carrier_date': 'TIMESTAMP',
            'order_delivered_customer_date': 'TIMESTAMP', 'order_estimated_delivery_date': 'TIMESTAMP'
        }
    )
),
customers AS (
    -- The state of 1,199 customers is in the folder; the others' is `unknown`.
    SELECT customer_id, any_value(customer_state) AS customer_state
    FROM read_csv(
        [
            getvariable('orders') || '/sample_1000/olist_customers_dataset.csv',
            getvariable('orders') || '/first_4071/olist_customers_dataset.csv'
        ],
        union_by_name = true,
        types = {'customer_id': 'VARCHAR', 'customer_state': 'VARCHAR'}
    )
    GROUP BY customer_id
),
items AS (
    SELECT DISTINCT order_id, order_item_id, price, freight_value
    FROM read_csv(
        [
            getvariable('orders') || '/sample_1000/olist_order_items_dataset.csv',
            getvariable('orders') || '/first_4071/olist_order_items_dataset.csv'
        ],
        union_by_name = true,
        types = {
            'order_id': 'VARCHAR', 'order_item_id': 'INTEGER',
            'price': 'DECIMAL(12, 2)', 'freight_value': 'DECIMAL(12, 2)'
        }
    )
),
held AS (
    -- The amount that 10_orders.sql posts: what was ordered, or what was paid where the items are unknown.
    SELECT
        orders.order_id,
        coalesce(
            (
                SELECT sum((price + freight_value) * 100)::BIGINT
                FROM items
                WHERE items.order_id = orders.order_id
            ),
            (
                SELECT sum(round(payment_value * 100)::BIGINT)::BIGINT
                FROM read_parquet(getvariable('orders') || '/olist_order_payments_dataset.parquet') AS payment
                WHERE payment.order_id = orders.order_id
            )
        ) AS held
    FROM orders
),
steps AS (
    SELECT
        1 AS step, 'order.handed_over' AS type, order_id, customer_id,
        order_delivered_carrier_date AS happened_at, NULL AS promised_by
    FROM orders
    UNION ALL
    SELECT 2, 'order.delivered', order_id, customer_id, order_delivered_customer_date, order_estimated_delivery_date
    FROM orders
)
SELECT
    steps.type,
    steps.type || '-' || steps.order_id AS id,
    steps.happened_at AT TIME ZONE 'America/Sao_Paulo' AS effective_at,
    steps.happened_at AT TIME ZONE 'America/Sao_Paulo' AS occurred_at,
    'BRL' AS currency,
    steps.order_id AS property_order,
    coalesce(customers.customer_state, 'unknown') AS property_customer_state,
    -- The promise is a local midnight; it is kept as UTC text, because properties are text.
    strftime(
        (steps.promised_by AT TIME ZONE 'America/Sao_Paulo') AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%SZ'
    ) AS property_promised_by,
    held.held AS amount_held
FROM steps
JOIN held ON held.order_id = steps.order_id
LEFT JOIN customers ON customers.customer_id = steps.customer_id
WHERE steps.happened_at IS NOT NULL
ORDER BY effective_at, steps.step, id
