-- The steps of expense claims that move money, as events, in the order in which they happened.
WITH requests AS (
    SELECT
        "case:concept:name" AS claim,
        'request' AS claim_kind,
        "concept:name" AS activity,
        id,
        "time:timestamp" AS happened_at,
        "(case)_RequestedAmount" AS amount,
        row_number() OVER () AS file_row
    FROM read_csv(getvariable('travel') || '/RequestForPayment.csv.gz', all_varchar = true)
),
declarations AS (
    SELECT
        "case:concept:name" AS claim,
        'declaration' AS claim_kind,
        "concept:name" AS activity,
        id,
        "time:timestamp" AS happened_at,
        "(case)_Amount" AS amount,
        row_number() OVER () AS file_row
    FROM read_csv(getvariable('travel') || '/DomesticDeclarations.csv.gz', all_varchar = true)
),
steps AS (
    SELECT
        claim,
        claim_kind,
        activity,
        -- Ids hold spaces, for example "st_step 148220_0".
        replace(id, ' ', '_') AS id,
        -- Every time carries its own offset, +01:00 or +02:00, so the cast gives one exact instant.
        happened_at::TIMESTAMPTZ AS happened_at,
        -- Amounts have many decimals, because they were scaled; a claim has one amount for all its steps,
        -- so rounding it once to cents cannot open a difference between two of them.
        round(amount::DECIMAL(30, 15) * 100)::BIGINT AS claimed,
        regexp_replace(activity, '^(Request For Payment|Declaration) ', '') AS step,
        file_row
    FROM (FROM requests UNION ALL FROM declarations)
),
moving AS (
    SELECT
        *,
        -- Whether an approver's rejection is the last word so far. Submission and withdrawal depend on it:
        -- the log has one name for a first and for a repeated submission.
        lag(step) OVER (PARTITION BY claim ORDER BY happened_at, file_row) AS step_before
    FROM steps
    WHERE step LIKE 'SUBMITTED%' OR step LIKE 'REJECTED%'
),
typed AS (
    SELECT
        steps.*,
        coalesce(
            moving.step_before LIKE 'REJECTED%' AND moving.step_before <> 'REJECTED by EMPLOYEE', false
        ) AS was_returned
    FROM steps
    LEFT JOIN moving ON moving.id = steps.id
),
events AS (
    SELECT
        *,
        CASE
            WHEN step = 'SAVED by EMPLOYEE' THEN 'claim.saved'
            WHEN step = 'SUBMITTED by EMPLOYEE' AND was_returned THEN 'claim.resubmitted'
            WHEN step = 'SUBMITTED by EMPLOYEE' THEN 'claim.submitted'
            WHEN step LIKE 'FINAL_APPROVED by %' THEN 'claim.approved'
            WHEN step = 'REJECTED by MISSING' THEN 'claim.approval_revoked'
            WHEN step = 'REJECTED by EMPLOYEE' AND was_returned THEN 'claim.withdrawn'
            WHEN step = 'REJECTED by EMPLOYEE' THEN 'claim.cancelled'
            WHEN step LIKE 'REJECTED by %' THEN 'claim.rejected'
            WHEN step = 'Request Payment' THEN 'payment.requested'
            WHEN step = 'Payment Handled' THEN 'payment.handled'
            WHEN step LIKE 'APPROVED by %' THEN NULL
            -- An activity that is not known here must not vanish: it goes to quarantine under its own name.
            ELSE activity
        END AS type
    FROM typed
)
SELECT
    type,
    id,
    happened_at AS effective_at,
    happened_at AS occurred_at,
    'EUR' AS currency,
    claim AS property_claim,
    claim_kind AS property_claim_kind,
    activity AS property_activity,
    claimed AS amount_claimed,
    -- The first step of a claim opens its account in claim_unpaid, and no later step opens it again.
    CASE
        WHEN type NOT IN ('claim.saved', 'claim.submitted') THEN NULL
        WHEN row_number() OVER (PARTITION BY claim ORDER BY happened_at, file_row) = 1 THEN claimed
        ELSE 0
    END AS amount_received
FROM events
WHERE type IS NOT NULL
ORDER BY effective_at, claim, file_row
