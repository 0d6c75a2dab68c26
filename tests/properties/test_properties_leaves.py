"""The canonical form is what Python's json.dumps writes, for every event that a log can hold."""

from __future__ import annotations

import json
from datetime import UTC
from hashlib import sha256
from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from clearwell.log.leaves import canonical, leaf_hashes
from clearwell.values.times import INSTANT

PROPERTIES = ["a", "b", "c_1", "charge"]
AMOUNTS = ["fee", "gross", "net"]
SPECIAL = [
    '"',
    "\\",
    "\0",
    "\x1f",
    "\n",
    "\r",
    "\t",
    "\b",
    "\f",
    "/",
    "\x7f",
    "\x80",
    "ä",
    "\u2028",
    "\u2029",
    "\ufeff",
    "😀",
]

texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.lists(st.sampled_from([*SPECIAL, "x", "\\u0041", "\\n"]), max_size=6).map("".join),
)
instants = st.datetimes(timezones=st.just(UTC))
amounts = st.fixed_dictionaries({"currency": texts, "value": st.integers(-(2**63), 2**63 - 1)})
event_dictionaries = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["t.one", "t.two", 'odd "type"']),
        "id": texts,
        "flow": texts,
        "producer": texts,
        "model_version": texts,
        "effective_at": instants,
        "occurred_at": instants,
        "recorded_at": instants,
        "sequence": st.integers(1, 2**62),
        "properties": st.dictionaries(st.sampled_from(PROPERTIES), texts),
        "amounts": st.dictionaries(st.sampled_from(AMOUNTS), amounts),
    },
    optional={"other_properties": texts},
)


def plain(event: dict[str, Any]) -> str:
    """The canonical form as the guide states it."""
    times = {name: event[name].strftime("%Y-%m-%dT%H:%M:%S.%fZ") for name in event if name.endswith("_at")}
    times = {name: text.rjust(27, "0") for name, text in times.items()}  # Years before 1000 have four digits.
    return json.dumps({**event, **times}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def frame(events: list[dict[str, Any]], columns: list[str]) -> pl.DataFrame:
    """The events as rows of a segment; `columns` says which optional columns exist, and in which order."""
    instants = {"effective_at", "occurred_at", "recorded_at"}
    integers = {"sequence", *(f"amount_{name}" for name in AMOUNTS)}
    rows = [
        {
            **{name: value for name, value in event.items() if not isinstance(value, dict)},
            **{f"property_{name}": value for name, value in event["properties"].items()},
            **{f"amount_{name}": amount["value"] for name, amount in event["amounts"].items()},
            **{f"currency_{name}": amount["currency"] for name, amount in event["amounts"].items()},
        }
        for event in events
    ]
    schema = {name: INSTANT if name in instants else pl.Int64 if name in integers else pl.String for name in columns}
    return pl.DataFrame([{name: row.get(name) for name in columns} for row in rows], schema=schema)


ENVELOPE = ["type", "id", "flow", "producer", "model_version", "effective_at", "occurred_at", "recorded_at", "sequence"]
OPTIONAL = [
    "other_properties",
    *(f"property_{name}" for name in PROPERTIES),
    *(f"{kind}_{name}" for name in AMOUNTS for kind in ("amount", "currency")),
]


def needed(events: list[dict[str, Any]]) -> list[str]:
    """The columns that these events have values for."""
    return [name for name in OPTIONAL if frame(events, OPTIONAL)[name].null_count() < len(events)]


@given(events=st.lists(event_dictionaries, min_size=1, max_size=6), data=st.data())
def test_the_form_is_json_dumps(events: list[dict[str, Any]], data: st.DataObject) -> None:
    """Whatever the texts, the columns and their order, each event's form is json.dumps of it, and its leaf the hash."""
    columns = data.draw(st.permutations([*ENVELOPE, *data.draw(st.sampled_from([OPTIONAL, needed(events)]))]))
    rows = frame(events, columns)
    expected = [plain(event) for event in events]
    assert canonical(rows).to_list() == expected
    leaves = [sha256(b"\0" + text.encode()).digest() for text in expected]
    assert [bytes(row) for row in leaf_hashes(rows)] == leaves


@given(events=st.lists(event_dictionaries, min_size=2, max_size=6))
def test_an_event_s_form_is_its_own(events: list[dict[str, Any]]) -> None:
    """The form does not depend on the events beside it, nor on columns that the log does not define."""
    together = canonical(frame(events, [*ENVELOPE, *OPTIONAL]).with_columns(sorting_key=pl.lit(7)))
    alone = [canonical(frame([event], [*ENVELOPE, *needed([event])]))[0] for event in events]
    assert together.to_list() == alone
