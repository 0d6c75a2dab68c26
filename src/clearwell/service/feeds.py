"""Figures that change, for those who listen: computed once for all who listen to the same, and told row by row.

One thread computes: when something was applied, and now and then, because accounts become overdue by themselves. Who
does not take what is told in time is let go, and comes back for all of it.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from clearwell.application import questions, scoring, tenancy
from clearwell.application.cutting import CutRequest
from clearwell.application.keeping import Keeper
from clearwell.application.telling import cut_as_json
from clearwell.application.workspace import Workspace
from clearwell.errors import ClearwellError, OverloadError, StorageError
from clearwell.values.cuts import Cut

MOST_LISTENERS = 1_000
MOST_OF_ONE = 20
"""So many may listen by one key, or as one person: nobody takes the room of all others."""
MOST_WAITING = 64
"""So many messages may wait for one who listens."""

_REMEMBERED = 256
_SPACING_SECONDS = 0.2
_PRESENT_SECONDS = 10.0

Rows = dict[tuple[Any, ...], Mapping[str, Any]]


@dataclass(frozen=True)
class Message:
    """What is told: its `name`, what it is called by who comes back (`number`), and its content.

    `number` begins with the sequence of the log that the figures are of.
    """

    name: str
    number: str
    content: Mapping[str, Any]


@dataclass(frozen=True)
class Figures:
    """What can be listened to: rows by their `keys`, which are told under the name `member`."""

    name: Hashable
    member: str
    keys: tuple[str, ...]
    compute: Callable[[], tuple[Cut, Sequence[Mapping[str, Any]]]]


def status_figures(workspace: Workspace) -> Figures:
    """The rows of status."""

    def compute() -> tuple[Cut, Sequence[Mapping[str, Any]]]:
        report = questions.status(workspace, CutRequest())
        return report.cut, report.account_types

    return Figures("status", "account_types", ("flow", "account_type", "currency"), compute)


def score_figures(workspace: Workspace, period: str) -> Figures:
    """The nodes of the tree of scores of a period."""

    def compute() -> tuple[Cut, Sequence[Mapping[str, Any]]]:
        report = scoring.scores(workspace, CutRequest(), period)
        return report.cut, report.changes

    return Figures(("scores", period), "nodes", ("node", "parent", "name", "currency"), compute)


def own_figures(workspace: Workspace, bound: Mapping[str, str]) -> Figures:
    """A tenant's balances."""

    def compute() -> tuple[Cut, Sequence[Mapping[str, Any]]]:
        found = tenancy.own_balances(workspace, CutRequest(), bound)
        return found.cut, found.balances

    return Figures(("own", *sorted(bound.items())), "balances", ("currency",), compute)


class Listener:
    """One who listens, in an event loop. `next` gives messages, and None when it is over."""

    def __init__(self, who: str = "") -> None:
        self.who = who
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Message | None] = asyncio.Queue(MOST_WAITING)
        self.is_over = False

    def tell(self, messages: Sequence[Message | None]) -> None:
        """Have messages taken; may be called in any thread."""
        try:
            self._loop.call_soon_threadsafe(self._put, messages)
        except RuntimeError:  # The loop has ended before the listener did.
            self.is_over = True

    async def next(self, seconds: float) -> Message | None:
        """The next message. Raises TimeoutError when none comes in so long."""
        if self.is_over and self._queue.empty():
            return None
        return await asyncio.wait_for(self._queue.get(), seconds)

    def _put(self, messages: Sequence[Message | None]) -> None:
        for message in messages:
            if self.is_over:
                return
            if message is not None and not self._queue.full():
                self._queue.put_nowait(message)
                continue
            self.is_over = True
            while not self._queue.empty():
                self._queue.get_nowait()
            self._queue.put_nowait(None)


@dataclass
class _Feed:
    figures: Figures
    token: str
    listeners: set[Listener] = field(default_factory=set)
    rows: Rows | None = None
    cut: Cut | None = None
    number: str = ""
    told: deque[Message] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    count: int = 0

    def snapshot(self) -> Message:
        assert self.rows is not None
        assert self.cut is not None
        content = {"cut": cut_as_json(self.cut), self.figures.member: list(self.rows.values())}
        return Message("snapshot", self.number, content)

    def since(self, number: str) -> list[Message]:
        """What was told after the message `number`; when that is not known, everything."""
        numbers = [item.number for item in self.told]
        if number and number == self.number:
            return []
        if number in numbers:
            return list(self.told)[numbers.index(number) + 1 :]
        return [self.snapshot()]

    def take(self, cut: Cut, found: Sequence[Mapping[str, Any]]) -> None:
        """Take new figures in, and tell the listeners which rows are others now."""
        rows: Rows = {tuple(row[name] for name in self.figures.keys): row for row in found}
        before, self.rows, self.cut = self.rows, rows, cut
        changed = [row for key, row in rows.items() if before is None or before.get(key) != row]
        gone = [dict(zip(self.figures.keys, key, strict=True)) for key in before or {} if key not in rows]
        if before is not None and not changed and not gone:
            return
        self.count += 1
        self.number = f"{cut.sequence}.{self.count}.{self.token}"
        if before is None:
            message = self.snapshot()
        else:
            content = {"cut": cut_as_json(cut), self.figures.member: changed, "gone": gone}
            message = Message("changed", self.number, content)
        self.told.append(message)
        for listener in self.listeners:
            listener.tell([message])


class Feeds:
    """Everything that is listened to."""

    def __init__(self, keeper: Keeper) -> None:
        """Nothing runs before somebody listens."""
        self._keeper = keeper
        self._changed = threading.Condition()
        self._feeds: dict[Hashable, _Feed] = {}
        self._is_due = False
        self._ended = False
        self._thread: threading.Thread | None = None
        self._stop_listening: Callable[[], None] = lambda: None

    @property
    def listener_count(self) -> int:
        """How many listen."""
        with self._changed:
            return sum(len(feed.listeners) for feed in self._feeds.values())

    def end(self) -> None:
        """Let everybody go, and take nobody in any more."""
        with self._changed:
            self._ended = True
            for feed in self._feeds.values():
                for listener in feed.listeners:
                    listener.tell([None])
            self._changed.notify_all()
        self._stop_listening()

    def require_room(self, who: str) -> None:
        """Raise OverloadError when too many listen, or `who` too often; StorageError while the service stops."""
        if self._ended:
            raise StorageError("service_stopping", "the service is stopping: listen again elsewhere")
        if self.listener_count >= MOST_LISTENERS:
            raise OverloadError("too_many_listeners", f"{MOST_LISTENERS} listen already: try again in a moment")
        with self._changed:
            own = sum(listener.who == who for feed in self._feeds.values() for listener in feed.listeners)
        if own >= MOST_OF_ONE:
            raise OverloadError("too_many_listeners", f"{who} listens {MOST_OF_ONE} times already: end one of these")

    @contextmanager
    def listening(self, figures: Figures, last_number: str = "", who: str = "") -> Iterator[Listener]:
        """Listen to figures until the block ends, from the message `last_number` on, or from a snapshot."""
        listener = Listener(who)
        with self._changed:
            if self._ended:
                listener.tell([None])
            feed = self._feeds.setdefault(figures.name, _Feed(figures, secrets.token_hex(4)))
            feed.listeners.add(listener)
            if feed.rows is not None:
                listener.tell(feed.since(last_number))
            self._begin()
            self._is_due = True
            self._changed.notify_all()
        try:
            yield listener
        finally:
            with self._changed:
                feed.listeners.discard(listener)
                if not feed.listeners:
                    self._feeds.pop(figures.name, None)

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="clearwell-feeds", daemon=True)
            self._thread.start()
            self._stop_listening = self._keeper.listen(self._applied)

    def _applied(self, _sequence: int) -> None:
        with self._changed:
            self._is_due = True
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_due or self._ended, _PRESENT_SECONDS)
                if self._ended:
                    return
                self._is_due = False
                feeds = list(self._feeds.values())
            for feed in feeds:
                self._compute(feed)
            time.sleep(_SPACING_SECONDS)

    def _compute(self, feed: _Feed) -> None:
        try:
            cut, rows = feed.figures.compute()
        except ClearwellError:  # The next time will tell.
            return
        with self._changed:
            feed.take(cut, rows)
