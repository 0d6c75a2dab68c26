"""Which events are in the log already: 64-bit hashes of (producer, id) with the sequence of each, in sorted runs.

A hash only suggests; whoever asks confirms on the full identity. The runs are derived from the log: they are rebuilt
when they are missing, and when Polars or the processor would compute other hashes.
"""

from __future__ import annotations

import hashlib
import io
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from clearwell.errors import StorageError
from clearwell.ledger.fold import hash_fingerprint
from clearwell.log.reader import LogReader

Hashes = npt.NDArray[np.uint64]
Sequences = npt.NDArray[np.int64]

STORED_AT = 1 << 20
"""So many identities in memory are written to a run on disk."""

LARGEST_RUN = 1 << 23
"""Runs are merged up to this many identities."""

MERGED_AT_ONCE = 8
"""So many runs of like size become one."""

_DIGEST = 16


@dataclass(frozen=True)
class _Run:
    """Identities of the sequences `first` to `last`: the sorted hashes, and the sequence of each; `path` if stored.

    `filter` tells of nearly every hash that is not among them that it is not, by one look (a blocked Bloom filter).
    """

    first: int
    last: int
    hashes: Hashes
    sequences: npt.NDArray[np.uint64]
    filter: Hashes
    path: Path | None = None

    @classmethod
    def of(cls, first: int, hashes: Hashes, sequences: npt.NDArray[np.uint64]) -> _Run:
        """The run of these, which are in any order, from sequence `first` on without a gap."""
        order = np.argsort(hashes, kind="stable")
        ordered = hashes[order]
        return cls(first, first + len(hashes) - 1, ordered, sequences[order], _filter(ordered))

    @classmethod
    def stored(cls, first: int, last: int, path: Path) -> _Run:
        """The run that `content` was written of; it is read as far as it is looked at."""
        numbers = np.load(path, mmap_mode="r")
        count = last - first + 1
        return cls(first, last, numbers[:count], numbers[count : 2 * count], numbers[2 * count :], path)

    @property
    def content(self) -> npt.NDArray[np.uint64]:
        """What is stored."""
        return np.concatenate([self.hashes, self.sequences, self.filter])

    def __len__(self) -> int:
        return len(self.hashes)

    def matches(self, wanted: Hashes) -> tuple[npt.NDArray[np.int64], Sequences]:
        """Pairs (place in `wanted`, sequence) of equal hashes. Sorted ones are found in a fraction of the time."""
        places, bits = _places_and_bits(wanted, self.filter)
        chosen = np.flatnonzero((self.filter[places] & bits) == bits)
        own = wanted[chosen]
        left = np.searchsorted(self.hashes, own, side="left")
        counts = np.searchsorted(self.hashes, own, side="right") - left
        offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        found = self.sequences[np.repeat(left, counts) + offsets]
        return np.repeat(chosen, counts), found.astype(np.int64)


def _filter(ordered: Hashes) -> Hashes:
    """The filter of sorted hashes, with 16 bits or more for each: of others, about one in a hundred passes."""
    words = np.zeros(1 << max(4, (max(len(ordered), 1) - 1).bit_length() - 2), dtype=np.uint64)
    if len(ordered):
        places, bits = _places_and_bits(ordered, words)
        starts = np.flatnonzero(np.diff(places, prepend=-1))
        words[places[starts]] = np.bitwise_or.reduceat(bits, starts)
    return words


def _places_and_bits(hashes: Hashes, words: Hashes) -> tuple[npt.NDArray[np.int64], Hashes]:
    """The word of the filter that each hash belongs to, by its high bits, and the bits that it sets there."""
    one, low = np.uint64(1), np.uint64(63)
    bits: Hashes = one << (hashes & low)
    for shift in (6, 12):
        bits |= one << (hashes >> np.uint64(shift) & low)
    return (hashes >> np.uint64(65 - len(words).bit_length())).astype(np.int64), bits


def identity_hash() -> pl.Expr:
    """The hash of an event's identity."""
    return (pl.col("id").hash(4) ^ pl.col("producer").hash(5)).alias("identity_hash")


class Identities:
    """The identities of every event of a log, kept up to date by its one writer."""

    def __init__(self, folder: Path, reader: LogReader) -> None:
        """Load the runs in `folder`, and read from the log what they do not cover.

        Raises StorageError when the folder cannot be used or the log cannot be read.
        """
        self._folder = folder
        self._fingerprint = f"{hash_fingerprint():016x}"
        try:
            self._runs = self._stored_runs(reader.last_sequence)
        except OSError as error:
            raise StorageError("identities_unusable", f"{folder} cannot be read and tidied: {error}") from error
        for file, events in reader.after(self._last(), ["sequence", "producer", "id"]):
            hashes = events.select(identity_hash()).to_series().to_numpy()
            self.add(hashes, file.last_sequence - len(hashes) + 1)

    def matches(self, wanted: Hashes) -> tuple[npt.NDArray[np.int64], Sequences]:
        """Pairs (place in `wanted`, sequence in the log) whose hashes are equal."""
        order = np.argsort(wanted)
        ordered = wanted[order]
        found = [run.matches(ordered) for run in self._runs]
        if not found:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        places = np.concatenate([places for places, _ in found])
        return order[places], np.concatenate([sequences for _, sequences in found])

    def add(self, hashes: Hashes, first_sequence: int) -> None:
        """Take in the identities of the events from `first_sequence` on, which follow the last ones taken in."""
        sequences = np.arange(first_sequence, first_sequence + len(hashes), dtype=np.uint64)
        self._runs.append(_Run.of(first_sequence, hashes, sequences))
        self._tidy()

    def _last(self) -> int:
        return self._runs[-1].last if self._runs else 0

    def _tidy(self) -> None:
        """Merge the newest runs once there are many of like size, so that few are searched; store what is large."""
        while len(like := self._of_like_size()) >= MERGED_AT_ONCE:
            hashes = np.concatenate([run.hashes for run in like])
            merged = _Run.of(like[0].first, hashes, np.concatenate([run.sequences for run in like]))
            self._runs[-len(like) :] = [merged]
            for run in like:
                if run.path is not None:
                    run.path.unlink(missing_ok=True)
        newest = self._runs[-1]
        if len(newest) >= STORED_AT:
            self._runs[-1] = self._stored(newest)

    def _of_like_size(self) -> list[_Run]:
        """The newest runs that are not much larger than the last, and together no larger than a run may be."""
        newest = len(self._runs[-1])
        like: list[_Run] = []
        total = 0
        for run in reversed(self._runs):
            total += len(run)
            if len(run) > 2 * newest or total > LARGEST_RUN:
                break
            like.insert(0, run)
        return like

    def _stored(self, run: _Run) -> _Run:
        """Write a run down under a name that holds its range and its hash, unless it is there already.

        Not synced: what a power cut leaves of it does not have the hash in its name, and is made anew from the log.
        Where the disk refuses, it stays in memory, and the next process reads it from the log.
        """
        if run.path is not None:
            return run
        buffer = io.BytesIO()
        np.save(buffer, run.content)
        digest = hashlib.sha256(buffer.getbuffer()).hexdigest()[:_DIGEST]
        path = self._folder / f"identities-v2-{self._fingerprint}-{run.first:016d}-{run.last:016d}-{digest}.npy"
        aside = path.with_suffix(".part")
        try:
            with aside.open("wb") as file:
                file.write(buffer.getbuffer())
            aside.replace(path)
        except OSError:
            with suppress(OSError):
                aside.unlink()
            return run
        return _Run.stored(run.first, run.last, path)

    def _stored_runs(self, last_sequence: int) -> list[_Run]:
        """The longest row of sound runs from sequence 1 on; every other file here is left over, and removed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        by_first: dict[int, tuple[int, Path]] = {}
        for path in sorted(self._folder.iterdir()):
            span = self._span(path)
            if span is not None and span[1] <= last_sequence:
                by_first[span[0]] = max(by_first.get(span[0], (0, path)), (span[1], path))
        runs: list[_Run] = []
        while found := by_first.get(runs[-1].last + 1 if runs else 1):
            last, path = found
            runs.append(_Run.stored(runs[-1].last + 1 if runs else 1, last, path))
        used = {run.path for run in runs}
        for path in set(self._folder.iterdir()) - used:
            path.unlink()
        return runs

    def _span(self, path: Path) -> tuple[int, int] | None:
        """The range of sequences that a stored run covers; None when the file is not what its name says."""
        name = rf"identities-v2-{self._fingerprint}-([0-9]{{16}})-([0-9]{{16}})-([0-9a-f]{{16}})"
        match = re.fullmatch(name, path.stem)
        if match is None or path.suffix != ".npy":
            return None
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:_DIGEST]
        return (int(match[1]), int(match[2])) if digest == match[3] else None
