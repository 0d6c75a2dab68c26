"""Says to what is under way that the service stops: bodies that are still sent are refused, live streams end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stopping:
    """Whether the service stops. To be used in the thread of the event loop."""

    def __init__(self) -> None:
        self.has_begun = False
        self._told: set[Callable[[], None]] = set()

    def begin(self) -> None:
        """Tell everybody who listens, once."""
        self.has_begun = True
        for told in list(self._told):
            told()
        self._told.clear()

    def tell(self, told: Callable[[], None]) -> None:
        """Have `told` called when the service begins to stop."""
        self._told.add(told)

    @contextmanager
    def telling(self, told: Callable[[], None]) -> Iterator[None]:
        """Have `told` called when the service begins to stop within the block, or had begun before."""
        if self.has_begun:
            told()
        self._told.add(told)
        try:
            yield
        finally:
            self._told.discard(told)
