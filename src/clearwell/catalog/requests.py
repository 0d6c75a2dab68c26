"""Answers to requests that were published under a key, so that one sent again gets the answer it had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from clearwell.catalog.tables import publish_requests


@dataclass(frozen=True)
class Answer:
    """What was answered (JSON text) to the request of a key, and what tells that request from others."""

    key_hash: str
    body_hash: str
    answer: str


def answers(connection: Connection, key_hashes: Sequence[str]) -> dict[str, Answer]:
    """The answers that were given under these keys."""
    found: dict[str, Answer] = {}
    for start in range(0, len(key_hashes), 500):
        own = publish_requests.c.key_hash.in_(key_hashes[start : start + 500])
        columns = (publish_requests.c.key_hash, publish_requests.c.body_hash, publish_requests.c.answer)
        found |= {row[0]: Answer(*row) for row in connection.execute(select(*columns).where(own))}
    return found


def keep(connection: Connection, given: Sequence[Answer], recorded_at: str) -> None:
    """Keep answers, in the transaction that commits what they say."""
    if given:
        connection.execute(insert(publish_requests), [{**item.__dict__, "recorded_at": recorded_at} for item in given])


def forget_before(connection: Connection, recorded_at: str) -> int:
    """Remove the answers that are older; returns how many."""
    return connection.execute(delete(publish_requests).where(publish_requests.c.recorded_at < recorded_at)).rowcount
