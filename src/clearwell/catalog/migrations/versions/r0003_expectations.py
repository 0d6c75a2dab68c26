"""Windows that were learned from history and accepted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table of learned windows."""
    op.create_table(
        "learned_windows",
        sa.Column("fitted_at", sa.String(32), primary_key=True),
        sa.Column("account_type", sa.String(255), primary_key=True),
        sa.Column("known_sequence", sa.BigInteger, nullable=False),
        sa.Column("effective_at", sa.String(32), nullable=False),
        sa.Column("model_version", sa.String(64), nullable=False),
        sa.Column("seconds", sa.BigInteger, nullable=False),
        sa.Column("quantile", sa.String(16), nullable=False),
        sa.Column("headroom", sa.String(16), nullable=False),
        sa.Column("episode_count", sa.BigInteger, nullable=False),
        sa.Column("open_count", sa.BigInteger, nullable=False),
    )
