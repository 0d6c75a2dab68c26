"""One request and what comes of it: made, judged, and made again. It opens no socket, and never sleeps.

The procedures are generators. They yield what is to be done, a `Transmit` or a `Pause`, and are sent what came of it;
a thread and a task drive the same ones.
"""

from __future__ import annotations

import gzip
import json
import random
import time
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from typing import Any

from clearwell.errors import AccessError, ClearwellError, DataError, OverloadError, StorageError, UsageError

PATH = "/v1/events"

MOST_EVENTS = 1_000
"""So many events a request has at most: an answer tells of as many refused ones."""


@dataclass(frozen=True)
class Patience:
    """How requests are made again: after a random part of a limit that doubles from the first to the longest."""

    first_seconds: float = 0.1
    longest_seconds: float = 30.0
    most_told_seconds: float = 300.0
    """The service may ask for a longer pause by `Retry-After`, up to this."""
    request_seconds: float = 30.0
    """So long one request may take."""

    def pause_seconds(self, attempt: int, told_seconds: float, share: float) -> float:
        """The pause after the attempt of this number, from 0: what was told, and a `share` from 0 to 1 of the limit."""
        limit = min(self.longest_seconds, self.first_seconds * 2.0 ** min(attempt, 60))
        return min(told_seconds, self.most_told_seconds) + share * limit


@dataclass(frozen=True)
class Means:
    """What a client takes from outside; tests pass their own. `clock` has any zero, in seconds.

    `sleep` is that of `publish`; the sender of a `Client` waits by it too where it is given.
    """

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Any] | None = None
    share: Callable[[], float] = random.random
    new_key: Callable[[], str] = lambda: uuid.uuid4().hex


@dataclass(frozen=True)
class Batch:
    """Lines for one request, and the key that names the request however often it is made."""

    lines: Sequence[bytes]
    key: str


@dataclass(frozen=True)
class Transmit:
    """To do: a POST to `PATH`. What came of it is a `Reply`, or `Lost`."""

    content: bytes
    headers: Mapping[str, str]
    seconds: float


@dataclass(frozen=True)
class Pause:
    """To do: wait, because of an error that passes."""

    seconds: float
    error: ClearwellError


@dataclass(frozen=True)
class Reply:
    """An answer of HTTP. The names of `headers` are in small letters."""

    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True)
class Lost:
    """No answer: whether the request was taken in, nobody knows."""

    reason: str


@dataclass(frozen=True)
class RefusedEvent:
    """An event that the service refused: its place among those that were published, from 0, its line, and why.

    `field` is `request` where the whole request was refused because of it; it is then not in the quarantine.
    """

    index: int
    line: bytes
    code: str
    field: str
    expected: str
    found: str

    @property
    def event(self) -> dict[str, Any]:
        """The object of its JSON."""
        event: dict[str, Any] = json.loads(self.line)
        return event

    @property
    def message(self) -> str:
        """Why, for people."""
        return f"{self.field}: expected {self.expected}, found {self.found}" if self.found else self.expected


@dataclass(frozen=True)
class Published:
    """What became of events: those accepted are durable; duplicates were in the log already, with the same content."""

    accepted: int = 0
    duplicates: int = 0
    refused: tuple[RefusedEvent, ...] = ()

    def and_then(self, other: Published, places: int) -> Published:
        """This and another one, whose events come `places` later."""
        later = tuple(replace(item, index=item.index + places) for item in other.refused)
        return Published(self.accepted + other.accepted, self.duplicates + other.duplicates, (*self.refused, *later))


Came = Reply | Lost | None
Exchange = Generator[Transmit | Pause, Came, Published]


class RequestRefusedError(Exception):
    """A request that is not made again: `error` says why, `of_events` that another one of other events may pass."""

    def __init__(self, error: ClearwellError, *, of_events: bool) -> None:
        super().__init__(error.message)
        self.error = error
        self.of_events = of_events


@dataclass(frozen=True)
class _Again:
    error: ClearwellError
    told_seconds: float = 0.0
    new_key: bool = False


@dataclass(frozen=True)
class Exchanging:
    """Makes requests. Bodies from `gzip_bytes` on are packed."""

    key: str
    patience: Patience = field(default_factory=Patience)
    means: Means = field(default_factory=Means)
    gzip_bytes: int = 64 << 10

    def __repr__(self) -> str:
        return "Exchanging()"  # The key is nobody's to read.

    def once(self, batch: Batch, until: float) -> Exchange:
        """Publish a batch in one request, which is made until it is answered.

        Raises RequestRefusedError, and the error of the last attempt when the clock would pass `until`.
        """
        attempt, key = 0, batch.key
        content, headers = self._request(batch)
        while True:
            left = until - self.means.clock()
            came = yield Transmit(
                content, {**headers, "Idempotency-Key": key}, max(0.001, min(self.patience.request_seconds, left))
            )
            assert came is not None
            judged = _judged(came, batch)
            if isinstance(judged, Published):
                return judged
            if judged.new_key:
                key = self.means.new_key()
            seconds = self.patience.pause_seconds(attempt, judged.told_seconds, self.means.share())
            if self.means.clock() + seconds > until:
                raise judged.error
            yield Pause(seconds, judged.error)
            attempt += 1

    def apart(self, batch: Batch, until: float) -> Exchange:
        """As `once`, but a request that is refused because of its events is made in halves.

        The event that is at fault stands alone in the end, and is refused. Raises as `once`, for errors of requests.
        """
        try:
            return (yield from self.once(batch, until))
        except RequestRefusedError as refusal:
            if not refusal.of_events:
                raise
            if len(batch.lines) == 1:
                error = refusal.error
                why = "; ".join([error.message, *error.details])
                return Published(refused=(RefusedEvent(0, batch.lines[0], error.code, "request", why, ""),))
        middle = len(batch.lines) // 2
        first = yield from self.apart(Batch(batch.lines[:middle], f"{batch.key}.0"), until)
        second = yield from self.apart(Batch(batch.lines[middle:], f"{batch.key}.1"), until)
        return first.and_then(second, middle)

    def all(self, lines: Sequence[bytes], most: tuple[int, int], until: float, *, apart: bool) -> Exchange:
        """Publish any number of lines, in requests of at most so many events and bytes.

        Raises as `once`; then the details of the error say how many are acknowledged all the same.
        """
        whole, place = Published(), 0
        while place < len(lines):
            some = lines[place : place + first_part(lines, place, most)]
            batch = Batch(some, self.means.new_key())
            try:
                published = yield from (self.apart if apart else self.once)(batch, until)
            except RequestRefusedError as refusal:
                raise _told_how_far(refusal.error, place, len(lines)) from refusal
            except ClearwellError as error:
                raise _told_how_far(error, place, len(lines)) from error
            whole = whole.and_then(published, place)
            place += len(some)
        return whole

    def _request(self, batch: Batch) -> tuple[bytes, dict[str, str]]:
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/x-ndjson"}
        content = b"\n".join(batch.lines) + b"\n"
        if len(content) >= self.gzip_bytes:
            return gzip.compress(content, 1, mtime=0), {**headers, "Content-Encoding": "gzip"}
        return content, headers


def first_part(lines: Sequence[bytes], place: int, most: tuple[int, int]) -> int:
    """How many lines from `place` on are one request: at most so many events and bytes, and at least one."""
    events, size = 0, 0
    most_events, most_bytes = most
    while place + events < len(lines) and events < most_events:
        size += len(lines[place + events]) + 1
        if events and size > most_bytes:
            break
        events += 1
    return events


def _told_how_far(error: ClearwellError, acknowledged: int, count: int) -> ClearwellError:
    if not acknowledged:
        return error
    return type(error)(
        error.code, error.message, [*error.details, f"the first {acknowledged} of {count} events were answered"]
    )


def _judged(came: Reply | Lost, batch: Batch) -> Published | _Again:
    """What an answer says. Raises RequestRefusedError for one that would be the same again."""
    if isinstance(came, Lost):
        return _Again(StorageError("service_unreachable", f"the service did not answer: {came.reason}"))
    if came.status == 200:
        published = _published(came.content, batch)
        if published is not None:
            return published
        message = f"expected an answer that counts {len(batch.lines)} events, found {came.content[:80]!r}"
        return _Again(StorageError("answer_unreadable", message))
    error, is_ours = _error(came)
    if came.status in (408, 425, 429) or came.status >= 500 or error.code == "request_under_way":
        return _Again(error, _told_seconds(came.headers))
    if error.code == "request_key_reused":
        return _Again(error, new_key=True)
    of_events = came.status == 413 or (
        is_ours and (came.status in (400, 422) or error.code == "event_type_not_allowed")
    )
    raise RequestRefusedError(error, of_events=of_events)


def _published(content: bytes, batch: Batch) -> Published | None:
    """The counts of an answer; None when it was cut short, or does not count every line."""
    try:
        found = json.loads(content)
        refused = tuple(
            RefusedEvent(
                item["index"], batch.lines[item["index"]], item["code"], item["field"], item["expected"], item["found"]
            )
            for item in found["refused"]
        )
        accepted, duplicates, refused_count = found["accepted"], found["duplicates"], found["refused_count"]
        is_whole = accepted + duplicates + refused_count == len(batch.lines) and refused_count == len(refused)
    except (ValueError, KeyError, TypeError, IndexError):
        return None
    return Published(accepted, duplicates, refused) if is_whole else None


def _error(reply: Reply) -> tuple[ClearwellError, bool]:
    """The error that an answer tells of, and whether it is one of ours."""
    branch = _branch(reply.status)
    try:
        problem = json.loads(reply.content)["error"]
        return branch(str(problem["code"]), str(problem["message"]), [str(item) for item in problem["details"]]), True
    except (ValueError, KeyError, TypeError):
        message = f"expected an answer of Clearwell, found status {reply.status}: {reply.content[:80]!r}"
        return branch("service_unavailable" if reply.status >= 500 else "service_unknown", message), False


def _branch(status: int) -> type[ClearwellError]:
    match status:
        case 401 | 403:
            return AccessError
        case 422:
            return DataError
        case 429:
            return OverloadError
    return StorageError if status >= 500 else UsageError


def _told_seconds(headers: Mapping[str, str]) -> float:
    """What `Retry-After` asks for: seconds, or a time, which is held against the `Date` of the same answer."""
    text = headers.get("retry-after", "")
    if text.isdecimal():
        return float(text[:9])
    try:
        asked, now = parsedate_to_datetime(text), parsedate_to_datetime(headers["date"])
        return max(0.0, (asked - now).total_seconds())
    except (KeyError, ValueError, TypeError):
        return 0.0
