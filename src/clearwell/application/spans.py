"""OpenTelemetry spans of what a service does: of requests, batches, commits and folds, each linked to those before it.

Only the API of OpenTelemetry is used: where nobody has set up an SDK, a span is nothing, and costs as much.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager

from opentelemetry import trace
from opentelemetry.trace import Link, Span, SpanContext

_tracer = trace.get_tracer("clearwell")


def here() -> SpanContext | None:
    """The span that this thread or task is in, to be linked to later; None when there is none."""
    found = trace.get_current_span().get_span_context()
    return found if found.is_valid else None


def span(name: str, after: Iterable[SpanContext | None] = ()) -> AbstractContextManager[Span]:
    """A span of this name, within the one that we are in, with links to those that it goes on from."""
    links = [Link(item) for item in {item.span_id: item for item in after if item is not None}.values()]
    return _tracer.start_as_current_span(f"clearwell.{name}", links=links)
