"""The auditor: every figure of the books by the slowest obvious way, to hold the product against.

Plain loops over plain records. It imports only `values` and `flows`, so that it shares no code, and no mistake, with
what it judges. `Audit` is told what producers tell; its `books` at a cut have the figures, and `trace` the stories.
"""

from __future__ import annotations

from clearwell.simulation.auditor.audit import Audit, Fate, Period, Segment
from clearwell.simulation.auditor.books import Books, Episode, Row
from clearwell.simulation.auditor.events import Account, Entry, Event, Recorded, post, read_event
from clearwell.simulation.auditor.tracing import trace

__all__ = [
    "Account",
    "Audit",
    "Books",
    "Entry",
    "Episode",
    "Event",
    "Fate",
    "Period",
    "Recorded",
    "Row",
    "Segment",
    "post",
    "read_event",
    "trace",
]
