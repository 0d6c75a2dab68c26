"""What verification finds: faults, as values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: a code, where it is, what was expected there, and what was found."""

    code: str
    where: str
    expected: str
    found: str
