"""What a question is asked with, as text: the same on the command line and over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from clearwell.errors import UsageError
from clearwell.values.durations import FixedDuration, parse_duration
from clearwell.values.instants import parse_cut_instant


def pairs(texts: Sequence[str] | None, option: str) -> dict[str, str]:
    """`NAME=VALUE` texts as a mapping. Raises UsageError for a text that is none, and for a repeated name."""
    found: dict[str, str] = {}
    for text in texts or ():
        name, sign, value = text.partition("=")
        if not (name and sign and value):
            message = f"{option}: expected NAME=VALUE such as charge=ch_1, found {text!r}"
            raise UsageError("property_unreadable", message)
        if name in found:
            message = f"{option}: expected each NAME once, found {name} again in {text!r}"
            raise UsageError("property_unreadable", message)
        found[name] = value
    return found


def instant_of(text: str, option: str) -> datetime | None:
    """The instant or day that `text` says; None when it is empty. Raises UsageError when it is neither."""
    try:
        return parse_cut_instant(text) if text else None
    except ValueError as error:
        raise UsageError("instant_unreadable", f"{option}: {error}") from error


def seconds_of(text: str, option: str) -> int | None:
    """The seconds of a fixed duration such as `3 days`; None when `text` is empty. Raises UsageError for another."""
    try:
        duration = parse_duration(text) if text else None
    except ValueError as error:
        raise UsageError("duration_unreadable", f"{option}: {error}") from error
    if duration is None:
        return None
    if not isinstance(duration, FixedDuration):
        message = f"{option}: expected a fixed duration such as '3 days', found {text!r}"
        raise UsageError("duration_unreadable", message)
    return duration.seconds
