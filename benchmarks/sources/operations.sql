-- The producer's own table of operations, as events.
SELECT
    operation AS type,
    operation_id AS id,
    make_timestamptz(booked_ms * 1000) AS effective_at,
    occurred_at AT TIME ZONE 'UTC' AS occurred_at,
    iso_currency AS currency,
    charge AS property_charge,
    payout AS property_payout,
    dispute AS property_dispute,
    business AS property_business,
    network AS property_network,
    bank AS property_bank,
    country AS property_country,
    method AS property_method,
    channel AS property_channel,
    reason AS property_reason,
    minor_gross AS amount_gross,
    minor_net AS amount_net,
    minor_fee AS amount_fee,
    minor_money AS amount_money
FROM read_csv(getvariable('operations'), header = true, columns = {
    operation: 'VARCHAR', operation_id: 'VARCHAR', occurred_at: 'TIMESTAMP', iso_currency: 'VARCHAR',
    charge: 'VARCHAR', payout: 'VARCHAR', dispute: 'VARCHAR', business: 'VARCHAR', network: 'VARCHAR',
    bank: 'VARCHAR', country: 'VARCHAR', method: 'VARCHAR', channel: 'VARCHAR', reason: 'VARCHAR',
    minor_gross: 'BIGINT', minor_net: 'BIGINT', minor_fee: 'BIGINT', minor_money: 'BIGINT', booked_ms: 'BIGINT'
})
