"""The comparison of reports can fail: each way in which a product could differ is told under its family's name."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from small_stories import books_of, story

from clearwell.simulation.auditor import quality_rows
from quality_agreement import FAMILIES, agree_on_quality, quality_disagreements

Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture
def report() -> Rows:
    """The rows of a small story as a product would have them: shares are floats, in another order."""
    rows = quality_rows(books_of(story()))
    return {
        family: [{name: _as_float(value) for name, value in row.items()} for row in reversed(rows[family])]
        for family in FAMILIES
    }


def _as_float(value: Any) -> Any:
    return float(value) if isinstance(value, Fraction) else value


def test_equal_reports_agree(report: Rows) -> None:
    """Another order, floats for shares and further fields of the product are no difference."""
    for rows in report.values():
        rows[0]["further"] = 1
    agree_on_quality(report, quality_rows(books_of(story())))


def _without_row(rows: list[dict[str, Any]]) -> None:
    rows.pop()


def _another_row(rows: list[dict[str, Any]]) -> None:
    rows.append({**rows[0], "currency": "XXX"})


def _without_field(rows: list[dict[str, Any]]) -> None:
    rows[0].popitem()


def _off_by_one(rows: list[dict[str, Any]]) -> None:
    name = next(name for name in rows[0] if name.endswith("money"))
    rows[0][name] += 1


def _no_integer(rows: list[dict[str, Any]]) -> None:
    name = next(name for name in rows[0] if name.endswith("money"))
    rows[0][name] = float(rows[0][name])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("plant", [_without_row, _another_row, _without_field, _off_by_one, _no_integer])
def test_what_differs_is_told(report: Rows, family: str, plant: Callable[[list[dict[str, Any]]], None]) -> None:
    """A row too few or too many, a field too few, a figure off by one or no integer: each is one difference."""
    plant(report[family])
    (told,) = quality_disagreements(report, quality_rows(books_of(story())))
    assert told.startswith(f"{family}: ")
    with pytest.raises(AssertionError, match=family):
        agree_on_quality(report, quality_rows(books_of(story())))


def test_a_share_that_is_off_is_told(report: Rows) -> None:
    """A share differs when it is not the same to twelve digits, or is said where there is none."""
    row = next(row for row in report["timeliness"] if row["event_type"] == "sale")
    row["timeliness"] += 1e-9
    parcel = next(row for row in report["timeliness"] if row["timeliness"] is None)
    parcel["timeliness"] = 1.0
    assert len(list(quality_disagreements(report, quality_rows(books_of(story()))))) == 2


def test_a_row_twice_is_told(report: Rows) -> None:
    """Two rows of one name are an error, for one of them would hide the other."""
    report["aging"].append(report["aging"][0])
    with pytest.raises(AssertionError, match="two rows"):
        agree_on_quality(report, quality_rows(books_of(story())))
