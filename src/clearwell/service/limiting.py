"""Limits what can be tried by guessing: a table, of bounded size, of how often each address and name has failed.

Every failure takes a token, which comes back with time, so that nobody is locked out for ever. A person who signed in
from an address before is not kept out there by failures elsewhere.
"""

from __future__ import annotations

import ipaddress
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from clearwell.application.access import KEY_PREFIX
from clearwell.errors import AccessError, OverloadError


@dataclass(frozen=True)
class Allowance:
    """So many failures at once, and one more every so many seconds."""

    failures: int
    seconds: float


OF_NAME = Allowance(10, 30.0)
OF_ADDRESS = Allowance(30, 6.0)
_MOST_KEPT = 20_000
_PREFIX = 8

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

Subject = tuple[str, ...]
"""What fails: its kind, and what it is."""


class Attempts:
    """Counts failures in buckets of tokens. The table forgets what was used least recently."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, most_kept: int = _MOST_KEPT) -> None:
        """`clock` gives seconds."""
        self._clock, self._most = clock, most_kept
        self._buckets: OrderedDict[Subject, tuple[float, float]] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def signing_in(self, address: str, name: str) -> Iterator[None]:
        """Try to sign in within the block; it fails when an AccessError leaves it.

        Raises OverloadError, before anything is tried, when too many attempts from this address or for this name have.
        """
        place, name = network(address), name.lower()
        own: Subject = ("name", name, place) if (name, place) in self._known else ("name", name)
        wanted = [(("address", place), OF_ADDRESS), (own, OF_NAME)]
        self._take(wanted)  # At once, so that many attempts side by side are not more than so many one by one.
        try:
            yield
        except AccessError:
            raise
        except BaseException:
            self._give_back(wanted)
            raise
        self._give_back(wanted)
        with self._lock:
            _remember(self._known, (name, place), None, self._most)

    def fail(self, address: str, secret: str) -> None:
        """Count a secret that is nobody's. Raises OverloadError when too many were, from here or beginning like it.

        Only what is wrong is counted, and refused: a secret that is right can be used from anywhere.
        """
        self._take(
            [
                (("secrets of", network(address)), OF_ADDRESS),
                (("secret", secret.removeprefix(KEY_PREFIX)[:_PREFIX]), OF_NAME),
            ]
        )

    def _take(self, wanted: Sequence[tuple[Subject, Allowance]]) -> None:
        """Take a token of each bucket, or of none. Raises OverloadError when one has none."""
        now = self._clock()
        with self._lock:
            levels = [self._level(subject, allowance, now) for subject, allowance in wanted]
            waits = [(1 - level) * item.seconds for level, (_, item) in zip(levels, wanted, strict=True) if level < 1]
            if waits:
                error = OverloadError("attempts_too_many", "too many attempts have failed: try again later")
                error.retry_seconds = max(1, math.ceil(max(waits)))
                raise error
            for level, (subject, _) in zip(levels, wanted, strict=True):
                _remember(self._buckets, subject, (level - 1, now), self._most)

    def _give_back(self, wanted: Sequence[tuple[Subject, Allowance]]) -> None:
        now = self._clock()
        with self._lock:
            for subject, allowance in wanted:
                level = min(self._level(subject, allowance, now) + 1, allowance.failures)
                _remember(self._buckets, subject, (level, now), self._most)

    def _level(self, subject: Subject, allowance: Allowance, now: float) -> float:
        level, since = self._buckets.get(subject, (float(allowance.failures), now))
        return min(level + (now - since) / allowance.seconds, allowance.failures)


def network(address: str) -> str:
    """What is counted as one address: of IPv6 the network of 64 bits, of which one machine has all."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)


def _remember(table: OrderedDict[_Key, _Value], key: _Key, value: _Value, most: int) -> None:
    table[key] = value
    table.move_to_end(key)
    while len(table) > most:
        table.popitem(last=False)
