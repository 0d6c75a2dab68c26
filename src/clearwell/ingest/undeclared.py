"""What is kept of properties that no event type declares: JSON that every reader can read back, and nothing else.

Looks closely, row by row, only at the texts that are suspect: with very many brackets, or with what may be NaN.
"""

from __future__ import annotations

import json
import re
from typing import NoReturn

import polars as pl

DEEPEST = 64
"""Levels of nesting that a record may have. Readers of JSON fail, each at its own depth, on what is far deeper."""

EXPECTED = f"JSON of at most {DEEPEST} levels, without NaN and Infinity"

_BRACKETS = r"[\[{]"
_NOT_FINITE = r"(?i)[:\[,]\s*-?(nan|inf)"
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NOT_BRACKET = re.compile(r"[^\[\]{}]+")


def not_kept(texts: pl.DataFrame) -> tuple[list[int], list[str]]:
    """The `position` of each JSON `text` that cannot be kept, and what was found there."""
    many = pl.col("text").str.count_matches(_BRACKETS) > DEEPEST
    suspects = texts.filter(many | pl.col("text").str.contains(_NOT_FINITE))
    found = {position: _fault(text) for position, text in suspects.select("position", "text").iter_rows()}
    faults = {position: fault for position, fault in found.items() if fault}
    return list(faults), list(faults.values())


def _fault(text: str) -> str:
    """What makes the text unfit, or nothing."""
    if _is_deep(text):
        return "deeper nesting"
    try:
        json.loads(text, parse_constant=_refuse)
    except ValueError:
        return "NaN or Infinity"
    return ""


def _is_deep(text: str) -> bool:
    level = 0
    for bracket in _NOT_BRACKET.sub("", _STRING.sub("", text)):
        level += 1 if bracket in "[{" else -1
        if level > DEEPEST:
            return True
    return False


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
