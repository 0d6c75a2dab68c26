-- What was ordered, one event per order.
-- Orders and items come in two extracts that overlap; a row that is in both is taken once.
WITH orders AS (
    SELECT
        order_id,
        order_purchase_timestamp,
        bool_or(filename LIKE '%sample_1000%') AS in_sample
    FROM read_csv(
        [
            getvariable('orders') || '/sample_1000/olist_orders_dataset.csv',
            getvariable('orders') || '/first_4071/olist_orders_dataset.csv'
        ],
        union_by_name = true, filename = true,
        types = {'order_id': 'VARCHAR', 'order_purchase_timestamp': 'TIMESTAMP'}
    )
    GROUP BY order_id, order_purchase_timestamp
),
items AS (
    -- Prices are read as decimals, never as doubles, so that cents are exact.
    SELECT DISTINCT order_id, order_item_id, price, freight_value, shipping_limit_date
    FROM read_csv(
        [
            getvariable('orders') || '/sample_1000/olist_order_items_dataset.csv',
            getvariable('orders') || '/first_4071/olist_order_items_dataset.csv'
        ],
        union_by_name = true,
        types = {
            'order_id': 'VARCHAR', 'order_item_id': 'INTEGER', 'shipping_limit_date': 'TIMESTAMP',
            'price': 'DECIMAL(12, 2)', 'freight_value': 'DECIMAL(12, 2)'
        }
    )
),
item_totals AS (
    SELECT
        order_id,
        sum((price + freight_value) * 100)::BIGINT AS total,
        min(shipping_limit_date) AS first_shipping_limit
    FROM items
    GROUP BY order_id
),
paid AS (
    -- The payments file holds doubles; rounding to cents is exact here because each value has two decimals.
    SELECT order_id, sum(round(payment_value * 100)::BIGINT)::BIGINT AS paid_total
    FROM read_parquet(getvariable('orders') || '/olist_order_payments_dataset.parquet')
    GROUP BY order_id
),
listed AS (
    SELECT
        CASE
            WHEN orders.order_id IS NULL THEN 'order.items_listed'
            WHEN item_totals.order_id IS NULL THEN 'order.placed_without_items'
            ELSE 'order.placed'
        END AS type,
        coalesce(orders.order_id, item_totals.order_id) AS order_id,
        orders.in_sample,
        item_totals.total,
        -- An order without a header has no time of purchase; the first shipping limit of its items stands in.
        coalesce(orders.order_purchase_timestamp, item_totals.first_shipping_limit) AS placed_at
    FROM orders
    FULL JOIN item_totals ON item_totals.order_id = orders.order_id
)
SELECT
    listed.type,
    listed.type || '-' || listed.order_id AS id,
    listed.placed_at AT TIME ZONE 'America/Sao_Paulo' AS effective_at,
    listed.placed_at AT TIME ZONE 'America/Sao_Paulo' AS occurred_at,
    'BRL' AS currency,
    listed.order_id AS property_order,
    CASE
        WHEN listed.type = 'order.placed' AND listed.in_sample THEN 'sample_1000'
        WHEN listed.type = 'order.placed' THEN 'first_4071'
    END AS property_extract,
    CASE WHEN listed.type <> 'order.placed_without_items' THEN listed.total END AS amount_total,
    CASE WHEN listed.type = 'order.placed_without_items' THEN paid.paid_total END AS amount_paid_total
FROM listed
LEFT JOIN paid ON paid.order_id = listed.order_id
ORDER BY effective_at, id
