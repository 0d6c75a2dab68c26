"""Steps over small frames are those of Polars, whatever the frame."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearwell.values import frames

SCHEMA = {"kind": pl.String, "version": pl.String, "number": pl.Int64, "at": pl.Datetime("us", "UTC")}
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(["x", "y"]),
        st.none() | st.integers(-3, 3),
        st.just(datetime(2026, 1, 1, tzinfo=UTC)),
    ),
    max_size=12,
)


def frame(rows: list[Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


@pytest.fixture(params=[0, 4_096], autouse=True, scope="module")
def small(request: pytest.FixtureRequest) -> Any:
    """Everything is large, or nothing is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, "_SMALL_ROWS", request.param)
        yield


@given(rows=ROWS, others=ROWS)
def test_steps_are_those_of_polars(rows: list[Any], others: list[Any]) -> None:
    """Filtering, parting, stacking, adding and choosing columns, and the way to Arrow."""
    given_frame, other = frame(rows), frame(others)
    mask = given_frame["number"] > 0
    assert frames.filtered(given_frame, mask).equals(given_frame.filter(mask))
    parts = given_frame.partition_by("version", "kind")
    found = frames.parted(given_frame, "version", "kind")
    assert sorted(part.rows() for part in found if part.height) == sorted(part.rows() for part in parts if part.height)
    assert all(part["kind"].n_unique() == part["version"].n_unique() == 1 for part in found if part.height)
    assert frames.stacked([given_frame, other]).equals(pl.concat([given_frame, other]))
    assert given_frame.equals(frame(rows))
    doubled = (pl.col("number") * 2).alias("doubled")
    assert frames.selected(given_frame, "kind", doubled).equals(given_frame.select("kind", doubled))
    assert frames.extended(given_frame, doubled).equals(given_frame.with_columns(doubled))
    oldest = given_frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    assert frames.arrow_of(given_frame).equals(oldest)
    assert frames.arrow_of(given_frame).schema == oldest.schema


@given(rows=ROWS)
def test_texts_are_looked_up(rows: list[Any]) -> None:
    """Each text has its value, and one without a value has none."""
    texts = frame(rows)["kind"]
    found = frames.looked_up("value", texts, {"a": "1", "b": "2"})
    assert found.to_list() == [{"a": "1", "b": "2"}.get(text) for text in texts]
    assert (found.name, found.dtype) == ("value", pl.String)


def test_a_value_everywhere() -> None:
    """Columns of one value, or of none, of any length."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert frames.repeated("at", at, SCHEMA["at"], 3).to_list() == [at] * 3
    assert frames.nulls("kind", pl.String(), 2).to_list() == [None, None]
    assert frames.repeated("n", 1, pl.Int16(), 0).to_list() == []
