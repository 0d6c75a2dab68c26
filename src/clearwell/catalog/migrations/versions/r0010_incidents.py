"""Incidents, and which subjects of findings are attributed to them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of incidents and attributions."""
    op.create_table(
        "incidents",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(255), nullable=False, unique=True),
        sa.Column("known", sa.Text, nullable=False),
        sa.Column("opened_at", sa.String(32), nullable=False),
        sa.Column("closed_at", sa.String(32), nullable=False),
    )
    op.create_table(
        "attributions",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("incident", sa.Integer, sa.ForeignKey("incidents.number"), nullable=False),
        sa.Column("rule", sa.String(16), nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("sequence", sa.BigInteger),
        sa.Column("attributed_at", sa.String(32), nullable=False),
        sa.Column("withdrawn_at", sa.String(32), nullable=False),
    )
    op.create_index("attributions_of_incident", "attributions", ["incident", "withdrawn_at"])
    in_force: sa.ColumnElement[bool] = sa.literal_column("withdrawn_at = ''")
    op.create_index(
        "attributions_in_force",
        "attributions",
        ["rule", "subject"],
        unique=True,
        sqlite_where=in_force,
        postgresql_where=in_force,
    )
