"""What waits to be sent: in memory, where it is bounded, or in a spool on disk. Both hand it out in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Protocol

from clearwell.client.exchange import Batch, RefusedEvent, first_part


class Waiting(Protocol):
    """Lines that wait. Threads may add while another one takes them."""

    @property
    def added(self) -> int:
        """How many lines were ever added."""

    @property
    def settled(self) -> int:
        """How many of them were answered: the first ones."""

    @property
    def waiting_bytes(self) -> int:
        """The bytes of those that were not."""

    def has_room(self, lines: Sequence[bytes]) -> bool:
        """Whether these may be added."""

    def add(self, lines: Sequence[bytes]) -> None:
        """Add lines. Raises StorageError when they cannot be kept."""

    def next(self, most: tuple[int, int]) -> Batch | None:
        """The first lines that wait, at most so many and of so many bytes; they wait on."""

    def settle(self, batch: Batch, refused: Sequence[RefusedEvent]) -> None:
        """Let go of a batch that was answered; what was refused of it is kept where there is a place for it."""

    def sync(self) -> None:
        """Make all that was added durable, where it can be."""

    def close(self) -> None:
        """Let go of what is held open."""


class Queue:
    """Lines that wait in memory, bounded in number and in bytes. When the process ends they are gone."""

    def __init__(self, most: tuple[int, int], new_key: Callable[[], str]) -> None:
        self._most_lines, self._most_bytes = most
        self._new_key = new_key
        self._lock = threading.Lock()
        self._lines: deque[bytes] = deque()
        self._batch: Batch | None = None
        self.added = 0
        self.settled = 0
        self.waiting_bytes = 0

    def has_room(self, lines: Sequence[bytes]) -> bool:
        """Whether these may be added. What is larger than all the room is let in when nothing waits."""
        with self._lock:
            fits = self.waiting_bytes + sum(map(len, lines)) <= self._most_bytes
            return not self._lines or (fits and len(self._lines) + len(lines) <= self._most_lines)

    def add(self, lines: Sequence[bytes]) -> None:
        """Add lines."""
        with self._lock:
            self._lines.extend(lines)
            self.added += len(lines)
            self.waiting_bytes += sum(map(len, lines))

    def next(self, most: tuple[int, int]) -> Batch | None:
        """The first lines that wait; until they are settled, the same ones under the same key."""
        with self._lock:
            if self._batch is None and self._lines:
                first = list(islice(self._lines, most[0]))
                self._batch = Batch(first[: first_part(first, 0, most)], self._new_key())
            return self._batch

    def settle(self, batch: Batch, refused: Sequence[RefusedEvent]) -> None:
        """Let go of a batch. Nothing is kept of what was refused: the client tells of it."""
        del refused
        with self._lock:
            for line in batch.lines:
                self._lines.popleft()
                self.waiting_bytes -= len(line)
            self.settled += len(batch.lines)
            self._batch = None

    def sync(self) -> None:
        """Nothing can be made durable here."""

    def close(self) -> None:
        """Nothing is held open."""
