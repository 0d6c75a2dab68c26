"""Random identifiers by the column: a prefix and twenty random letters and digits.

Refuses to make a single identifier: everything here works on whole columns.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa

RANDOM_LETTERS = 20
_ALPHABET = np.frombuffer(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", dtype=np.uint8)


def identifiers(rng: np.random.Generator, prefix: str, count: int) -> pl.Series:
    """Draw `count` strings `prefix` + 20 characters of base 62 (119 random bits): shape (count,), String.

    With so many bits two equal identifiers are not to be expected in any world.
    """
    head = np.frombuffer(prefix.encode("ascii"), dtype=np.uint8)
    letters = np.empty((count, len(head) + RANDOM_LETTERS), dtype=np.uint8)
    letters[:, : len(head)] = head
    letters[:, len(head) :] = _ALPHABET[rng.integers(0, 62, (count, RANDOM_LETTERS), dtype=np.uint8)]
    # All strings have one length, so the bytes are already an Arrow string array: only offsets are missing.
    offsets = np.arange(count + 1, dtype=np.int64) * letters.shape[1]
    buffers = [pa.py_buffer(offsets.tobytes()), pa.py_buffer(letters.tobytes())]
    return pl.Series(pa.LargeStringArray.from_buffers(count, *buffers))
