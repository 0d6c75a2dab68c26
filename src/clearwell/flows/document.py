"""Reads the YAML of one flow file into a tree that knows its lines.

Every scalar stays the text it was written as (`NO` is Norway, not false). Refused: anchors, aliases, tags,
merge keys, repeated keys, several documents, deep nesting and large files, so no file can grow when read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)

from clearwell.flows.problems import Reporter, quoted

LARGEST_FILE_BYTES = 1_048_576
_DEEPEST = 12


@dataclass(frozen=True)
class Text:
    """A scalar as written; `plain` when it was not in quotes."""

    value: str
    line: int
    plain: bool

    @property
    def is_null(self) -> bool:
        """Whether YAML means nothing by it."""
        return self.plain and self.value in {"", "~", "null"}


@dataclass(frozen=True)
class Items:
    """A sequence."""

    items: tuple[Node, ...]
    line: int


@dataclass(frozen=True)
class Table:
    """A mapping; the line is that of its first key."""

    entries: Mapping[str, Entry]
    line: int


@dataclass(frozen=True)
class Entry:
    """A value of a mapping, with the line of its key."""

    line: int
    value: Node


Node = Text | Items | Table


class _RefusedError(Exception):
    def __init__(self, line: int, expected: str, found: str) -> None:
        super().__init__(expected)
        self.line, self.expected, self.found = line, expected, found


def read_document(text: str, reporter: Reporter) -> Table | None:
    """Return the file's mapping, or None after reporting why there is none."""
    if len(text) > LARGEST_FILE_BYTES or len(text.encode(errors="replace")) > LARGEST_FILE_BYTES:
        expected = f"a file of at most {LARGEST_FILE_BYTES} bytes"
        reporter.error(1, "file_too_large", "file", expected, f"{len(text)} characters")
        return None
    try:
        node = _read_only_document(YAML(typ="safe", pure=True).parse(text), reporter)
    except _RefusedError as refused:
        reporter.error(refused.line, "yaml_invalid", "file", refused.expected, refused.found)
        return None
    except MarkedYAMLError as error:
        _report_syntax(error, reporter)
        return None
    except (YAMLError, ValueError, OverflowError) as error:  # The library fails so on an escape out of range.
        reporter.error(1, "yaml_invalid", "file", "YAML that can be read", quoted(str(error)))
        return None
    if not isinstance(node, Table):
        line = node.line if node else 1
        reporter.error(line, "yaml_invalid", "file", "a mapping that begins with 'flow'", describe(node))
        return None
    return node


def describe(node: Node | None) -> str:
    """Return what a node is, for a message."""
    if isinstance(node, Items):
        return "a list"
    if isinstance(node, Table):
        return "a mapping"
    return "nothing" if node is None or node.is_null else quoted(node.value)


def _report_syntax(error: MarkedYAMLError, reporter: Reporter) -> None:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    found = f"a mistake: {error.problem or error.context}"
    if error.context and error.context_mark and error.context_mark.line + 1 != line:
        found += f" ({error.context} that begins at line {error.context_mark.line + 1})"
    reporter.error(line, "yaml_invalid", "file", "YAML that can be read", found)


def _read_only_document(events: Iterator[Any], reporter: Reporter) -> Node | None:
    node: Node | None = None
    documents = 0
    for event in events:
        match event:
            case StreamStartEvent() | StreamEndEvent() | DocumentEndEvent():
                pass
            case DocumentStartEvent():
                documents += 1
                if documents > 1:
                    raise _RefusedError(_line(event), "one document per file", "another one")
            case _:
                node = _read_node(event, events, reporter, 0)
    return node


def _read_node(event: Any, events: Iterator[Any], reporter: Reporter, depth: int) -> Node:
    line = _line(event)
    if isinstance(event, AliasEvent) or event.anchor is not None:
        kind = "alias *" if isinstance(event, AliasEvent) else "anchor &"
        raise _RefusedError(line, "every value written out", f"the {kind}{event.anchor}")
    if event.tag is not None:
        raise _RefusedError(line, "values without YAML tags", quoted(str(event.tag)))
    if depth > _DEEPEST:
        raise _RefusedError(line, f"at most {_DEEPEST} levels", "deeper nesting")
    match event:
        case ScalarEvent():
            if any("\ud800" <= character <= "\udfff" for character in event.value):
                raise _RefusedError(line, "text", "half a character (a lone surrogate)")
            return Text(event.value, line, event.style is None)
        case SequenceStartEvent():
            items = []
            while not isinstance(item := next(events), SequenceEndEvent):
                items.append(_read_node(item, events, reporter, depth + 1))
            return Items(tuple(items), line)
        case MappingStartEvent():
            return _read_table(line, events, reporter, depth)
        case _:
            raise AssertionError(f"YAML event {event!r} where a value begins")


def _read_table(line: int, events: Iterator[Any], reporter: Reporter, depth: int) -> Table:
    entries: dict[str, Entry] = {}
    while not isinstance(event := next(events), MappingEndEvent):
        key = _read_node(event, events, reporter, depth + 1)
        if not isinstance(key, Text) or key.is_null or (key.plain and key.value == "<<"):
            raise _RefusedError(key.line, "a name as the key of a mapping", describe(key))
        value = _read_node(next(events), events, reporter, depth + 1)
        if key.value in entries:
            first = entries[key.value].line
            found = f"{quoted(key.value)} again, after line {first}"
            reporter.error(key.line, "key_repeated", "file", "each key once in a mapping", found)
        else:
            entries[key.value] = Entry(key.line, value)
    return Table(entries, line)


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1
