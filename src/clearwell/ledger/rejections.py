"""The closed list of reasons for which a record cannot become an event, in order of precedence.

A record with several faults gets the first that applies. `docs/rejections.md` is made from this list.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache

import polars as pl


class RejectionCode(StrEnum):
    """Each code is a full statement. The order of the members is the order of precedence."""

    RECORD_TOO_LARGE = "record_too_large"
    RECORD_UNREADABLE = "record_unreadable"
    FIELD_REPEATED = "field_repeated"
    FIELD_UNKNOWN = "field_unknown"
    FIELD_INVALID = "field_invalid"
    TYPE_MISSING = "type_missing"
    EVENT_TYPE_UNKNOWN = "event_type_unknown"
    ID_MISSING = "id_missing"
    ID_INVALID = "id_invalid"
    PRODUCER_MISMATCH = "producer_mismatch"
    EFFECTIVE_AT_MISSING = "effective_at_missing"
    EFFECTIVE_AT_INVALID = "effective_at_invalid"
    EFFECTIVE_AT_TOO_FAR_AHEAD = "effective_at_too_far_ahead"
    OCCURRED_AT_MISSING = "occurred_at_missing"
    OCCURRED_AT_INVALID = "occurred_at_invalid"
    OCCURRED_AT_TOO_FAR_AHEAD = "occurred_at_too_far_ahead"
    RECORDED_AT_MISSING = "recorded_at_missing"
    RECORDED_AT_INVALID = "recorded_at_invalid"
    RECORDED_AT_IN_FUTURE = "recorded_at_in_future"
    PROPERTY_MISSING = "property_missing"
    PROPERTY_INVALID = "property_invalid"
    PERSONAL_PROPERTY_UNDECLARED = "personal_property_undeclared"
    AMOUNT_UNKNOWN = "amount_unknown"
    AMOUNT_MISSING = "amount_missing"
    AMOUNT_VALUE_INVALID = "amount_value_invalid"
    AMOUNT_NEGATIVE = "amount_negative"
    AMOUNT_CURRENCY_MISSING = "amount_currency_missing"
    AMOUNT_CURRENCY_UNKNOWN = "amount_currency_unknown"
    EVENT_ID_CONFLICT = "event_id_conflict"


STATEMENTS = {
    RejectionCode.RECORD_TOO_LARGE: "The record is longer than `record_bytes` in the settings.",
    RejectionCode.RECORD_UNREADABLE: "The record is not UTF-8, not JSON, not an object, or not a row of its table.",
    RejectionCode.FIELD_REPEATED: "A key occurs twice in one object.",
    RejectionCode.FIELD_UNKNOWN: "The record has a field that events do not have.",
    RejectionCode.FIELD_INVALID: "A field has the wrong kind of value, such as text where an object belongs.",
    RejectionCode.TYPE_MISSING: "There is no event type.",
    RejectionCode.EVENT_TYPE_UNKNOWN: "No flow of the model declares the event type.",
    RejectionCode.ID_MISSING: "There is no event id.",
    RejectionCode.ID_INVALID: "The id is longer than 256 bytes or holds control characters.",
    RejectionCode.PRODUCER_MISMATCH: "The record names another producer than the model does for its event type.",
    RejectionCode.EFFECTIVE_AT_MISSING: "There is no `effective_at`.",
    RejectionCode.EFFECTIVE_AT_INVALID: "`effective_at` is not an ISO 8601 instant with an offset from UTC.",
    RejectionCode.EFFECTIVE_AT_TOO_FAR_AHEAD: "`effective_at` lies further ahead than `future_limit_days` allows.",
    RejectionCode.OCCURRED_AT_MISSING: "There is no `occurred_at`.",
    RejectionCode.OCCURRED_AT_INVALID: "`occurred_at` is not an ISO 8601 instant with an offset from UTC.",
    RejectionCode.OCCURRED_AT_TOO_FAR_AHEAD: "`occurred_at` lies further ahead than `future_limit_days` allows.",
    RejectionCode.RECORDED_AT_MISSING: "The record is imported and has no `recorded_at`.",
    RejectionCode.RECORDED_AT_INVALID: "`recorded_at` is not an ISO 8601 instant with an offset from UTC.",
    RejectionCode.RECORDED_AT_IN_FUTURE: "`recorded_at` is later than now, though it is said to be history.",
    RejectionCode.PROPERTY_MISSING: "A property is absent that an account needs, or that says whose a personal one is.",
    RejectionCode.PROPERTY_INVALID: "A property is empty, over 512 bytes, no plain value, or has control characters.",
    RejectionCode.PERSONAL_PROPERTY_UNDECLARED: "The event's type does not say whose a personal property is.",
    RejectionCode.AMOUNT_UNKNOWN: "The event has an amount that no move of its type uses: money would go unposted.",
    RejectionCode.AMOUNT_MISSING: "An amount that a move of the event type uses is absent.",
    RejectionCode.AMOUNT_VALUE_INVALID: "An amount is not a whole number of minor units within 64 bits.",
    RejectionCode.AMOUNT_NEGATIVE: "An amount is negative and not declared `signed`.",
    RejectionCode.AMOUNT_CURRENCY_MISSING: "An amount has no currency, and neither has the event.",
    RejectionCode.AMOUNT_CURRENCY_UNKNOWN: "A currency is neither in ISO 4217 nor declared in the settings.",
    RejectionCode.EVENT_ID_CONFLICT: "An event of this producer and id exists already with other content.",
}
"""What each code states."""

SCHEMA = pl.Schema(
    {
        "position": pl.Int64,
        "code": pl.String,
        "field": pl.String,
        "expected": pl.String,
        "found": pl.String,
    }
)
"""A frame of rejections: one row per refused record; `position` is the record's place in its batch."""


@cache
def no_rejections() -> pl.DataFrame:
    """An empty frame of rejections."""
    return pl.DataFrame(schema=SCHEMA)
