"""The models that were ever in force, with the text of their files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, delete, insert, select

from clearwell.catalog.tables import flow_texts, model_files, models


@dataclass(frozen=True)
class ModelPeriod:
    """A model came into force at `accepted_at` (ISO 8601, UTC), and stays so until the next period begins.

    `time_zone` is the one whose days count as business days meanwhile: it is part of what figures mean.
    """

    number: int
    version: str
    time_zone: str
    accepted_at: str


def model_periods(connection: Connection) -> list[ModelPeriod]:
    """Every period, oldest first."""
    rows = connection.execute(select(models).order_by(models.c.number)).mappings()
    return [ModelPeriod(**row) for row in rows]


def model_texts(connection: Connection, version: str) -> dict[str, str]:
    """File name to text of the model `version`; empty when it is not known."""
    statement = (
        select(model_files.c.file_name, flow_texts.c.text)
        .join(flow_texts, flow_texts.c.text_hash == model_files.c.text_hash)
        .where(model_files.c.version == version)
        .order_by(model_files.c.file_name)
    )
    return {name: text for name, text in connection.execute(statement)}  # noqa: C416  (Rows are no pairs to the types.)


def forget_periods(connection: Connection) -> None:
    """Take back every period. Only for a log without events: to them, periods are for ever."""
    connection.execute(delete(models))


def put_in_force(connection: Connection, period: ModelPeriod, texts: Mapping[str, str]) -> None:
    """Begin a period, keeping the model's texts when they are new."""
    if not model_texts(connection, period.version):
        for name, text in sorted(texts.items()):
            text_hash = hashlib.sha256(text.encode()).hexdigest()
            known = connection.execute(select(flow_texts.c.text_hash).where(flow_texts.c.text_hash == text_hash))
            if known.first() is None:
                connection.execute(insert(flow_texts), [{"text_hash": text_hash, "text": text}])
            connection.execute(
                insert(model_files), [{"version": period.version, "file_name": name, "text_hash": text_hash}]
            )
    connection.execute(insert(models), [asdict(period)])
