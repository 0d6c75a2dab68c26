"""Problems of flow files as values: where, what about, what was expected and what was found.

The codes are a closed list. A problem is reported, never raised.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

Severity = Literal["error", "warning"]

PROBLEM_CODES: Mapping[str, str] = MappingProxyType(
    {
        "file_too_large": "A flow file is larger than the limit.",
        "yaml_invalid": "A flow file is not YAML, or uses a feature the flow language refuses.",
        "key_repeated": "A mapping holds the same key twice.",
        "field_unknown": "A mapping holds a key the flow language does not know there.",
        "field_missing": "A mapping lacks a key that must be there.",
        "value_invalid": "A value has the wrong shape or is none of the allowed ones.",
        "name_invalid": "A name does not have the form of a name.",
        "name_reserved": "A name has a meaning in the flow language already.",
        "property_declared_twice": "A list of properties holds the same name twice.",
        "duration_invalid": "A duration cannot be understood, or its calendar is missing or out of place.",
        "calendar_unknown": "No calendar of business days has this code.",
        "clears_within_missing": "A clearing account type has no clearing window.",
        "clears_within_forbidden": "A reservoir account type has a clearing window or a calendar.",
        "flow_declared_twice": "Two files declare the same flow.",
        "account_owned_twice": "Two flows declare the same account type.",
        "event_declared_twice": "Two flows declare the same event type.",
        "account_unknown": "A move names an account type that no flow declares.",
        "property_unknown": "A move maps a property that the account type does not have.",
        "property_unsupplied": "An event type's closed list of properties lacks one that its moves need.",
        "personal_subject_invalid": "A personal property's subject is no other property in clear of its event type.",
        "personal_property_in_account": "A personal property gives an account its name, which outlives erasure.",
        "personal_property_in_clear": "A property is personal in one event type and in clear in another.",
        "amount_moved_nowhere": "An event type declares an amount that none of its moves moves.",
        "move_to_itself": "A move goes from an account to the very same account.",
        "clearing_account_never_filled": "No move goes to a clearing account type.",
        "clearing_account_never_drained": "No move goes from a clearing account type.",
        "account_unused": "No move touches a reservoir account type (a warning).",
    }
)
"""Every code a `Problem` can have, with the statement it makes."""


@dataclass(frozen=True, order=True)
class Problem:
    """One problem of one flow file; problems sort by file and line. `line` counts from 1."""

    file: str
    line: int
    code: str
    subject: str
    expected: str
    found: str
    severity: Severity = "error"

    def __post_init__(self) -> None:
        if self.code not in PROBLEM_CODES:
            raise AssertionError(f"problem code {self.code!r} is not in PROBLEM_CODES")

    def __str__(self) -> str:
        warning = "warning: " if self.severity == "warning" else ""
        place = f"{self.file}:{self.line}"
        return f"{place}: {warning}{self.subject}: expected {self.expected}, found {self.found}"


@dataclass(frozen=True)
class Reporter:
    """Collects the problems of one file."""

    file: str
    problems: list[Problem] = field(default_factory=list)

    def error(self, line: int, code: str, subject: str, expected: str, found: str) -> None:
        """Add a problem that prevents the model from being used."""
        self.problems.append(Problem(self.file, line, code, subject, expected, found))


def quoted(value: str, candidates: Iterable[str] = ()) -> str:
    """Return the value as a message quotes it, shortened, with the nearest candidate when one is near."""
    shown = repr(value if len(value) <= 80 else value[:77] + "...")
    near = difflib.get_close_matches(value[:100], list(candidates), n=1, cutoff=0.7)
    return f"{shown} (did you mean '{near[0]}'?)" if near else shown
