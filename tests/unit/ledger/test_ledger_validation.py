"""Validation of columns as rules: every record is accepted or refused, once, and accepted ones are whole."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearwell.flows.load import load_model
from clearwell.ledger import validation
from clearwell.ledger.posting import post
from clearwell.ledger.rejections import RejectionCode
from clearwell.ledger.validation import Rules, validate
from clearwell.values.currencies import Currencies

AT = datetime(2026, 1, 2, tzinfo=UTC)
TEXTS = st.sampled_from(
    [None, "", "a", "charge.creation", "charge.release", "USD", "XXX", "0", "-1", "12", "1.5", "9" * 19]
)
TIMES = st.sampled_from([None, "", "x", "2026-01-02", "2026-01-02T00:00:00Z", "2030-01-02T00:00:00Z"])
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "type": st.sampled_from(["charge.creation", "charge.release", "charge.lost", None, ""]),
    "id": TEXTS,
    "producer": st.sampled_from([None, None, "charges", "disbursements"]),
    "effective_at": TIMES,
    "occurred_at": TIMES,
    "currency": st.sampled_from([None, "USD", "XXX"]),
    **{f"property_{name}": st.sampled_from([None, "", "a", "a\tb"]) for name in ("charge", "business", "network")},
    **{f"amount_{name}": TEXTS for name in ("gross", "net", "fee", "tax")},
    **{f"currency_{name}": st.sampled_from([None, "USD", "XXX"]) for name in ("gross", "net", "fee")},
}


def rules(flow: str, recorded_at: datetime = AT, limit: timedelta = timedelta(days=1)) -> Rules:
    model, _ = load_model({"flow.yaml": flow})
    assert model is not None
    return Rules(model, Currencies(), recorded_at, limit)


@given(
    records=st.lists(st.fixed_dictionaries(FIELDS), min_size=1, max_size=12),
    dropped=st.sets(st.sampled_from(sorted(FIELDS))),
)
@settings(max_examples=50, deadline=None, print_blob=True)
def test_every_record_is_accepted_or_refused_once(
    design_flow: str, records: list[dict[str, Any]], dropped: set[str]
) -> None:
    """Whatever columns there are, each record ends in one place, alone as in company, and what is accepted posts."""
    held = rules(design_flow)
    frame = pl.DataFrame(records, schema=dict.fromkeys(FIELDS, pl.String)).drop(dropped)
    frame = frame.with_columns(position=pl.int_range(pl.len(), dtype=pl.Int64))
    result = validate(frame, held)
    places = result.events["position"].to_list() + result.rejections["position"].to_list()
    assert sorted(places) == list(range(len(records)))
    assert set(result.rejections["code"]) <= set(RejectionCode)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "_doubtful", lambda frame, *_: np.ones(frame.height, dtype=np.bool_))
        examined = validate(frame, held)
    assert (examined.events.to_dicts(), examined.rejections.to_dicts(), examined.refused.to_dicts()) == (
        result.events.to_dicts(), result.rejections.to_dicts(), result.refused.to_dicts()
    ), "what is beyond doubt, examined, would have been accepted too"  # fmt: skip
    alone = [validate(frame[place], held).rejections.select("code", "field").rows() for place in range(len(records))]
    together = {place: [(code, field)] for place, code, field, *_ in result.rejections.rows()}
    assert alone == [together.get(place, []) for place in range(len(records))]
    version = pl.lit(held.model.version)
    events = result.events.with_columns(sequence="position", recorded_at=pl.lit(AT), model_version=version)
    posted = post(
        events.with_columns(pl.col("recorded_at").cast(pl.Datetime("us", "UTC"))), {held.model.version: held.model}
    )
    entries = pl.concat([posted.clearing, posted.reservoir])
    assert entries.null_count().sum_horizontal().sum() == 0


@pytest.mark.parametrize(("ahead", "accepted"), [(0, 1), (1, 0)])
def test_the_limit_of_the_future_is_inclusive(design_flow: str, ahead: int, accepted: int) -> None:
    """A time exactly at the limit is accepted, and one a microsecond later is not."""
    effective_at = AT + timedelta(days=1, microseconds=ahead)
    row = {
        "position": 0,
        "type": "charge.creation",
        "id": "a",
        "effective_at": effective_at,
        "occurred_at": AT,
        "property_charge": "c",
        "property_business": "b",
        "property_network": "n",
        "amount_gross": 1,
        "currency_gross": "USD",
    }
    assert validate(pl.DataFrame([row]), rules(design_flow)).events.height == accepted


@pytest.mark.parametrize("code", RejectionCode)
def test_codes_are_statements_in_small_letters(code: RejectionCode) -> None:
    """A code is its own name in small letters, and stable."""
    assert code.value == code.name.lower()
