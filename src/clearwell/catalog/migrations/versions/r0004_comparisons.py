"""Completeness: runs of the comparison with producers' records, and the differences that they found."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the two tables."""
    op.create_table(
        "comparisons",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("complete", sa.Boolean, nullable=False),
        sa.Column("source", sa.String(255), nullable=False),
        sa.Column("flow", sa.String(255), nullable=False),
        sa.Column("event_type", sa.String(255), nullable=False),
        sa.Column("amount_of", sa.String(255), nullable=False),
        sa.Column("period_start", sa.String(32), nullable=False),
        sa.Column("period_until", sa.String(32), nullable=False),
        sa.Column("cut_effective_at", sa.String(32), nullable=False),
        sa.Column("cut_recorded_at", sa.String(32), nullable=False),
        sa.Column("cut_sequence", sa.BigInteger, nullable=False),
        sa.Column("record_count", sa.BigInteger, nullable=False),
        sa.Column("event_count", sa.BigInteger, nullable=False),
        sa.Column("matched_count", sa.BigInteger, nullable=False),
        sa.Column("missing_count", sa.BigInteger, nullable=False),
        sa.Column("unexpected_count", sa.BigInteger, nullable=False),
        sa.Column("different_count", sa.BigInteger, nullable=False),
        sa.Column("duplicate_count", sa.BigInteger, nullable=False),
        sa.Column("without_id_count", sa.BigInteger, nullable=False),
        sa.Column("without_time_count", sa.BigInteger, nullable=False),
        sa.Column("outside_event_count", sa.BigInteger, nullable=False),
        sa.Column("outside_record_count", sa.BigInteger, nullable=False),
        sa.Column("missing_money", sa.Text, nullable=False),
        sa.Column("unexpected_money", sa.Text, nullable=False),
        sa.Column("different_money", sa.Text, nullable=False),
        sa.Column("estimated", sa.Boolean, nullable=False),
        sa.Column("evaluated_at", sa.String(32), nullable=False),
    )
    op.create_index("comparisons_by_source", "comparisons", ["source", "period_start", "period_until", "number"])
    op.create_table(
        "comparison_differences",
        sa.Column("comparison", sa.Integer, sa.ForeignKey("comparisons.number"), primary_key=True, autoincrement=False),
        sa.Column("place", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("amount", sa.BigInteger),
        sa.Column("currency", sa.Text),
        sa.Column("occurred_at", sa.String(32)),
        sa.Column("sequence", sa.BigInteger),
        sa.Column("event_amount", sa.BigInteger),
        sa.Column("event_currency", sa.Text),
    )
