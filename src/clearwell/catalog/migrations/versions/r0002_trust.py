"""The log under faults: imported segments, compactions, seals, and the writer's lease."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_KEPT = (
    "number, first_sequence, last_sequence, event_count, entry_count, recorded_at, first_effective_at, "
    "last_effective_at, moved, model_version, file_name, file_bytes, file_sha256, previous_hash, hash"
)


def upgrade() -> None:
    """Give segments their new columns (rows that are there have format 1), and create the new tables."""
    _segments("segments_2")
    op.execute(f"INSERT INTO segments_2 SELECT {_KEPT}, 1, recorded_at, false FROM segments")
    op.drop_table("segments")
    op.rename_table("segments_2", "segments")
    op.create_table(
        "compactions",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("first_segment", sa.Integer, nullable=False),
        sa.Column("last_segment", sa.Integer, nullable=False),
        sa.Column("event_count", sa.BigInteger, nullable=False),
        sa.Column("file_name", sa.String(255), nullable=False),
        sa.Column("file_bytes", sa.BigInteger, nullable=False),
        sa.Column("file_sha256", sa.String(64), nullable=False),
        sa.Column("compacted_at", sa.String(32), nullable=False),
    )
    op.create_table(
        "seals",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("tree_size", sa.BigInteger, nullable=False, unique=True),
        sa.Column("root", sa.String(64), nullable=False),
        sa.Column("frontier", sa.Text, nullable=False),
        sa.Column("segment_number", sa.Integer, nullable=False),
        sa.Column("segment_hash", sa.String(64), nullable=False),
        sa.Column("sealed_at", sa.String(32), nullable=False),
        sa.Column("previous_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("hash", sa.String(64), nullable=False, unique=True),
    )
    op.create_table(
        "tree_blocks",
        sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )
    op.create_table(
        "writer_lease",
        sa.Column("fencing_number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("holder", sa.String(255), nullable=False),
        sa.Column("expires_at", sa.String(32), nullable=False),
    )


def _segments(name: str) -> None:
    op.create_table(
        name,
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("first_sequence", sa.BigInteger, nullable=False, unique=True),
        sa.Column("last_sequence", sa.BigInteger, nullable=False, unique=True),
        sa.Column("event_count", sa.BigInteger, nullable=False),
        sa.Column("entry_count", sa.BigInteger, nullable=False),
        sa.Column("recorded_at", sa.String(32), nullable=False),
        sa.Column("first_effective_at", sa.String(32), nullable=False),
        sa.Column("last_effective_at", sa.String(32), nullable=False),
        sa.Column("moved", sa.Text, nullable=False),
        sa.Column("model_version", sa.String(64), nullable=False),
        sa.Column("file_name", sa.String(255), nullable=False, unique=True),
        sa.Column("file_bytes", sa.BigInteger, nullable=False),
        sa.Column("file_sha256", sa.String(64), nullable=False),
        sa.Column("previous_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("hash", sa.String(64), nullable=False, unique=True),
        sa.Column("format", sa.Integer, nullable=False),
        sa.Column("first_recorded_at", sa.String(32), nullable=False),
        sa.Column("imported", sa.Boolean, nullable=False),
    )
