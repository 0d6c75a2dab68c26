-- What was paid, one event per row of the payments file, zero payments included.
WITH orders AS (
    SELECT DISTINCT order_id, order_purchase_timestamp, order_approved_at
    FROM read_csv(
        [
            getvariable('orders') || '/sample_1000/olist_orders_dataset.csv',
            getvariable('orders') || '/first_4071/olist_orders_dataset.csv'
        ],
        union_by_name = true,
        types = {
            'order_id': 'VARCHAR', 'order_purchase_timestamp': 'TIMESTAMP', 'order_approved_at': 'TIMESTAMP'
        }
    )
),
item_limits AS (
    SELECT order_id, min(shipping_limit_date) AS first_shipping_limit
    FROM read_csv(
        [
            getvariable('orders') || '/sample_1000/olist_order_items_dataset.csv',
            getvariable('orders') || '/first_4071/olist_order_items_dataset.csv'
        ],
        union_by_name = true, types = {'order_id': 'VARCHAR', 'shipping_limit_date': 'TIMESTAMP'}
    )
    GROUP BY order_id
),
payments AS (
    SELECT
        payment.*,
        (orders.order_id IS NOT NULL OR item_limits.order_id IS NOT NULL) AS order_known,
        -- A payment has no time of its own. It is captured when the order is approved; 8 cancelled orders
        -- never were, and for them the purchase is the best that is known. Orders without a header share the
        -- stand-in of 10_orders.sql. The rest is dated on the first midnight after everything in the extract.
        coalesce(
            orders.order_approved_at,
            orders.order_purchase_timestamp,
            item_limits.first_shipping_limit,
            TIMESTAMP '2018-10-18 00:00:00'
        ) AT TIME ZONE 'America/Sao_Paulo' AS captured_at
    FROM read_parquet(getvariable('orders') || '/olist_order_payments_dataset.parquet') AS payment
    LEFT JOIN orders ON orders.order_id = payment.order_id
    LEFT JOIN item_limits ON item_limits.order_id = payment.order_id
)
SELECT
    CASE WHEN order_known THEN 'payment.captured' ELSE 'payment.captured_without_order' END AS type,
    order_id || '-' || payment_sequential AS id,
    captured_at AS effective_at,
    captured_at AS occurred_at,
    'BRL' AS currency,
    order_id AS property_order,
    payment_type AS property_payment_type,
    payment_sequential::VARCHAR AS property_payment_sequence,
    payment_installments::VARCHAR AS property_installments,
    round(payment_value * 100)::BIGINT AS amount_paid
FROM payments
ORDER BY effective_at, order_id, payment_sequential
