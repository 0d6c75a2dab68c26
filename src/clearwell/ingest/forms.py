"""Forms of lines: a form is a line of NDJSON without its values, so that lines which differ in values only share one.

Learns a form from a line that the reader has examined, and is used for lines that are proven to be that line with
other texts and whole numbers in the same places. Refuses arrays, escapes, control characters and fractions: the reader
looks at such lines itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clearwell.ingest.blocks import Places

Words = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

CHUNK_BYTES = 16
"""Bytes that are looked at together, and bytes beyond the last line that can be looked at."""

INLINE_BYTES = 12
"""A view (Arrow's string view) of at most so many bytes has them inside; a longer one has four, and where all are."""

_TOKEN = re.compile(rb'"(?P<text>[^"]*)"(?P<colon>\s*:)?|(?P<sign>[{}\[\]:,])|(?P<literal>[^\s"{}\[\]:,]+)')
_VALUE = re.compile(rb'("[^"]*"\s*:)|"[^"]*"|-?[0-9]+')
_WHOLE_NUMBER = re.compile(rb"0|-?[1-9][0-9]{0,14}")
_MOST_DIGITS = 16
_LITERALS = (b"null", b"true", b"false")
_UNFIT = re.compile(rb"[\x00-\x1f\\]")


@dataclass(frozen=True)
class Slot:
    """A value of a line: its path of keys, from which byte to which it goes, and where these are.

    A place is a mark of the line and an offset from it; the marks are the line feed before it, its quotes, and its end.
    """

    path: tuple[str, ...]
    start: int
    end: int
    from_mark: tuple[int, int]
    to_mark: tuple[int, int]
    is_number: bool


@dataclass(frozen=True)
class Layout:
    """The slots of a line in order; the path, the place and the text of each literal; how many quotes the line has.

    `fixed` is what is before, between and behind the slots.
    """

    slots: tuple[Slot, ...]
    literals: tuple[tuple[tuple[str, ...], int, str], ...]
    quotes: int
    fixed: tuple[bytes, ...]


def outline(line: bytes) -> bytes:
    """The line with every text empty and every run of digits 0: quickly made, and the same for lines of one form."""
    return _VALUE.sub(lambda found: found[1] or (b'""' if found[0].startswith(b'"') else b"0"), line)


def layout(line: bytes) -> Layout | None:
    """Where the values of `line`, a valid JSON object, are; None when it is too odd to have a form."""
    if _UNFIT.search(line.removesuffix(b"\r")):
        return None
    path: list[str] = []
    slots: list[Slot] = []
    literals: list[tuple[tuple[str, ...], int, str]] = []
    quotes = [-1, *(found.start() for found in re.finditer(b'"', line)), len(line)]
    key, seen = "", 0
    for token in _TOKEN.finditer(line):
        here = (*path[1:], key)
        if token["colon"]:
            key, seen = token["text"].decode(), seen + 2
        elif token["text"] is not None:
            slots.append(Slot(here, token.start() + 1, token.end() - 1, (seen + 1, 1), (seen + 2, 0), is_number=False))
            seen += 2
        elif token["sign"] == b"[":
            return None
        elif token["sign"] == b"{":
            path.append(key)
        elif token["sign"] == b"}":
            path.pop()
        elif token["literal"] in _LITERALS:
            literals.append((here, token.start(), token["literal"].decode()))
        elif token["literal"]:
            if not _WHOLE_NUMBER.fullmatch(token["literal"]):
                return None
            start, end = token.span()
            marks = (seen, start - quotes[seen]), (seen + 1, end - quotes[seen + 1])
            slots.append(Slot(here, start, end, *marks, is_number=True))
    edges = [0, *(edge for slot in slots for edge in (slot.start, slot.end)), len(line)]
    fixed = tuple(line[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True))
    return Layout(tuple(slots), tuple(literals), len(quotes) - 2, fixed)


class Piece:
    """Some lines next to each other, with what can be known of them all at once.

    `content` has a line feed before the first line, one after the last, and some bytes more. `shift` is what makes a
    place in it one of the block. `marks` are the places of quotes and line feeds; `before` says for each line which of
    them is the line feed before it, `quotes` how many quotes follow; `fit` is whether its bytes allow for a form.
    """

    def __init__(self, content: npt.NDArray[np.uint8], size: int, shift: int) -> None:
        self.content, self.shift = content, shift
        used = content[:size]
        self.marks: Places = np.flatnonzero((used == ord('"')) | (used == ord("\n")))
        feeds = np.flatnonzero(used[self.marks] == ord("\n"))
        self.before: Places = feeds[:-1]
        self.quotes: Places = np.diff(feeds) - 1
        self.chunks = np.ndarray((len(content) - CHUNK_BYTES + 1,), np.dtype(f"V{CHUNK_BYTES}"), content, 0, (1,))
        self.fit = self._fit(used, self.marks[feeds])

    @staticmethod
    def _fit(used: npt.NDArray[np.uint8], feeds: Places) -> Mask:
        fit = np.ones(len(feeds) - 1, dtype=np.bool_)
        odd = used == ord("\\")
        if np.count_nonzero(used < ord(" ")) != len(feeds):
            returned = np.zeros(len(used), dtype=np.bool_)
            returned[feeds[1:] - 1] = used[feeds[1:] - 1] == ord("\r")
            odd |= (used < ord(" ")) & (used != ord("\n")) & ~returned
        if odd.any():
            fit[np.searchsorted(feeds, np.flatnonzero(odd)) - 1] = False
        return fit


def piece_of(block: bytes, start: int, end: int) -> Piece:
    """The whole lines of `block` from byte `start` to `end`."""
    content = np.frombuffer(block, dtype=np.uint8)
    ended = block[end - 1 : end] == b"\n"
    if start and ended and end + CHUNK_BYTES <= len(block):
        return Piece(content[start - 1 : end + CHUNK_BYTES], end - start + 1, start - 1)
    feed = np.array([ord("\n")], dtype=np.uint8)
    parts = [feed, content[start:end], feed, np.zeros(CHUNK_BYTES, dtype=np.uint8)]
    return Piece(np.concatenate(parts), end - start + (1 if ended else 2), start - 1)


class Form:
    """A line with slots for its values."""

    def __init__(self, plan: Layout) -> None:
        self.quotes = plan.quotes
        slots = plan.slots
        places = [*(slot.from_mark for slot in slots), *(slot.to_mark for slot in slots)]
        self._marks, self._offsets = np.array(places, dtype=np.int64).reshape(-1, 2).T
        self._numbers = np.flatnonzero([slot.is_number for slot in slots])
        self._lengths = np.array([len(text) for text in plan.fixed])
        chunks = [(part, *chunk) for part, text in enumerate(plan.fixed) for chunk in _chunks_of(text)]
        self._parts = np.array([part for part, _, _, _ in chunks])
        self._places = np.array([place for _, place, _, _ in chunks])
        self._masks = np.frombuffer(b"".join(mask for _, _, mask, _ in chunks), dtype="<u8").reshape(-1, 2)
        self._values = np.frombuffer(b"".join(value for _, _, _, value in chunks), dtype="<u8").reshape(-1, 2)

    def fill(self, piece: Piece, lines: Places) -> tuple[Places, Words]:
        """Those of `lines`, which have as many quotes as the form, that are of it; the views of their values.

        The views are an array of slots, lines, and the two words of a view. A line is of the form when its bytes
        between the values are the form's, every text ends at its next quote, and every number is plainly whole.
        """
        before = piece.before[lines]
        found = piece.marks[self._marks[:, None] + before] + self._offsets[:, None]
        slots = len(found) // 2
        begins = np.concatenate([piece.marks[before][None] + 1, found[slots:]])
        until = np.concatenate([found[:slots], piece.marks[before + self.quotes + 1][None]])
        same = _all(until - begins == self._lengths[:, None])
        if not same.all():
            lines, begins, until = lines[same], begins.compress(same, axis=1), until.compress(same, axis=1)
        between = _pairs(piece.chunks[begins[self._parts] + self._places[:, None]])
        same = _all(_all(between & self._masks[:, None] == self._values[:, None]).T)
        starts, sizes = until[:-1], begins[1:] - until[:-1]
        if len(self._numbers):
            same &= _all(_whole(piece, starts[self._numbers], sizes[self._numbers]))
        if not same.all():
            lines, starts, sizes = lines[same], starts.compress(same, axis=1), sizes.compress(same, axis=1)
        return lines, _views(piece, starts, sizes)


def _chunks_of(text: bytes) -> list[tuple[int, bytes, bytes]]:
    """The chunks that cover `text`: where each begins, the mask of its bytes that count, and these."""
    size = len(text)
    if size < CHUNK_BYTES:
        return [(0, (b"\xff" * size).ljust(CHUNK_BYTES, b"\0"), text.ljust(CHUNK_BYTES, b"\0"))] if size else []
    places = [*range(0, size - CHUNK_BYTES, CHUNK_BYTES), size - CHUNK_BYTES]
    return [(place, b"\xff" * CHUNK_BYTES, text[place : place + CHUNK_BYTES]) for place in places]


def _pairs(chunks: npt.NDArray[np.void]) -> Words:
    """Chunks as two words each, in a dimension of their own."""
    return np.ascontiguousarray(chunks).view("<u8").reshape(*chunks.shape, 2)


def _all(facts: Mask) -> Mask:
    alike: Mask = np.logical_and.reduce(facts, axis=0)
    return alike


def _of_bytes(number: int) -> np.uint64:
    return np.uint64(number * 0x0101010101010101)


_LOW_BYTES = np.array([(1 << 8 * size) - 1 for size in range(9)], dtype=np.uint64)
_ZEROS = _of_bytes(ord("0"))


def _whole(piece: Piece, starts: Places, sizes: Places) -> Mask:
    """Whether there are numbers such as 0, 17 or -17, of few enough digits, and nothing else."""
    negative = piece.content[starts] == ord("-")
    digits = sizes - negative
    chunks = _pairs(piece.chunks[starts + negative])
    masks = np.stack([_LOW_BYTES.take(digits, mode="clip"), _LOW_BYTES.take(digits - 8, mode="clip")], axis=-1)
    few = (digits > 0) & (digits <= _MOST_DIGITS)
    zero = (piece.content[starts + negative] == ord("0")) & (sizes > 1)
    well: Mask = few & ~zero & _digits((chunks & masks) | (_ZEROS & ~masks)).all(axis=-1)
    return well


def _digits(words: Words) -> Mask:
    """Whether all eight bytes of each word are digits: their upper halves are 3, also when 6 is added."""
    upper, threes = _of_bytes(0xF0), _of_bytes(0x30)
    digits: Mask = ((words & upper) == threes) & (((words + _of_bytes(6)) & upper) == threes)
    return digits


_PREFIXES = np.array([((1 << 8 * min(size, 4)) - 1) << 32 for size in range(INLINE_BYTES + 1)], dtype=np.uint64)
_SUFFIXES = np.array([(1 << 8 * max(size - 4, 0)) - 1 for size in range(INLINE_BYTES + 1)], dtype=np.uint64)


def _views(piece: Piece, starts: Places, sizes: Places) -> Words:
    """Arrow's string views of the texts: length and first four bytes, then the other bytes or where the text is."""
    chunks, half = _pairs(piece.chunks[starts]), np.uint64(32)
    low, high = chunks[..., 0], chunks[..., 1]
    views = np.empty_like(chunks)
    views[..., 0] = ((low << half) & _PREFIXES.take(sizes, mode="clip")) | sizes.view(np.uint64)
    suffix = ((low >> half) | (high << half)) & _SUFFIXES.take(sizes, mode="clip")
    views[..., 1] = np.where(sizes <= INLINE_BYTES, suffix, (starts + piece.shift).view(np.uint64) << half)
    return views
