"""Clearing: of the money whose window has run out by the cut, the share that is cleared (DESIGN, section 3).

Named steps in SQL over relations that the caller provides: `open_at`, `episodes_at`, `reservoirs_at`, `hours_at`,
`windows`, `business_windows` and `value_windows`. Each function returns a query; none runs one. Parameters:
`$effective_at` and `$time_zone`. What a cut's windows do not need (`WindowKinds`) the query leaves out: that halves the
time of a question, most of which is planning.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from clearwell.ledger.views import quoted_text
from clearwell.quality.windows import WindowKinds, value_of
from clearwell.values.times import stored_hour

_LOCAL_DAY = "CAST(timezone($time_zone, opened_effective_at) AS DATE)"

# Business days end at the same local time of the day, on the due day. A local time that comes twice, where clocks are
# set back, means the first: the instant as it was counted before the change, if that reads as the same local time.
_LOCAL_DUE = f"timezone($time_zone, opened_effective_at) + to_days(date_diff('day', {_LOCAL_DAY}, b.due_day)::INTEGER)"
_BEFORE_CHANGE = f"timezone($time_zone, {_LOCAL_DUE} - INTERVAL 3 HOUR) + INTERVAL 3 HOUR"


_ALL_KINDS = WindowKinds()


def _due_at(kinds: WindowKinds) -> str:
    window = "coalesce(v.window_seconds, w.window_seconds)" if kinds.places else "w.window_seconds"
    seconds = f"opened_effective_at + to_seconds({window})"
    if not kinds.business_days:
        return seconds
    return f"""
    CASE WHEN w.window_seconds IS NOT NULL THEN {seconds}
         WHEN w.business_calendar THEN
            CASE WHEN timezone($time_zone, {_BEFORE_CHANGE}) = {_LOCAL_DUE} THEN {_BEFORE_CHANGE}
                 ELSE timezone($time_zone, {_LOCAL_DUE}) END
    END
    """


def opening_days() -> str:
    """Per account type with business days: the first and last local day on which an episode of the cut opened."""
    return """
    SELECT account_type, CAST(timezone($time_zone, to_timestamp(min(opened_hour) * 3600)) AS DATE) AS first_day,
        CAST(timezone($time_zone, to_timestamp((max(opened_hour) + 1) * 3600)) AS DATE) AS last_day
    FROM hours_at JOIN windows USING (account_type) WHERE business_calendar GROUP BY account_type
    """


def open_with_state(kinds: WindowKinds = _ALL_KINDS, accounts: str = "open_at") -> str:
    """The accounts open at the cut with `due_at` and `state` (`in_flight` or `overdue`), and whose they are.

    Without a window (learned, and no history yet) an account is in flight. `accounts` are all of `open_at`, or some.
    """
    due_at = _due_at(kinds)
    return f"""
    SELECT w.flow, o.account_type, w.owner, o.account, o.currency, o.balance::HUGEINT AS balance,
        o.turnover::HUGEINT AS turnover, o.entry_count,
        o.opened_effective_at AS opened_at, o.opened_recorded_at, o.opened_sequence, o.last_effective_at,
        o.last_sequence, {due_at} AS due_at,
        CASE WHEN {due_at} <= $effective_at THEN 'overdue' ELSE 'in_flight' END AS state,
        CAST(date_sub('second', o.opened_effective_at, $effective_at) AS BIGINT) AS age_seconds
    FROM {accounts} AS o JOIN windows AS w USING (account_type) {_windows_of("o", kinds)}
    """


def overdue_by_quarter(accounts: str, kinds: WindowKinds = _ALL_KINDS) -> str:
    """The overdue money of the accounts of a relation (`account_type`, `account`), as `due_by_quarter` tells it.

    These are picked out before anything else is asked of the open accounts: that makes a few cost a tenth.
    """
    chosen = f"(SELECT * FROM open_at SEMI JOIN {accounts} USING (account_type, account))"
    return f"""
    SELECT account_type, currency, epoch_us(opened_at) // 900000000 AS quarter,
        sum(abs(balance))::HUGEINT AS overdue_money
    FROM ({open_with_state(kinds, chosen)}) WHERE state = 'overdue' GROUP BY ALL ORDER BY quarter
    """


def open_by_hour(condition: str) -> str:
    """How many accounts are open that meet `condition`, and the hour by whose end the oldest `$limit` had opened.

    The condition may name flow, account_type, owner and currency. The hour is null where there are no more than that.
    """
    return f"""
    WITH hours AS (
        SELECT opened_hour, sum(open_count) AS open_count FROM hours_at JOIN windows USING (account_type)
        WHERE {condition} GROUP BY ALL
    )
    SELECT sum(open_count)::BIGINT, min(opened_hour) FILTER (WHERE so_far >= $limit)
    FROM (SELECT *, sum(open_count) OVER (ORDER BY opened_hour) AS so_far FROM hours)
    """


def cleared_with_due(kinds: WindowKinds = _ALL_KINDS) -> str:
    """The episodes that had cleared by the cut, with `due_at` and `cleared_at`, and whose they were."""
    due_at = _due_at(kinds)
    return f"""
    SELECT w.flow, e.account_type, w.owner, e.account, e.currency, e.turnover::HUGEINT AS turnover, e.entry_count,
        e.opened_effective_at AS opened_at, e.opened_recorded_at, e.opened_sequence,
        e.last_effective_at AS cleared_at, e.last_recorded_at AS cleared_recorded_at,
        e.last_sequence AS cleared_sequence, {due_at} AS due_at
    FROM episodes_at AS e JOIN windows AS w USING (account_type) {_windows_of("e", kinds)}
    """


def _windows_of(rows: str, kinds: WindowKinds) -> str:
    joins = []
    if kinds.business_days:
        joins.append(f"business_windows AS b ON b.account_type = {rows}.account_type AND b.opened_day = {_LOCAL_DAY}")
    if kinds.places:
        value = value_of(kinds.places, rows)
        joins.append(f"value_windows AS v ON v.account_type = {rows}.account_type AND v.value = {value}")
    return " ".join(f"LEFT JOIN {join}" for join in joins)


def hours_with_due(kinds: WindowKinds = _ALL_KINDS) -> str:
    """The sums by the hour of opening, with `due`: whether the windows of all, or of none, have run out by the cut.

    Null where only some may have: there the episodes must be looked at one by one. A window of business days ends
    within the due day of the day on which it opened, give or take a change of clocks.
    """
    if not kinds.business_days:
        return f"""
        SELECT h.*, {_DUE_OF_HOUR} AS due FROM (
            SELECT h.*, w.window_seconds, w.business_calendar, {_FIRST_DUE} AS first_due, {_LAST_DUE} AS last_due
            FROM hours_at AS h JOIN windows AS w USING (account_type)
        ) AS h
        """
    return f"""
    WITH starts AS (
        SELECT h.*, w.window_seconds, w.business_calendar, to_timestamp(opened_hour * 3600) AS starts_at,
            {_FIRST_DUE} AS first_due, {_LAST_DUE} AS last_due
        FROM hours_at AS h JOIN windows AS w USING (account_type)
    ), days AS (
        SELECT s.account_type, currency, opened_hour,
            timezone($time_zone, first.due_day::TIMESTAMP) - INTERVAL 3 HOUR AS earliest,
            timezone($time_zone, last.due_day::TIMESTAMP + INTERVAL 1 DAY) + INTERVAL 3 HOUR AS latest
        FROM (SELECT * FROM starts WHERE business_calendar) AS s
        JOIN business_windows AS first ON first.account_type = s.account_type
            AND first.opened_day = CAST(timezone($time_zone, starts_at) AS DATE)
        JOIN business_windows AS last ON last.account_type = s.account_type
            AND last.opened_day = CAST(timezone($time_zone, starts_at + INTERVAL 3599 SECOND) AS DATE)
    )
    SELECT s.*, CASE
        WHEN s.business_calendar THEN
            CASE WHEN d.latest <= $effective_at THEN true WHEN d.earliest > $effective_at THEN false END
        ELSE {_DUE_OF_HOUR} END AS due
    FROM starts AS s LEFT JOIN days AS d USING (account_type, currency, opened_hour)
    """


# Where values have windows of their own, an hour is due when the longest has run out, and not before the shortest has.
_FIRST_DUE = "(opened_hour * 3600 + w.least_seconds) * 1000000"
_LAST_DUE = "(opened_hour * 3600 + w.most_seconds) * 1000000"
_DUE_OF_HOUR = """CASE WHEN last_due + 3600000000 <= epoch_us($effective_at) THEN true
    WHEN coalesce(first_due > epoch_us($effective_at), true) THEN false END"""


@dataclass(frozen=True)
class Uncertain:
    """The hours of opening, `first` to `last`, of which `hours_with_due` cannot tell for an account type."""

    account_type: str
    first: int
    last: int
    window_seconds: int | None
    business_calendar: bool
    """Whether the window is of business days. Without either window, nothing is ever due."""


def uncertain_hours(kinds: WindowKinds = _ALL_KINDS) -> str:
    """The fields of `Uncertain`, a row per account type that has such hours."""
    hours = hours_with_due(kinds)
    return f"""
    SELECT account_type, min(opened_hour), max(opened_hour), any_value(window_seconds), any_value(business_calendar)
    FROM ({hours}) WHERE due IS NULL GROUP BY account_type
    """


def status(uncertain: Collection[Uncertain], kinds: WindowKinds = _ALL_KINDS) -> str:
    """Per account type and currency: what is open, in flight and overdue, what was due, and the share cleared.

    Sums by hour, and for the hours that are `uncertain` the episodes themselves.
    The money of an open episode that was due is the greater of what came in and what went out: the two are equal once
    it is cleared, and an account that was only drained was due its whole drain (docs/decisions/0003).
    For reservoirs `open_money` is the sum of the balances, with its sign; for clearing accounts the sum of amounts.
    """
    return f"""
    WITH hours AS (
        SELECT * REPLACE (due AND NOT ({_any_of(uncertain)}) AS due) FROM ({hours_with_due(kinds)})
    ),
    parts AS (
        SELECT account_type, currency, open_count, open_money,
            CASE WHEN due THEN open_count ELSE 0 END AS overdue_count,
            CASE WHEN due THEN open_money ELSE 0 END AS overdue_money,
            CASE WHEN due THEN open_due_money + cleared_money ELSE 0 END AS due_money,
            CASE WHEN due THEN open_count + cleared_count ELSE 0 END AS due_count
        FROM hours
        {"".join(f" UNION ALL SELECT {_PARTS} FROM ({_one_by_one(it, kinds)})" for it in uncertain)}
    ),
    sums AS (
        SELECT account_type, currency, sum(open_count) AS open_count, sum(open_money) AS open_money,
            sum(overdue_count) AS overdue_count, sum(overdue_money) AS overdue_money, sum(due_money) AS due_money,
            sum(due_count) AS due_count
        FROM parts GROUP BY ALL
        UNION ALL SELECT account_type, currency, open_count, balance, 0, 0, 0, 0 FROM reservoir_totals_at
    )
    SELECT w.flow, w.account_type, w.owner, w.kind, s.currency,
        coalesce(open_count, 0)::BIGINT AS open_count, coalesce(open_money, 0)::HUGEINT AS open_money,
        CASE WHEN w.kind = 'clearing' THEN coalesce(open_money - overdue_money, 0) ELSE 0 END::HUGEINT
            AS in_flight_money,
        coalesce(overdue_count, 0)::BIGINT AS overdue_count,
        coalesce(overdue_money, 0)::HUGEINT AS overdue_money, coalesce(due_money, 0)::HUGEINT AS due_money,
        coalesce(due_count, 0)::BIGINT AS due_count,
        CASE WHEN due_money > 0 THEN 1 - overdue_money::DOUBLE / due_money::DOUBLE END AS clearing,
        CASE WHEN due_count > 0 THEN 1 - overdue_count::DOUBLE / due_count::DOUBLE END AS clearing_by_count
    FROM windows AS w LEFT JOIN sums AS s USING (account_type)
    ORDER BY w.position, s.currency
    """


_PARTS = "account_type, currency, 0, 0, overdue_count, overdue_money, due_money, due_count"


def _any_of(uncertain: Collection[Uncertain]) -> str:
    return " OR ".join(
        ["false"]
        + [
            f"(account_type = {quoted_text(it.account_type)} AND opened_hour BETWEEN {it.first} AND {it.last})"
            for it in uncertain
        ]
    )


def all_hours() -> str:
    """The fields of `Uncertain` for every account type and all hours in which an episode opened."""
    return """
    SELECT account_type, min(opened_hour), max(opened_hour), any_value(window_seconds), any_value(business_calendar)
    FROM hours_at JOIN windows USING (account_type) GROUP BY account_type
    """


def due_by_quarter(uncertain: Collection[Uncertain], kinds: WindowKinds = _ALL_KINDS) -> str:
    """What was due and what is overdue, per account type, currency and quarter of an hour in which an episode opened.

    Quarters count from 1970. What opened in hours that are not `uncertain` is told of their first quarter. The rows are
    in order of quarter: of a long union without an order, DuckDB hands out nothing, and waits for ever.
    """
    return f"""
    SELECT * FROM (SELECT account_type, currency, opened_hour * 4 AS quarter,
        sum(CASE WHEN due THEN open_count ELSE 0 END)::HUGEINT AS overdue_count,
        sum(CASE WHEN due THEN open_money ELSE 0 END)::HUGEINT AS overdue_money,
        sum(CASE WHEN due THEN open_due_money + cleared_money ELSE 0 END)::HUGEINT AS due_money,
        sum(CASE WHEN due THEN open_count + cleared_count ELSE 0 END)::HUGEINT AS due_count
    FROM ({hours_with_due(kinds)})
    WHERE NOT ({_any_of(uncertain)}) GROUP BY ALL HAVING sum(open_count + cleared_count) > 0
    {"".join(f" UNION ALL {_one_by_one(it, kinds)}" for it in uncertain)}
    ) ORDER BY quarter
    """


def _one_by_one(it: Uncertain, kinds: WindowKinds) -> str:
    """What is overdue and due of the episodes that opened in these hours.

    Where the window is of seconds, it is due if it opened early enough: that is told without any other relation.
    """
    start, end = (f"TIMESTAMPTZ '{stored_hour(hour)}'" for hour in (it.first, it.last + 1))
    if it.business_calendar or it.account_type in kinds.places:
        open_now, cleared = (f"({rows(kinds)})" for rows in (open_with_state, cleared_with_due))
        opened_at, is_due = "opened_at", "due_at <= $effective_at"
    else:
        open_now, cleared, opened_at = "open_at", "episodes_at", "opened_effective_at"
        seconds = "NULL" if it.window_seconds is None else it.window_seconds
        is_due = f"opened_effective_at <= $effective_at - to_seconds({seconds})"
    is_one = f"account_type = {quoted_text(it.account_type)} AND {opened_at} >= {start} AND {opened_at} < {end}"
    quarter = f"epoch_us({opened_at}) // 900000000"
    return f"""
        SELECT account_type, currency, {quarter} AS quarter, count(*) FILTER ({is_due}) AS overdue_count,
            coalesce(sum(abs(balance)) FILTER ({is_due}), 0) AS overdue_money,
            coalesce(sum(greatest(turnover, turnover - balance)) FILTER ({is_due}), 0) AS due_money,
            count(*) FILTER ({is_due}) AS due_count
        FROM {open_now} WHERE {is_one} GROUP BY ALL
        UNION ALL SELECT account_type, currency, {quarter}, 0, 0, coalesce(sum(turnover) FILTER ({is_due}), 0),
            count(*) FILTER ({is_due})
        FROM {cleared} WHERE {is_one} GROUP BY ALL"""
