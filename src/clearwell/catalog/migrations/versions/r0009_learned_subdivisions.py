"""Learned windows of values of a property, accepted with that of their account type."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table of the windows of values."""
    op.create_table(
        "learned_subdivisions",
        sa.Column("fitted_at", sa.String(32), primary_key=True),
        sa.Column("account_type", sa.String(255), primary_key=True),
        sa.Column("value", sa.Text, primary_key=True),
        sa.Column("property_name", sa.String(255), nullable=False),
        sa.Column("seconds", sa.BigInteger, nullable=False),
        sa.Column("episode_count", sa.BigInteger, nullable=False),
        sa.Column("open_count", sa.BigInteger, nullable=False),
    )
