"""Bloom filters over texts: they tell of a row group, by one page, that it does not hold a text.

They never miss a text that is there; of those that are not, they let through about one in a hundred.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache, cached_property
from typing import TYPE_CHECKING

import polars as pl

from clearwell.values.deferred import Deferred

if TYPE_CHECKING:
    import numpy as np
else:
    np = Deferred("numpy")

PAGE_BYTES = 4_096
"""One look at a filter reads so much of it."""

_PAGE_BITS = PAGE_BYTES * 8
_TEXTS_PER_PAGE = 3_200
_PLACES = 5


class Wanted:
    """Texts that are looked for."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts = sorted(texts)

    @cached_property
    def hashes(self) -> list[int]:
        """Their hashes, as filters have them."""
        return pl.Series(self.texts, dtype=pl.String).hash().to_list()


@cache
def text_fingerprint() -> int:
    """A number that changes when the hash of a text does, as with another version of Polars: until then filters hold.

    Texts of different lengths may be hashed in different ways: the probe has short ones and long ones.
    """
    probe = pl.Series(["the hash of a text! " * times for times in range(20)])
    return int(pl.Series([str(probe.hash().to_list())]).hash().item())


def filter_pages(texts: pl.Series) -> list[bytes]:
    """The pages of the filter of these texts, as many as the different ones need; each knows of a share of them."""
    hashes = texts.drop_nulls().hash().unique().to_numpy()
    count = max(1, -(-len(hashes) // _TEXTS_PER_PAGE))
    marks = np.zeros((count, _PAGE_BITS), dtype=np.bool_)
    pages = (hashes >> np.uint64(32)) * np.uint64(count) >> np.uint64(32)
    step = hashes >> np.uint64(16) | np.uint64(1)
    for place in range(_PLACES):
        marks[pages, hashes + np.uint64(place) * step & np.uint64(_PAGE_BITS - 1)] = True
    return [page.tobytes() for page in np.packbits(marks, axis=1, bitorder="little")]


def may_hold(wanted: Wanted, count: int, page: Callable[[int], bytes]) -> bool:
    """Whether a text that is wanted may be among those of a filter of `count` pages; `page` gives one by its number."""
    return any(_is_marked(page((item >> 32) * count >> 32), item) for item in wanted.hashes)


def _is_marked(page: bytes, text_hash: int) -> bool:
    step = text_hash >> 16 | 1
    places = [text_hash + place * step & _PAGE_BITS - 1 for place in range(_PLACES)]
    return all(page[place >> 3] >> (place & 7) & 1 for place in places)
