"""What a producer publishes events with, from its own process: `Client`, `AsyncClient`, and an outbox beside them.

It needs nothing of a ledger: `errors`, `values` and httpx, and SQLAlchemy for the outbox. Import the module you need.
"""
