-- What the sellers get. The data does not say when, so sellers are credited at the moment of delivery.
-- The commission is an assumption of this example: 10 % of the item's price, rounded half up to the cent.
-- The seller gets the price less the commission, so the two add up to the price. Freight goes to the carrier.
WITH delivered AS (
    -- Cancelled orders go to the customer, not to the seller; 50_cancellations.sql has them.
    SELECT DISTINCT order_id, order_delivered_customer_date
    FROM read_csv(
        [
            getvariable('orders') || '/sample_1000/olist_orders_dataset.csv',
            getvariable('orders') || '/first_4071/olist_orders_dataset.csv'
        ],
        union_by_name = true,
        types = {
            'order_id': 'VARCHAR', 'order_status': 'VARCHAR', 'order_delivered_customer_date': 'TIMESTAMP'
        }
    )
    WHERE order_delivered_customer_date IS NOT NULL AND order_status NOT IN ('canceled', 'unavailable')
),
items AS (
    SELECT DISTINCT
        order_id,
        order_item_id,
        seller_id,
        (price * 100)::BIGINT AS price_minor,
        (freight_value * 100)::BIGINT AS freight_minor
    FROM read_csv(
        [
            getvariable('orders') || '/sample_1000/olist_order_items_dataset.csv',
            getvariable('orders') || '/first_4071/olist_order_items_dataset.csv'
        ],
        union_by_name = true,
        types = {
            'order_id': 'VARCHAR', 'order_item_id': 'INTEGER', 'seller_id': 'VARCHAR',
            'price': 'DECIMAL(12, 2)', 'freight_value': 'DECIMAL(12, 2)'
        }
    )
),
paid AS (
    SELECT order_id, sum(round(payment_value * 100)::BIGINT)::BIGINT AS paid_total
    FROM read_parquet(getvariable('orders') || '/olist_order_payments_dataset.parquet')
    GROUP BY order_id
),
credits AS (
    SELECT
        CASE
            WHEN items.order_id IS NULL THEN 'seller.credited_without_items'
            ELSE 'seller.credited'
        END AS type,
        delivered.order_id,
        delivered.order_delivered_customer_date AT TIME ZONE 'America/Sao_Paulo' AS credited_at,
        items.order_item_id,
        items.seller_id,
        items.price_minor,
        (items.price_minor * 10 + 50) // 100 AS commission,
        items.freight_minor,
        CASE WHEN items.order_id IS NULL THEN paid.paid_total END AS held
    FROM delivered
    LEFT JOIN items ON items.order_id = delivered.order_id
    LEFT JOIN paid ON paid.order_id = delivered.order_id
)
SELECT
    type,
    order_id || '-' || coalesce(order_item_id::VARCHAR, 'all') AS id,
    credited_at AS effective_at,
    credited_at AS occurred_at,
    'BRL' AS currency,
    order_id AS property_order,
    order_item_id::VARCHAR AS property_item,
    seller_id AS property_seller,
    price_minor - commission AS amount_net,
    commission AS amount_commission,
    freight_minor AS amount_freight,
    held AS amount_held
FROM credits
ORDER BY effective_at, order_id, order_item_id
