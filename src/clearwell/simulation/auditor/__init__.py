"""The auditor: every figure of the books by the slowest obvious way, to hold the product against.

Plain loops over plain records. It imports only `values` and `flows`, so that it shares no code, and no mistake, with
what it judges. `Audit` is told what producers tell; its `books` at a cut have the figures, `trace` the stories, and
`quality_rows` the metrics, of which each has a module.
"""

from __future__ import annotations

from clearwell.simulation.auditor.arrivals import arrived, local_days
from clearwell.simulation.auditor.audit import Audit, Fate, ModelPeriod, Segment
from clearwell.simulation.auditor.books import AcceptedWindow, Books, Episode, Row
from clearwell.simulation.auditor.clearing import aging_rows, clearing_rows
from clearwell.simulation.auditor.completeness import Claim, Completeness, ProducerRecord, completeness_of
from clearwell.simulation.auditor.events import Account, Entry, Event, Recorded, post, read_event
from clearwell.simulation.auditor.periods import ALL_TIME, Period, period_of, periods_between
from clearwell.simulation.auditor.quality import quality_rows
from clearwell.simulation.auditor.score import Finding, explained_rows, findings, node_rows
from clearwell.simulation.auditor.timeliness import lags, moved, quantile, timeliness_rows
from clearwell.simulation.auditor.tracing import trace

__all__ = [
    "ALL_TIME",
    "AcceptedWindow",
    "Account",
    "Audit",
    "Books",
    "Claim",
    "Completeness",
    "Entry",
    "Episode",
    "Event",
    "Fate",
    "Finding",
    "ModelPeriod",
    "Period",
    "ProducerRecord",
    "Recorded",
    "Row",
    "Segment",
    "aging_rows",
    "arrived",
    "clearing_rows",
    "completeness_of",
    "explained_rows",
    "findings",
    "lags",
    "local_days",
    "moved",
    "node_rows",
    "period_of",
    "periods_between",
    "post",
    "quality_rows",
    "quantile",
    "read_event",
    "timeliness_rows",
    "trace",
]
