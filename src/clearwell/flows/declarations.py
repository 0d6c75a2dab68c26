"""Reads one flow file into what it declares: account types, and event types whose moves still name accounts.

Everything that can be said from one file alone is reported here. After a problem it goes on with a stand-in
value, so that one mistake gives one problem; the caller must not use declarations of a file with errors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from clearwell.flows.document import Entry, Items, Node, Table, Text, describe, read_document
from clearwell.flows.model import AccountKind, AccountType, PropertyValue
from clearwell.flows.problems import Reporter, quoted
from clearwell.values.accounts import SEPARATOR
from clearwell.values.durations import ClearingWindow, FixedDuration, parse_duration

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_EVENT_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}(?:\.[a-z][a-z0-9_]{0,62})*")
_PRODUCER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_NAME_FORM = "a name of at most 63 small letters, digits and underscores that begins with a letter"
_EVENT_NAME_FORM = "a name such as 'charge.creation': names joined by dots"
_PRODUCER_FORM = "a producer of at most 63 letters, digits, dots, dashes and underscores"
_KINDS = ("clearing", "reservoir")
_LONGEST_TEXT = 10_000
_LONGEST_CONSTANT = 255

_RESERVED_ACCOUNT_PROPERTY = "account"
"""In the mapping form of `from` and `to` this key names the account type, so no property can have it."""


@dataclass(frozen=True)
class Endpoint:
    """One side of a move as written; `mapped` holds the mapped account properties with their lines."""

    account_type: str
    mapped: Mapping[str, tuple[int, PropertyValue]]
    line: int


@dataclass(frozen=True)
class MoveDeclaration:
    """A move as written."""

    amount: str
    source: Endpoint
    destination: Endpoint
    line: int


@dataclass(frozen=True)
class PersonalDeclaration:
    """A property that is said to be personal; `subject` is None when the value is its own."""

    name: str
    subject: str | None
    line: int


@dataclass(frozen=True)
class EventDeclaration:
    """An event type as written; `properties` is None when the list is left open."""

    name: str
    producer: str
    arrives_within: FixedDuration | None
    properties: tuple[str, ...] | None
    personal: tuple[PersonalDeclaration, ...]
    signed: Mapping[str, tuple[int, bool]]
    moves: tuple[MoveDeclaration, ...]
    description: str
    line: int


@dataclass(frozen=True)
class FlowDeclaration:
    """A flow file as written."""

    name: str
    owner: str
    description: str
    file: str
    line: int
    text: str
    accounts: tuple[AccountType, ...]
    events: tuple[EventDeclaration, ...]


def read_flow(text: str, reporter: Reporter) -> FlowDeclaration | None:
    """Return what the flow file declares, or None when it is no YAML mapping; problems are reported."""
    document = read_document(text, reporter)
    if document is None:
        return None
    section = _Section(document, "flow", reporter)
    section.allow("flow", "owner", "description", "accounts", "events")
    name = section.name("flow")
    section.subject = f"flow {name}" if name else "flow"
    owner = section.text("owner", required=True)
    accounts = [_read_account(key, entry, (name, owner), reporter) for key, entry in section.table("accounts").items()]
    events = [_read_event(key, entry, reporter) for key, entry in section.table("events").items()]
    return FlowDeclaration(
        name=name,
        owner=owner,
        description=section.text("description"),
        file=reporter.file,
        line=section.line("flow"),
        text=text,
        accounts=tuple(accounts),
        events=tuple(event for event in events if event is not None),
    )


class _Section:
    """One mapping of a flow file, read field by field; `subject` says in problems what it describes."""

    def __init__(self, node: Node, subject: str, reporter: Reporter) -> None:
        self.subject, self.reporter = subject, reporter
        self.start = node.line
        self.entries: Mapping[str, Entry] = node.entries if isinstance(node, Table) else {}
        self.readable = isinstance(node, Table)
        if not self.readable:
            self.error(node.line, "value_invalid", "a mapping", describe(node))

    def error(self, line: int, code: str, expected: str, found: str) -> None:
        self.reporter.error(line, code, self.subject, expected, found)

    def line(self, field: str) -> int:
        entry = self.entries.get(field)
        return entry.value.line if entry else self.start

    def allow(self, *fields: str) -> None:
        """Report the keys that are none of `fields`."""
        for key, entry in self.entries.items():
            if key not in fields:
                self.error(entry.line, "field_unknown", f"one of {', '.join(fields)}", quoted(key, fields))

    def get(self, field: str, required: bool = False) -> Node | None:
        """Return the value of a field; a null counts as absent."""
        entry = self.entries.get(field)
        if entry is not None and not (isinstance(entry.value, Text) and entry.value.is_null):
            return entry.value
        if required and self.readable:
            line = entry.line if entry else self.start
            self.error(line, "field_missing", f"the field '{field}'", "nothing")
        return None

    def text(self, field: str, required: bool = False) -> str:
        """Return a text that is not blank, or the empty one."""
        node = self.get(field, required)
        if node is None:
            return ""
        if not isinstance(node, Text) or not node.value.strip() or len(node.value) > _LONGEST_TEXT:
            self.error(node.line, "value_invalid", f"a text of at most {_LONGEST_TEXT} characters", describe(node))
            return ""
        return node.value.strip()

    def name(self, field: str) -> str:
        """Return a required name, or the empty text."""
        node = self.get(field, required=True)
        return "" if node is None else self.checked(node)

    def checked(self, node: Node, form: re.Pattern[str] = _NAME, expected: str = _NAME_FORM) -> str:
        """Return the node's text when it has the form, else the empty text."""
        if isinstance(node, Text) and form.fullmatch(node.value):
            return node.value
        self.error(node.line, "name_invalid", expected, describe(node))
        return ""

    def names(self, field: str) -> tuple[str, ...] | None:
        """Return a list of different names, or None when the field is absent."""
        node = self.get(field)
        if node is None:
            return None
        if not isinstance(node, Items):
            self.error(node.line, "value_invalid", f"a list of names under '{field}'", describe(node))
            return ()
        names: list[str] = []
        for item in node.items:
            name = self.checked(item)
            if name in names:
                self.error(item.line, "property_declared_twice", "each property once", f"{quoted(name)} again")
            elif name:
                names.append(name)
        return tuple(names)

    def truth(self, field: str) -> bool:
        """Return whether the field is true; absent counts as false."""
        node = self.get(field)
        if node is None or (isinstance(node, Text) and node.plain and node.value in {"true", "false"}):
            return node is not None and node.value == "true"
        self.error(node.line, "value_invalid", f"'{field}: true' or '{field}: false'", describe(node))
        return False

    def table(self, field: str) -> Mapping[str, Entry]:
        """Return the entries of a mapping, empty when the field is absent."""
        node = self.get(field)
        if node is None or isinstance(node, Table):
            return node.entries if node else {}
        self.error(node.line, "value_invalid", f"a mapping under '{field}'", describe(node))
        return {}


def _subject(noun: str, key: str) -> str:
    """Return what a problem is about; a key that is no name may hold anything, so it is quoted."""
    return f"{noun} {key if _EVENT_NAME.fullmatch(key) and len(key) <= 200 else quoted(key)}"


def _read_account(key: str, entry: Entry, flow_and_owner: tuple[str, str], reporter: Reporter) -> AccountType:
    section = _Section(entry.value, _subject("account", key), reporter)
    section.start = entry.line
    section.checked(Text(key, entry.line, True))
    section.allow("kind", "properties", "clears_within", "calendar", "owner")
    kind = section.get("kind", required=True)
    known_kind = isinstance(kind, Text) and kind.value in _KINDS
    if kind is not None and not known_kind:
        found = quoted(kind.value, _KINDS) if isinstance(kind, Text) else describe(kind)
        section.error(kind.line, "value_invalid", "the kind 'clearing' or 'reservoir'", found)
    properties = section.names("properties") or ()
    if _RESERVED_ACCOUNT_PROPERTY in properties:
        expected = "a property with another name than 'account', which names the account type in a move"
        section.error(section.line("properties"), "name_reserved", expected, quoted(_RESERVED_ACCOUNT_PROPERTY))
    decided: AccountKind = "clearing" if isinstance(kind, Text) and kind.value == "clearing" else "reservoir"
    flow, owner = flow_and_owner
    return AccountType(
        name=key,
        flow=flow,
        owner=section.text("owner") or owner,
        kind=decided,
        properties=properties,
        clears_within=_read_window(section, decided) if known_kind else None,
        file=reporter.file,
        line=entry.line,
    )


def _read_window(section: _Section, kind: AccountKind) -> ClearingWindow | None:
    window, calendar = section.get("clears_within"), section.get("calendar")
    if kind == "reservoir":
        for field, node in (("clears_within", window), ("calendar", calendar)):
            if node is not None:
                expected = f"no '{field}' on a reservoir, which need not clear"
                section.error(node.line, "clears_within_forbidden", expected, describe(node))
        return None
    if window is None:
        expected = "'clears_within' on a clearing account type, such as '10 minutes' or 'learned'"
        section.error(section.start, "clears_within_missing", expected, "nothing")
        return None
    if calendar is not None and not isinstance(calendar, Text):
        section.error(calendar.line, "value_invalid", "the code of a calendar", describe(calendar))
        return None
    return _parse_window(section, window, calendar)


def _parse_window(section: _Section, window: Node, calendar: Text | None) -> ClearingWindow | None:
    parsed = _read_duration(section, window, calendar.value if calendar else None)
    if calendar is None or parsed is None:
        return parsed
    # The calendars bring in a large library, so it waits until a flow really uses one.
    from clearwell.values.calendars import known_calendar

    if not known_calendar(calendar.value):
        expected = "the code of a country such as 'BR', or of one of its subdivisions such as 'US-NY'"
        section.error(calendar.line, "calendar_unknown", expected, quoted(calendar.value))
        return None
    return parsed


def _read_duration(section: _Section, node: Node, calendar: str | None = None) -> ClearingWindow | None:
    if not isinstance(node, Text):
        section.error(node.line, "duration_invalid", "a duration such as '10 minutes'", describe(node))
        return None
    try:
        return parse_duration(node.value, calendar)
    except ValueError as error:
        expected, _, found = str(error).removeprefix("expected ").rpartition(", found ")
        section.error(node.line, "duration_invalid", expected, found)
        return None


def _read_event(key: str, entry: Entry, reporter: Reporter) -> EventDeclaration | None:
    section = _Section(entry.value, _subject("event", key), reporter)
    section.start = entry.line
    section.checked(Text(key, entry.line, True), _EVENT_NAME, _EVENT_NAME_FORM)
    section.allow("producer", "arrives_within", "properties", "amounts", "moves", "description")
    producer = section.get("producer", required=True)
    arrives_within = section.get("arrives_within")
    deadline = None if arrives_within is None else _read_duration(section, arrives_within)
    if deadline is not None and not isinstance(deadline, FixedDuration):
        expected = "a deadline of fixed length such as '5 minutes'"
        section.error(section.line("arrives_within"), "duration_invalid", expected, quoted(str(deadline)))
        deadline = None
    properties, personal = _read_properties(section)
    return EventDeclaration(
        name=key,
        producer=section.checked(producer, _PRODUCER, _PRODUCER_FORM) if producer else "",
        arrives_within=deadline,
        properties=properties,
        personal=personal,
        signed={
            name: (entry.line, _read_signed(section, name, entry)) for name, entry in section.table("amounts").items()
        },
        moves=_read_moves(section),
        description=section.text("description"),
        line=entry.line,
    )


def _read_signed(event: _Section, name: str, entry: Entry) -> bool:
    event.checked(Text(name, entry.line, True))
    if isinstance(entry.value, Text) and entry.value.is_null:
        return False
    section = _Section(entry.value, event.subject, event.reporter)
    section.allow("signed")
    return section.truth("signed")


def _read_properties(event: _Section) -> tuple[tuple[str, ...] | None, tuple[PersonalDeclaration, ...]]:
    """Read a list of names, or a mapping from names to what is said of each: all names, and the personal ones."""
    if not isinstance(event.get("properties"), Table):
        return event.names("properties"), ()
    entries = event.table("properties")
    personal = [_read_property(event, name, entry) for name, entry in entries.items()]
    return tuple(entries), tuple(item for item in personal if item is not None)


def _read_property(event: _Section, name: str, entry: Entry) -> PersonalDeclaration | None:
    event.checked(Text(name, entry.line, True))
    if isinstance(entry.value, Text) and entry.value.is_null:
        return None
    section = _Section(entry.value, event.subject, event.reporter)
    section.allow("personal", "subject")
    subject = section.name("subject") if section.get("subject") else None
    if section.truth("personal"):
        return PersonalDeclaration(name, subject, entry.line)
    if subject is not None:
        expected = f"a subject only beside 'personal: true' of the property '{name}'"
        section.error(section.line("subject"), "value_invalid", expected, quoted(subject))
    return None


def _read_moves(event: _Section) -> tuple[MoveDeclaration, ...]:
    node = event.get("moves", required=True)
    if node is None:
        return ()
    if not isinstance(node, Items) or not node.items:
        found = "an empty list" if isinstance(node, Items) else describe(node)
        event.error(node.line, "value_invalid", "a list of one or more moves", found)
        return ()
    moves = []
    for item in node.items:
        section = _Section(item, event.subject, event.reporter)
        section.allow("amount", "from", "to")
        if section.readable:
            amount = section.name("amount")
            source, destination = _read_endpoint(section, "from"), _read_endpoint(section, "to")
            if amount and source and destination:
                moves.append(MoveDeclaration(amount, source, destination, item.line))
    return tuple(moves)


def _read_endpoint(move: _Section, field: str) -> Endpoint | None:
    node = move.get(field, required=True)
    if node is None:
        return None
    if isinstance(node, Text):
        name = move.checked(node)
        return Endpoint(name, MappingProxyType({}), node.line) if name else None
    section = _Section(node, move.subject, move.reporter)
    if not section.readable:
        return None
    name = section.name("account")
    mapped = {
        key: (entry.line, _read_value(section, key, entry.value))
        for key, entry in section.entries.items()
        if key != "account"
    }
    return Endpoint(name, mapped, section.line("account")) if name else None


def _read_value(section: _Section, account_property: str, node: Node) -> PropertyValue:
    """Read `EVENT_PROPERTY` or `{constant: VALUE}`."""
    if not isinstance(node, Table):
        return PropertyValue("property", section.checked(node))
    inner = _Section(node, section.subject, section.reporter)
    inner.allow("constant")
    constant = inner.get("constant", required=True)
    if constant is None:
        return PropertyValue("constant", "")
    if (
        not isinstance(constant, Text)
        or not 0 < len(constant.value) <= _LONGEST_CONSTANT
        or SEPARATOR in constant.value
    ):
        expected = f"a constant text of 1 to {_LONGEST_CONSTANT} characters for '{account_property}'"
        inner.error(constant.line, "value_invalid", expected, describe(constant))
        return PropertyValue("constant", "")
    return PropertyValue("constant", constant.value)
