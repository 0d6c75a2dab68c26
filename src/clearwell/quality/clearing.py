"""Clearing: of the money whose window has run out by the cut, the share that is cleared (DESIGN, section 3).

Named steps in SQL over relations that the caller provides: `open_at`, `episodes_at`, `reservoirs_at`, `windows` and
`business_windows`. Each function returns a query; none runs one. Parameters: `$effective_at`, `$time_zone`.
"""

from __future__ import annotations

_LOCAL_DAY = "CAST(timezone($time_zone, opened_effective_at) AS DATE)"

# Business days end at the same local time of the day, on the due day. A local time that comes twice, where clocks are
# set back, means the first: the instant as it was counted before the change, if that reads as the same local time.
_LOCAL_DUE = f"timezone($time_zone, opened_effective_at) + to_days(date_diff('day', {_LOCAL_DAY}, b.due_day)::INTEGER)"
_BEFORE_CHANGE = f"timezone($time_zone, {_LOCAL_DUE} - INTERVAL 3 HOUR) + INTERVAL 3 HOUR"
_DUE_AT = f"""
CASE WHEN w.window_seconds IS NOT NULL THEN opened_effective_at + to_seconds(w.window_seconds)
     WHEN w.business_calendar THEN
        CASE WHEN timezone($time_zone, {_BEFORE_CHANGE}) = {_LOCAL_DUE} THEN {_BEFORE_CHANGE}
             ELSE timezone($time_zone, {_LOCAL_DUE}) END
END
"""


def opening_days() -> str:
    """Per account type with business days: the first and last local day on which an episode of the cut opened."""
    return f"""
    SELECT account_type, min({_LOCAL_DAY}) AS first_day, max({_LOCAL_DAY}) AS last_day
    FROM (SELECT account_type, opened_effective_at FROM open_at
          UNION ALL SELECT account_type, opened_effective_at FROM episodes_at)
    JOIN windows USING (account_type) WHERE business_calendar GROUP BY ALL
    """


def open_with_state() -> str:
    """The accounts open at the cut with `due_at` and `state` (`in_flight` or `overdue`), and whose they are.

    Without a window (learned, and no history yet) an account is in flight.
    """
    return f"""
    SELECT w.flow, o.account_type, w.owner, o.account, o.currency, o.balance, o.turnover, o.entry_count,
        o.opened_effective_at AS opened_at, o.opened_recorded_at, o.opened_sequence, o.last_effective_at,
        o.last_sequence, {_DUE_AT} AS due_at,
        CASE WHEN {_DUE_AT} <= $effective_at THEN 'overdue' ELSE 'in_flight' END AS state,
        CAST(date_sub('second', o.opened_effective_at, $effective_at) AS BIGINT) AS age_seconds
    FROM open_at AS o JOIN windows AS w USING (account_type)
    LEFT JOIN business_windows AS b ON b.account_type = o.account_type AND b.opened_day = {_LOCAL_DAY}
    """


def cleared_with_due() -> str:
    """The episodes that had cleared by the cut, with `due_at` and `cleared_at`, and whose they were."""
    return f"""
    SELECT w.flow, e.account_type, w.owner, e.account, e.currency, e.turnover, e.entry_count,
        e.opened_effective_at AS opened_at, e.opened_recorded_at, e.opened_sequence,
        e.last_effective_at AS cleared_at, e.last_recorded_at AS cleared_recorded_at,
        e.last_sequence AS cleared_sequence, {_DUE_AT} AS due_at
    FROM episodes_at AS e JOIN windows AS w USING (account_type)
    LEFT JOIN business_windows AS b ON b.account_type = e.account_type AND b.opened_day = {_LOCAL_DAY}
    """


def due_episodes() -> str:
    """Money and count of the cleared episodes whose window has run out by the cut, per account type and currency."""
    return f"""
    SELECT account_type, currency,
        sum(turnover) FILTER (WHERE due_at <= $effective_at) AS due_money,
        count(*) FILTER (WHERE due_at <= $effective_at) AS due_count
    FROM ({cleared_with_due()}) GROUP BY ALL
    """


def status() -> str:
    """Per account type and currency: what is open, in flight and overdue, what was due, and the share cleared.

    The money of an open episode that was due is the greater of what came in and what went out: the two are equal once
    it is cleared, and an account that was only drained was due its whole drain (docs/decisions/0003).
    For reservoirs `open_money` is the sum of the balances, with its sign; for clearing accounts the sum of amounts.
    """
    return f"""
    WITH open_now AS ({open_with_state()}),
    open_sums AS (
        SELECT account_type, currency, count(*) AS open_count, sum(abs(balance)) AS open_money,
            sum(abs(balance)) FILTER (WHERE state = 'in_flight') AS in_flight_money,
            count(*) FILTER (WHERE state = 'overdue') AS overdue_count,
            sum(abs(balance)) FILTER (WHERE state = 'overdue') AS overdue_money,
            sum(greatest(turnover, turnover - balance)) FILTER (WHERE state = 'overdue') AS due_money
        FROM open_now GROUP BY ALL
    ),
    reservoir_sums AS (
        SELECT account_type, currency, count(*) FILTER (WHERE balance <> 0) AS open_count, sum(balance) AS open_money
        FROM reservoirs_at GROUP BY ALL
    ),
    sums AS (
        SELECT account_type, currency, coalesce(o.open_count, 0) AS open_count, coalesce(o.open_money, 0) AS open_money,
            coalesce(o.in_flight_money, 0) AS in_flight_money, coalesce(o.overdue_count, 0) AS overdue_count,
            coalesce(o.overdue_money, 0) AS overdue_money,
            coalesce(o.due_money, 0) + coalesce(e.due_money, 0) AS due_money,
            coalesce(o.overdue_count, 0) + coalesce(e.due_count, 0) AS due_count
        FROM open_sums AS o FULL JOIN ({due_episodes()}) AS e USING (account_type, currency)
        UNION ALL SELECT account_type, currency, open_count, open_money, 0, 0, 0, 0, 0 FROM reservoir_sums
    )
    SELECT w.flow, w.account_type, w.owner, w.kind, s.currency,
        coalesce(open_count, 0) AS open_count, coalesce(open_money, 0)::HUGEINT AS open_money,
        coalesce(in_flight_money, 0)::HUGEINT AS in_flight_money, coalesce(overdue_count, 0) AS overdue_count,
        coalesce(overdue_money, 0)::HUGEINT AS overdue_money, coalesce(due_money, 0)::HUGEINT AS due_money,
        coalesce(due_count, 0) AS due_count,
        CASE WHEN due_money > 0 THEN 1 - overdue_money::DOUBLE / due_money::DOUBLE END AS clearing,
        CASE WHEN due_count > 0 THEN 1 - overdue_count::DOUBLE / due_count::DOUBLE END AS clearing_by_count
    FROM windows AS w LEFT JOIN sums AS s USING (account_type)
    ORDER BY w.position, s.currency
    """
