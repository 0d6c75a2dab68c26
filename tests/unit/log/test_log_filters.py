"""Filters over texts: none that is there is missed, and few others are let through."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from clearwell.log.filters import TextFilter, text_hashes


@given(st.lists(st.none() | st.text(max_size=8), max_size=200))
def test_no_text_that_is_there_is_missed(texts: list[str | None]) -> None:
    """Whatever the texts are, each of them may be held, alone and among others."""
    built = TextFilter(pl.Series(texts, dtype=pl.String))
    for text in {text for text in texts if text is not None}:
        assert built.may_hold(text_hashes([text]))
        assert built.may_hold(text_hashes(["another", text]))


def test_few_other_texts_are_let_through() -> None:
    """Of a row group of different texts, at most one other text of twenty is let through."""
    built = TextFilter(pl.Series([f"ch_{number}" for number in range(65_536)]))
    let_through = [number for number in range(2_000) if built.may_hold(text_hashes([f"dp_{number}"]))]
    assert len(let_through) < 100
    assert built.bytes == 65_536


def test_an_empty_filter_holds_nothing() -> None:
    """A row group whose column is null everywhere holds no text."""
    assert not TextFilter(pl.Series([None] * 10, dtype=pl.String)).may_hold(text_hashes(["", "a"]))
