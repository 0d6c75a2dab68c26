"""Sends what waits, in the background: when a batch is due, what is done with its answer, and what stops it.

A thread and a task drive the same generator; neither socket nor lock is here.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clearwell.client.events import Publishable, as_lines
from clearwell.client.exchange import (
    MOST_EVENTS,
    Came,
    Exchange,
    Exchanging,
    Means,
    Patience,
    Pause,
    RefusedEvent,
    RequestRefusedError,
    Transmit,
)
from clearwell.client.spool import Spool, SpoolOptions
from clearwell.client.waiting import Queue, Waiting
from clearwell.errors import ClearwellError, StorageError, UsageError

_LOG = logging.getLogger("clearwell.client")


@dataclass(frozen=True)
class ClientOptions:
    """How a client publishes.

    A request has at most `batch_events` (1,000 at most) and `batch_bytes`. In the background a batch goes when it is
    full, or its first event has waited for `linger_seconds`. Without a spool, `queue_events` and `queue_bytes` may wait
    in memory. `deadline_seconds` is the longest that `publish` tries, that `send` waits for room, and `close` for the
    rest. Bodies from `gzip_bytes` on are packed.
    """

    batch_events: int = MOST_EVENTS
    batch_bytes: int = 4 << 20
    linger_seconds: float = 0.05
    queue_events: int = 100_000
    queue_bytes: int = 64 << 20
    deadline_seconds: float = 60.0
    gzip_bytes: int = 64 << 10
    patience: Patience = field(default_factory=Patience)
    spool: SpoolOptions = field(default_factory=SpoolOptions)

    def __post_init__(self) -> None:
        """Raise UsageError (`client_options_wrong`) for a batch that no answer could tell of in full."""
        if not 1 <= self.batch_events <= MOST_EVENTS:
            message = f"expected batch_events from 1 to {MOST_EVENTS}, found {self.batch_events}"
            raise UsageError("client_options_wrong", message)


@dataclass(frozen=True)
class Idle:
    """To do: wait until something is added or asked for, at most for `seconds`, None for ever."""

    seconds: float | None


@dataclass(frozen=True)
class Counts:
    """How many events were accepted, were in the log already, and were refused."""

    accepted: int = 0
    duplicates: int = 0
    refused: int = 0


Steps = Generator[Transmit | Pause | Idle, Came, None]
OnRefused = Callable[[RefusedEvent], Any]


class Sending:
    """What a client sends: what waits, and the procedures by which it goes. A driver does what they yield."""

    def __init__(
        self,
        address: tuple[str, str],
        spool: Path | str | None,
        on_refused: OnRefused | None,
        options: ClientOptions | None,
        means: Means | None,
    ) -> None:
        """Take URL and key. Raises UsageError (`client_url_wrong`), StorageError as `Spool`."""
        url, key = address
        if not url.startswith(("http://", "https://")):
            raise UsageError("client_url_wrong", f"expected a URL of http or https, found {url!r}")
        self.options, self.means = options or ClientOptions(), means or Means()
        self.exchanging = Exchanging(key, self.options.patience, self.means, self.options.gzip_bytes)
        self.most = (self.options.batch_events, self.options.batch_bytes)
        self.is_spooled = spool is not None
        self.waiting: Waiting
        if spool is not None:
            self.waiting = self._spool(Path(spool))
        else:
            self.waiting = Queue((self.options.queue_events, self.options.queue_bytes), self.means.new_key)
        self.on_refused = on_refused
        self.counts = Counts()
        self.error: ClearwellError | None = None
        self.done = self.waiting.settled
        """How many events were answered and told of: what a flush waits for."""
        self.halted = False
        self._halted_until = 0.0
        self.is_closed = False
        self._flush_to = self.waiting.added  # What an earlier process left is due at once.
        self._since: float | None = None

    def _spool(self, folder: Path) -> Spool:
        spool = Spool(folder, self.options.spool)
        for item in spool.damages:
            _LOG.warning("spool %s: %s has no event from byte %d to %d", folder, item.file, item.start, item.end)
        return spool

    @property
    def waiting_events(self) -> int:
        """How many events wait."""
        return self.waiting.added - self.waiting.settled

    def publishing(self, events: Any, *, apart: bool) -> Exchange:
        """The procedure of `publish`. Raises the error for people, never RequestRefusedError."""
        lines = as_lines(events)
        until = self.means.clock() + self.options.deadline_seconds
        return self.exchanging.all(lines, self.most, until, apart=apart)

    def lines(self, events: Publishable | Any) -> list[bytes]:
        """What `send` adds. Raises UsageError when the client is closed, or has halted and keeps nothing on disk."""
        self.require_open()
        if self.halted and not self.is_spooled and self.error is not None:
            raise self.error
        return as_lines(events)

    def require_open(self) -> None:
        """Raise UsageError (`client_closed`) when it is closed."""
        if self.is_closed:
            raise UsageError("client_closed", "this client is closed: make another one")

    def note_added(self) -> None:
        """Have the time since when something waits be known."""
        if self._since is None:
            self._since = self.means.clock()

    def ask_flush(self) -> int:
        """Have all that waits be due, also after a halt; returns what `done` must reach."""
        self._flush_to = max(self._flush_to, self.waiting.added)
        self.halted = False
        return self._flush_to

    def due_seconds(self) -> float | None:
        """In how many seconds a batch is due; 0 for now, None when nothing waits."""
        count = self.waiting_events
        if not count:
            return None
        if self.halted:
            return max(0.0, self._halted_until - self.means.clock())
        if self.waiting.settled < self._flush_to or count >= self.most[0] or self.waiting.waiting_bytes >= self.most[1]:
            return 0.0
        since = self._since if self._since is not None else -math.inf
        return max(0.0, since + self.options.linger_seconds - self.means.clock())

    def steps(self) -> Steps:
        """Send what waits whenever it is due, for ever. Drivers end it by closing it."""
        attempt = 0
        while True:
            seconds = self.due_seconds()
            if seconds != 0.0:
                yield Idle(seconds)
                continue
            try:
                yield from self._batch()
                attempt = 0
            except RequestRefusedError as refusal:
                self.halt(refusal.error)
            except StorageError as error:  # Of the spool: its disk is full, say.
                yield Pause(self.options.patience.pause_seconds(attempt, 0.0, self.means.share()), error)
                attempt += 1

    def _batch(self) -> Steps:
        batch = self.waiting.next(self.most)
        if batch is None:
            return
        published = yield from self.exchanging.apart(batch, math.inf)
        self.waiting.settle(batch, published.refused)
        self.error, self.halted = None, False
        self._since = self.means.clock() if self.waiting_events else None
        before = self.counts
        self.counts = Counts(
            before.accepted + published.accepted,
            before.duplicates + published.duplicates,
            before.refused + len(published.refused),
        )
        for item in published.refused:
            self._tell(item)
        self.done = self.waiting.settled

    def halt(self, error: ClearwellError) -> None:
        """Send nothing more until somebody asks, or for the longest pause: what waits, waits on."""
        self.error, self.halted = error, True
        self._halted_until = self.means.clock() + self.options.patience.longest_seconds
        _LOG.error("publishing has halted, and %d event(s) wait: %s", self.waiting_events, error.message)

    def _tell(self, item: RefusedEvent) -> None:
        if self.on_refused is None:
            _LOG.warning("an event was refused: %s: %s", item.code, item.message)
            return
        try:
            self.on_refused(item)
        except Exception:
            _LOG.exception("on_refused failed")

    def unfinished(self) -> StorageError:
        """The error of a flush that did not end in time."""
        why = f": {self.error.message}" if self.error is not None else ""
        return StorageError("flush_unfinished", f"{self.waiting_events} event(s) are not acknowledged yet{why}")
