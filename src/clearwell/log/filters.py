"""Bloom filters over texts: they tell of a row group, without a look at it, that it does not hold a text.

Kept in memory only. They never miss a text that is there; of one that is not, they say in one of forty cases that it
may be.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import polars as pl

from clearwell.values.deferred import Deferred

if TYPE_CHECKING:
    import numpy as np
else:
    np = Deferred("numpy")

_PLACES = 4
_BITS_PER_ROW = 8


class TextFilter:
    """The texts of one column of one row group."""

    def __init__(self, texts: pl.Series) -> None:
        self._mask = (1 << (max(64, len(texts) * _BITS_PER_ROW) - 1).bit_length()) - 1
        marks = np.zeros(self._mask + 1, dtype=np.bool_)
        hashes = texts.drop_nulls().hash().to_numpy()
        mask, step = np.uint64(self._mask), (hashes >> np.uint64(32)) | np.uint64(1)
        for place in range(_PLACES):
            marks[(hashes + np.uint64(place) * step) & mask] = True
        self._marks = np.packbits(marks, bitorder="little").tobytes()

    @property
    def bytes(self) -> int:
        """How much memory it takes."""
        return len(self._marks)

    def may_hold(self, hashes: Collection[int]) -> bool:
        """Whether one of the texts with these `text_hashes` may be in the row group."""
        return any(all(self._marks[at >> 3] >> (at & 7) & 1 for at in self._places(item)) for item in hashes)

    def _places(self, text_hash: int) -> list[int]:
        step = (text_hash >> 32) | 1
        return [(text_hash + place * step) & self._mask for place in range(_PLACES)]


def text_hashes(texts: Collection[str]) -> list[int]:
    """What `TextFilter.may_hold` is asked with."""
    return pl.Series(list(texts), dtype=pl.String).hash().to_list()
