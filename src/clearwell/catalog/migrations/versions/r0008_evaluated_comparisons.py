"""Evaluated scores remember the comparisons that they are from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; nobody knows of what was kept before."""
    op.create_table(
        "evaluation_comparisons",
        sa.Column("evaluation", sa.Integer, sa.ForeignKey("evaluations.number"), primary_key=True),
        sa.Column("comparisons", sa.Text, nullable=False),
    )
