"""The cut: the pair of times at which something is evaluated, "the books up to X as known at Y"."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Cut:
    """Entries with `effective_at` up to `effective_at`, recorded with a sequence up to `sequence`, count.

    `recorded_at` is the system time that `sequence` stands for: what was the newest thing known then. Asking for
    the same cut again gives the same figures, for ever.
    """

    effective_at: datetime
    recorded_at: datetime
    sequence: int
