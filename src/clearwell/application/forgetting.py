"""Forgetting a subject: its key is destroyed, and what quarantine holds of it in clear is erased.

The log is not touched: balances, chain and proofs stay as they are. Nothing here can be undone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from clearwell.application.auditing import note_after
from clearwell.application.workspace import Workspace
from clearwell.catalog import quarantine
from clearwell.catalog.keys import KeyState
from clearwell.errors import StorageError, UsageError
from clearwell.ledger.doubts import PROPERTY_BYTES
from clearwell.values.encrypted import Unreadable
from clearwell.values.times import stored_text


@dataclass(frozen=True)
class Forgotten:
    """What was done: to the key, and to how many records in quarantine.

    `in_clear` are the personal properties that events from before they were personal keep in clear.
    """

    subject: str
    key: KeyState
    quarantined: int
    in_clear: tuple[str, ...]


def key_state(workspace: Workspace, subject: str) -> KeyState:
    """What is known of a subject now; makes no file. Raises UsageError for a text that names nobody."""
    _require_subject(subject)
    if not workspace.has_keys:
        return KeyState.NEVER_SEEN
    key = workspace.keys.of_subject(subject)
    if key is None:
        return KeyState.NEVER_SEEN
    return KeyState.DESTROYED_BEFORE if key is Unreadable.ERASED else KeyState.KEPT


def forget(workspace: Workspace, subject: str) -> Forgotten:
    """Destroy the key of a subject, and erase the records in quarantine that name it. Can be repeated.

    A subject that was never seen is remembered, so that nothing personal of it is kept later. Raises UsageError for a
    text that names nobody, StorageError (`erasure_incomplete`) while another process keeps old pages alive: then the
    same call does the rest.
    """
    _require_subject(subject)
    now = stored_text(workspace.clock())
    state = workspace.keys.forget(subject, now)
    count = _erase_quarantined(workspace, subject, now) if workspace.has_ledger else 0
    # Not who: the audit would remember what is to be forgotten.
    note_after(workspace, "subject.forget", key=state.value, quarantined=count)
    return Forgotten(subject, state, count, _kept_in_clear(workspace))


def _require_subject(subject: str) -> None:
    if not 0 < len(subject.encode()) <= PROPERTY_BYTES:
        expected = f"the value that names the subject, 1 to {PROPERTY_BYTES} bytes"
        raise UsageError("subject_invalid", f"expected {expected}, found {len(subject.encode())} bytes")


def _erase_quarantined(workspace: Workspace, subject: str, now: str) -> int:
    catalog = workspace.catalog
    with catalog.read() as connection:
        kept = quarantine.not_erased(connection)
        numbers = [item.number for item in kept if names_subject(item.record, subject)]
    if numbers:
        with catalog.write() as connection:
            quarantine.erase(connection, numbers, now)
    with catalog.read() as connection:
        settled = quarantine.is_settled(connection)
    if not settled:
        if reason := catalog.settle():
            message = f"records in quarantine are erased, but the catalog may still hold them ({reason})"
            raise StorageError("erasure_incomplete", f"{message}: try again")
        with catalog.write() as connection:
            quarantine.mark_settled(connection)
    return len(numbers)


def names_subject(record: bytes, subject: str) -> bool:
    """Whether a text of the record is the subject; in one that is no JSON, whether the subject is a word of it."""
    if subject.encode() not in record and b"\\" not in record:
        return False
    try:
        content = json.loads(record, parse_int=str, parse_float=str)
        if isinstance(content, dict):
            content.pop("amounts", None)  # Its numbers are money.
        return subject in _texts(content)
    except (ValueError, RecursionError):
        words = rf"(?<!\w){re.escape(subject)}(?!\w)"
        return re.search(words, record.decode("utf-8", errors="replace")) is not None


def _texts(content: object) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, (list, dict)):
        for item in content.values() if isinstance(content, dict) else content:
            yield from _texts(item)


def _kept_in_clear(workspace: Workspace) -> tuple[str, ...]:
    """The properties that are personal in one model of the project, and were declared in clear in another."""
    models = workspace.known_models().values() if workspace.has_ledger else []
    personal = {name for model in models for name in model.personal_names}
    in_clear = {name for model in models for name in model.property_names if name not in model.personal_names}
    return tuple(sorted(personal & in_clear))
