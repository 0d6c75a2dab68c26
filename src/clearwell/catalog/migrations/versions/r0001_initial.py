"""The first catalog: manifest, models, quarantine."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of version 0001."""
    op.create_table(
        "segments",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("first_sequence", sa.BigInteger, nullable=False, unique=True),
        sa.Column("last_sequence", sa.BigInteger, nullable=False, unique=True),
        sa.Column("event_count", sa.BigInteger, nullable=False),
        sa.Column("entry_count", sa.BigInteger, nullable=False),
        sa.Column("recorded_at", sa.String(32), nullable=False, unique=True),
        sa.Column("first_effective_at", sa.String(32), nullable=False),
        sa.Column("last_effective_at", sa.String(32), nullable=False),
        sa.Column("moved", sa.Text, nullable=False),
        sa.Column("model_version", sa.String(64), nullable=False),
        sa.Column("file_name", sa.String(255), nullable=False, unique=True),
        sa.Column("file_bytes", sa.BigInteger, nullable=False),
        sa.Column("file_sha256", sa.String(64), nullable=False),
        sa.Column("previous_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("hash", sa.String(64), nullable=False, unique=True),
    )
    op.create_table(
        "models",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("time_zone", sa.String(64), nullable=False),
        sa.Column("accepted_at", sa.String(32), nullable=False, unique=True),
    )
    op.create_table(
        "flow_texts",
        sa.Column("text_hash", sa.String(64), primary_key=True),
        sa.Column("text", sa.Text, nullable=False),
    )
    op.create_table(
        "model_files",
        sa.Column("version", sa.String(64), primary_key=True),
        sa.Column("file_name", sa.String(255), primary_key=True),
        sa.Column("text_hash", sa.String(64), sa.ForeignKey("flow_texts.text_hash"), nullable=False),
    )
    op.create_table(
        "quarantine",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("fingerprint", sa.String(64), nullable=False, unique=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("code", sa.String(64), nullable=False),
        sa.Column("field", sa.Text, nullable=False),
        sa.Column("expected", sa.Text, nullable=False),
        sa.Column("found", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("line", sa.BigInteger, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("encoding", sa.String(8), nullable=False),
        sa.Column("first_seen_at", sa.String(32), nullable=False),
        sa.Column("last_seen_at", sa.String(32), nullable=False),
        sa.Column("seen_count", sa.Integer, nullable=False),
    )
    op.create_index("quarantine_by_state", "quarantine", ["state", "number"])
