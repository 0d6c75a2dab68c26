"""Filters over texts: none that is there is missed, and few others are let through."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from clearwell.log.filters import PAGE_BYTES, Wanted, filter_pages, may_hold


def holds(pages: list[bytes], *texts: str) -> bool:
    """Whether the filter of these pages says that one of the texts may be there."""
    return may_hold(Wanted(texts), len(pages), pages.__getitem__)


@given(st.lists(st.none() | st.text(max_size=8), max_size=200))
def test_no_text_that_is_there_is_missed(texts: list[str | None]) -> None:
    """Whatever the texts are, each of them may be held, alone and among others."""
    pages = filter_pages(pl.Series(texts, dtype=pl.String))
    for text in {text for text in texts if text is not None}:
        assert holds(pages, text)
        assert holds(pages, "another", text)


def test_few_other_texts_are_let_through() -> None:
    """Of a row group of different texts, at most one other text of fifty is let through, by about ten bits for each."""
    texts = pl.Series([f"ch_{number}" for number in range(65_536)])
    pages = filter_pages(texts)
    assert all(holds(pages, text) for text in texts)
    assert sum(holds(pages, f"dp_{number}") for number in range(2_000)) < 40
    assert sum(map(len, pages)) == 21 * PAGE_BYTES


def test_an_empty_filter_holds_nothing() -> None:
    """A row group whose column is null everywhere holds no text."""
    assert not holds(filter_pages(pl.Series([None] * 10, dtype=pl.String)), "", "a")
