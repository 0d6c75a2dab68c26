"""Runs the migrations on the connection that the catalog hands over; there is no offline mode."""

from __future__ import annotations

from alembic import context

from clearwell.catalog.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
