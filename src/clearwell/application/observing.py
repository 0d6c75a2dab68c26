"""What a service is told about itself while it works, so that whoever runs it can measure it. Decides nothing."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

Step = Literal["batch", "sync", "commit"]
"""Taking a batch in; of it, making its file durable, and committing it in the catalog."""


@dataclass(frozen=True)
class Taken:
    """A batch that was taken in: of how many requests, their bytes, and what became of the records."""

    request_count: int
    bytes: int
    accepted: int
    duplicates: int
    refused: int


class Observer:
    """Told what a publisher does. This one keeps nothing of it."""

    def timed(self, _step: str) -> AbstractContextManager[object]:
        """What a step is done within."""
        return nullcontext()

    def taken(self, _taken: Taken) -> None:
        """A batch was taken in."""
