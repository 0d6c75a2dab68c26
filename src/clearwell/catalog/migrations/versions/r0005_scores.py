"""Scores that were evaluated, with their cuts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of evaluations and their scores."""
    op.create_table(
        "evaluations",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("period_kind", sa.String(8), nullable=False),
        sa.Column("period", sa.String(16), nullable=False),
        sa.Column("effective_at", sa.String(32), nullable=False),
        sa.Column("recorded_at", sa.String(32), nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("evaluated_at", sa.String(32), nullable=False),
        sa.UniqueConstraint("period_kind", "period", "effective_at", "recorded_at", name="evaluations_of_a_cut"),
    )
    op.create_table(
        "scores",
        sa.Column("evaluation", sa.Integer, sa.ForeignKey("evaluations.number"), primary_key=True, autoincrement=False),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("node", sa.String(16), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("parent", sa.Text, nullable=False),
        sa.Column("currency", sa.String(16), nullable=False),
        sa.Column("total_money", sa.Text, nullable=False),
        sa.Column("uncleared_money", sa.Text, nullable=False),
        sa.Column("late_money", sa.Text, nullable=False),
        sa.Column("missing_money", sa.Text, nullable=False),
        sa.Column("missing_estimated", sa.Boolean, nullable=False),
    )
