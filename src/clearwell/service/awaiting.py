"""Awaits what other threads finish: what they finish at once wakes the event loop once."""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import Future
from typing import TypeVar
from weakref import WeakKeyDictionary, ref

Result = TypeVar("Result")


async def awaited(future: Future[Result]) -> Result:
    """The result of a future that another thread sets, as soon as it is there. Raises what the future raises.

    As `asyncio.wrap_future`, which wakes the loop for each: a batch of a hundred requests is a hundred times that.
    """
    loop = asyncio.get_running_loop()
    waking = _WAKING.get(loop)
    if waking is None:
        waking = _WAKING[loop] = _Waking(loop)
    reached: asyncio.Future[None] = loop.create_future()
    future.add_done_callback(lambda _future: waking.reach(reached))
    await reached
    return future.result()


class _Waking:
    """What is reached in other threads, and told in the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = ref(loop)  # It is the key to this: neither keeps the other.
        self._reached: deque[asyncio.Future[None]] = deque()
        self._is_coming = False

    def reach(self, waiting: asyncio.Future[None]) -> None:
        """Have one told soon; in any thread."""
        self._reached.append(waiting)
        loop = self._loop()
        if not self._is_coming and loop is not None:
            self._is_coming = True
            try:
                loop.call_soon_threadsafe(self._tell)
            except RuntimeError:  # The loop has ended, and nobody waits.
                self._is_coming = False

    def _tell(self) -> None:
        self._is_coming = False  # What is reached from now on calls again.
        while self._reached:
            waiting = self._reached.popleft()
            if not waiting.done():
                waiting.set_result(None)


_WAKING: WeakKeyDictionary[asyncio.AbstractEventLoop, _Waking] = WeakKeyDictionary()
