"""PostgreSQL's own hash of a text, `hashtextextended(text COLLATE "C", 0)`, of many texts at once.

It is Bob Jenkins' lookup3 (https://burtleburtle.net/bob/c/lookup3.c) as PostgreSQL has it in `hash_bytes_extended` of
src/common/hashfn.c, of little-endian machines. Nothing here asks whether a server has the same one: `PROBES` are for
that.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Words = npt.NDArray[np.uint32]

PROBES = ("", "a", "é", *(("-12|USD|evt_" + "0123456789" * 4)[:length] for length in range(7, 41)))
"""Texts of every length modulo a block, with and without a whole one."""

_BLOCK = 12
_INITIAL = (0x9E3779B9 + 3923095) & 0xFFFFFFFF
_ROWS_AT_ONCE = 16_384
"""So many rows stay in the processor's cache from one operation to the next."""

_MASKS = np.array(
    [[(1 << (8 * min(4, max(0, left - 4 * word)))) - 1 for left in range(_BLOCK)] for word in range(3)], dtype=np.uint32
)
"""By word of the last block, and by how many bytes are left for the block: which bytes of the word are of the text."""


def text_hashes(texts: pa.Array) -> npt.NDArray[np.int64]:
    """The hashes of texts in UTF-8, without nulls, as signed 64-bit numbers."""
    texts = texts.cast(pa.large_string())
    _validity, offsets, content = texts.buffers()
    edges = np.frombuffer(offsets, dtype=np.int64, count=len(texts) + texts.offset + 1)[texts.offset :]
    data = np.zeros(edges[-1] - edges[0] + _BLOCK + 4, dtype=np.uint8)
    if edges[-1] > edges[0]:
        data[: edges[-1] - edges[0]] = np.frombuffer(content, dtype=np.uint8)[edges[0] : edges[-1]]
    # A word begins at any byte.
    words = np.ndarray(shape=(data.size - 3,), dtype="<u4", buffer=data.data, strides=(1,))
    starts = edges - edges[0]
    found = np.empty(len(texts), dtype=np.int64)
    for first in range(0, len(texts), _ROWS_AT_ONCE):
        own = slice(first, first + _ROWS_AT_ONCE)
        found[own] = _hashes(words, starts[:-1][own], np.diff(starts[first : first + _ROWS_AT_ONCE + 1]))
    return found


def _hashes(words: Words, starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The hashes of the texts that begin at these bytes and are so many bytes long."""
    state = [np.add(lengths.astype(np.uint32), np.uint32(_INITIAL)) for _word in range(3)]
    blocks = lengths // _BLOCK
    for block in range(int(blocks.max(initial=0))):
        longer = np.flatnonzero(blocks > block)
        whole = longer.size == starts.size
        own = state if whole else [word[longer] for word in state]
        at = (starts if whole else starts[longer]) + _BLOCK * block
        for place in range(3):
            np.add(own[place], words[at + 4 * place], out=own[place])
        _mix(*own)
        if not whole:
            for word, part in zip(state, own, strict=True):
                word[longer] = part
    at, left = starts + _BLOCK * blocks, lengths - _BLOCK * blocks
    for place, shift in enumerate((0, 0, 8)):  # The lowest byte of the third word is the length's.
        last = words[at + 4 * place] & _MASKS[place][left]
        np.add(state[place], last << np.uint32(shift), out=state[place])
    _final(*state)
    return ((state[1].astype(np.uint64) << np.uint64(32)) | state[2]).view(np.int64)


def _rotated(word: Words, bits: int) -> Words:
    return (word << np.uint32(bits)) | (word >> np.uint32(32 - bits))


def _mix(a: Words, b: Words, c: Words) -> None:
    for bits in (4, 6, 8, 16, 19, 4):
        a -= c
        a ^= _rotated(c, bits)
        c += b
        a, b, c = b, c, a


def _final(a: Words, b: Words, c: Words) -> None:
    for bits in (14, 11, 25, 16, 4, 14, 24):
        c ^= b
        c -= _rotated(b, bits)
        a, b, c = b, c, a
