-- Orders that ended as cancelled or unavailable: their money is due back to the customer.
WITH orders AS (
    SELECT DISTINCT
        order_id, customer_id, order_status, order_delivered_carrier_date, order_delivered_customer_date,
        -- The data has no time of cancellation. The promised delivery day stands for it, or a later delivery.
        greatest(order_estimated_delivery_date, order_delivered_customer_date)
            AT TIME ZONE 'America/Sao_Paulo' AS cancelled_at
    FROM read_csv(
        [
            getvariable('orders') || '/sample_1000/olist_orders_dataset.csv',
            getvariable('orders') || '/first_4071/olist_orders_dataset.csv'
        ],
        union_by_name = true,
        types = {
            'order_id': 'VARCHAR', 'customer_id': 'VARCHAR', 'order_status': 'VARCHAR',
            'order_delivered_carrier_date': 'TIMESTAMP',
            'order_delivered_customer_date': 'TIMESTAMP', 'order_estimated_delivery_date': 'TIMESTAMP'
        }
    )
    WHERE order_status IN ('canceled', 'unavailable')
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
cancelled AS (
    SELECT
        orders.*,
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
        ) AS held,
        CASE
            WHEN order_delivered_customer_date IS NOT NULL THEN 'delivered'
            WHEN order_delivered_carrier_date IS NOT NULL THEN 'in_transit'
            ELSE 'not_shipped'
        END AS place
    FROM orders
)
SELECT
    'order.cancelled' AS type,
    'order.cancelled-' || order_id AS id,
    cancelled_at AS effective_at,
    cancelled_at AS occurred_at,
    'BRL' AS currency,
    order_id AS property_order,
    coalesce(customer_state, 'unknown') AS property_customer_state,
    order_status AS property_reason,
    CASE WHEN place = 'not_shipped' THEN held ELSE 0 END AS amount_not_shipped,
    CASE WHEN place = 'in_transit' THEN held ELSE 0 END AS amount_in_transit,
    CASE WHEN place = 'delivered' THEN held ELSE 0 END AS amount_delivered
FROM cancelled
LEFT JOIN customers USING (customer_id)
ORDER BY effective_at, id
