"""The tables of the catalog. Instants are ISO 8601 text in UTC, so that every database keeps the microseconds.

A number that must have no gaps is given by who writes the row, within the transaction.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    literal_column,
)

metadata = MetaData()

segments = Table(
    "segments",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("first_sequence", BigInteger, nullable=False, unique=True),
    Column("last_sequence", BigInteger, nullable=False, unique=True),
    Column("event_count", BigInteger, nullable=False),
    Column("entry_count", BigInteger, nullable=False),
    Column("recorded_at", String(32), nullable=False),
    Column("first_effective_at", String(32), nullable=False),
    Column("last_effective_at", String(32), nullable=False),
    Column("moved", Text, nullable=False),
    Column("model_version", String(64), nullable=False),
    Column("file_name", String(255), nullable=False, unique=True),
    Column("file_bytes", BigInteger, nullable=False),
    Column("file_sha256", String(64), nullable=False),
    Column("previous_hash", String(64), nullable=False, unique=True),
    Column("hash", String(64), nullable=False, unique=True),
    Column("format", Integer, nullable=False),
    Column("first_recorded_at", String(32), nullable=False),
    Column("imported", Boolean, nullable=False),
)

compactions = Table(
    "compactions",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("first_segment", Integer, nullable=False),
    Column("last_segment", Integer, nullable=False),
    Column("event_count", BigInteger, nullable=False),
    Column("file_name", String(255), nullable=False),
    Column("file_bytes", BigInteger, nullable=False),
    Column("file_sha256", String(64), nullable=False),
    Column("compacted_at", String(32), nullable=False),
)
"""One row per file that took the place of the files of a range of segments. No part of the chain."""

seals = Table(
    "seals",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("tree_size", BigInteger, nullable=False, unique=True),
    Column("root", String(64), nullable=False),
    Column("frontier", Text, nullable=False),
    Column("segment_number", Integer, nullable=False),
    Column("segment_hash", String(64), nullable=False),
    Column("sealed_at", String(32), nullable=False),
    Column("previous_hash", String(64), nullable=False, unique=True),
    Column("hash", String(64), nullable=False, unique=True),
)
"""One row per seal: the root of the Merkle tree over the events up to `tree_size`, linked to the seal before."""

tree_blocks = Table(
    "tree_blocks",
    metadata,
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", String(64), nullable=False),
)
"""The roots of the tree's complete blocks of 65,536 leaves, from position 0. Derived from the log."""

writer_lease = Table(
    "writer_lease",
    metadata,
    Column("fencing_number", BigInteger, primary_key=True, autoincrement=False),
    Column("holder", String(255), nullable=False),
    Column("expires_at", String(32), nullable=False),
)
"""One row: the newest fencing number, who has it (nobody when empty), and until when without being renewed."""

models = Table(
    "models",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("version", String(64), nullable=False),
    Column("time_zone", String(64), nullable=False),
    Column("accepted_at", String(32), nullable=False, unique=True),
)
"""One row per time that a model came into force; it stays in force until the next row's `accepted_at`."""

flow_texts = Table(
    "flow_texts",
    metadata,
    Column("text_hash", String(64), primary_key=True),
    Column("text", Text, nullable=False),
)

model_files = Table(
    "model_files",
    metadata,
    Column("version", String(64), primary_key=True),
    Column("file_name", String(255), primary_key=True),
    Column("text_hash", String(64), ForeignKey("flow_texts.text_hash"), nullable=False),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("fingerprint", String(64), nullable=False, unique=True),
    Column("state", String(16), nullable=False),
    Column("code", String(64), nullable=False),
    Column("field", Text, nullable=False),
    Column("expected", Text, nullable=False),
    Column("found", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("line", BigInteger, nullable=False),
    Column("record", Text, nullable=False),
    Column("encoding", String(8), nullable=False),
    Column("first_seen_at", String(32), nullable=False),
    Column("last_seen_at", String(32), nullable=False),
    Column("seen_count", Integer, nullable=False),
    Index("quarantine_by_state", "state", "number"),
)

learned_windows = Table(
    "learned_windows",
    metadata,
    Column("fitted_at", String(32), primary_key=True),
    Column("account_type", String(255), primary_key=True),
    Column("known_sequence", BigInteger, nullable=False),
    Column("effective_at", String(32), nullable=False),
    Column("model_version", String(64), nullable=False),
    Column("seconds", BigInteger, nullable=False),
    Column("quantile", String(16), nullable=False),
    Column("headroom", String(16), nullable=False),
    Column("episode_count", BigInteger, nullable=False),
    Column("open_count", BigInteger, nullable=False),
)
"""One row per account type and time that its learned window was accepted: from then on, the newest one counts."""

learned_subdivisions = Table(
    "learned_subdivisions",
    metadata,
    Column("fitted_at", String(32), primary_key=True),
    Column("account_type", String(255), primary_key=True),
    Column("value", Text, primary_key=True),
    Column("property_name", String(255), nullable=False),
    Column("seconds", BigInteger, nullable=False),
    Column("episode_count", BigInteger, nullable=False),
    Column("open_count", BigInteger, nullable=False),
)
"""The windows of values of a property, accepted with that of their account type at the same time."""

comparisons = Table(
    "comparisons",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("complete", Boolean, nullable=False),
    Column("source", String(255), nullable=False),
    Column("flow", String(255), nullable=False),
    Column("event_type", String(255), nullable=False),
    Column("amount_of", String(255), nullable=False),
    Column("period_start", String(32), nullable=False),
    Column("period_until", String(32), nullable=False),
    Column("cut_effective_at", String(32), nullable=False),
    Column("cut_recorded_at", String(32), nullable=False),
    Column("cut_sequence", BigInteger, nullable=False),
    Column("record_count", BigInteger, nullable=False),
    Column("event_count", BigInteger, nullable=False),
    Column("matched_count", BigInteger, nullable=False),
    Column("missing_count", BigInteger, nullable=False),
    Column("unexpected_count", BigInteger, nullable=False),
    Column("different_count", BigInteger, nullable=False),
    Column("duplicate_count", BigInteger, nullable=False),
    Column("without_id_count", BigInteger, nullable=False),
    Column("without_time_count", BigInteger, nullable=False),
    Column("outside_event_count", BigInteger, nullable=False),
    Column("outside_record_count", BigInteger, nullable=False),
    Column("missing_money", Text, nullable=False),
    Column("unexpected_money", Text, nullable=False),
    Column("different_money", Text, nullable=False),
    Column("estimated", Boolean, nullable=False),
    Column("evaluated_at", String(32), nullable=False),
    Index("comparisons_by_source", "source", "period_start", "period_until", "number"),
)
"""One row per run of a comparison with a producer's records. Without a period its bounds are empty.

Money is JSON text: per currency `{"count", "money"}`, whole minor units.
"""

comparison_differences = Table(
    "comparison_differences",
    metadata,
    Column("comparison", Integer, ForeignKey("comparisons.number"), primary_key=True, autoincrement=False),
    Column("place", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", String(16), nullable=False),
    Column("id", Text, nullable=False),
    Column("amount", BigInteger),
    Column("currency", Text),
    Column("occurred_at", String(32)),
    Column("sequence", BigInteger),
    Column("event_amount", BigInteger),
    Column("event_currency", Text),
)
"""One row per record or event that does not match: what the record has, and what the event has."""

evaluations = Table(
    "evaluations",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("period_kind", String(8), nullable=False),
    Column("period", String(16), nullable=False),
    Column("effective_at", String(32), nullable=False),
    Column("recorded_at", String(32), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("evaluated_at", String(32), nullable=False),
    UniqueConstraint("period_kind", "period", "effective_at", "recorded_at", name="evaluations_of_a_cut"),
)
"""One row per period and cut whose scores were evaluated and kept."""

evaluation_comparisons = Table(
    "evaluation_comparisons",
    metadata,
    Column("evaluation", Integer, ForeignKey("evaluations.number"), primary_key=True),
    Column("comparisons", Text, nullable=False),
)
"""Per evaluation the numbers of the comparisons whose missing money is in its scores, as a list in JSON.

An evaluation that was kept before they were remembered has no row.
"""

scores = Table(
    "scores",
    metadata,
    Column("evaluation", Integer, ForeignKey("evaluations.number"), primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("node", String(16), nullable=False),
    Column("name", Text, nullable=False),
    Column("parent", Text, nullable=False),
    Column("currency", String(16), nullable=False),
    Column("total_money", Text, nullable=False),
    Column("uncleared_money", Text, nullable=False),
    Column("late_money", Text, nullable=False),
    Column("missing_money", Text, nullable=False),
    Column("missing_estimated", Boolean, nullable=False),
)
"""The nodes of an evaluation, in order. Money is decimal digits, for it may not fit in 64 bits."""

publish_requests = Table(
    "publish_requests",
    metadata,
    Column("key_hash", String(64), primary_key=True),
    Column("body_hash", String(64), nullable=False),
    Column("answer", Text, nullable=False),
    Column("recorded_at", String(32), nullable=False),
    Index("publish_requests_by_age", "recorded_at"),
)
"""One row per request that was published under a key of its own, with what was answered; kept for some days."""

api_keys = Table(
    "api_keys",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("secret_hash", String(64), nullable=False, unique=True),
    Column("role", String(32), nullable=False),
    Column("event_types", Text, nullable=False),
    Column("properties", Text, nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("created_by", String(255), nullable=False),
    Column("revoked_at", String(32), nullable=False),
)
"""One row per key to the service. Of its secret there is the SHA-256 only; a revoked key keeps its row.

`event_types` is a JSON array of what a producer may publish, `properties` a JSON object of what a tenant is bound to.
"""

users = Table(
    "users",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("role", String(32), nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("disabled_at", String(32), nullable=False),
)
"""One row per person who signs in; without a password (empty), only by the identity provider."""

sessions = Table(
    "sessions",
    metadata,
    Column("secret_hash", String(64), primary_key=True),
    Column("user_number", Integer, ForeignKey("users.number"), nullable=False),
    Column("csrf_token", String(64), nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("expires_at", String(32), nullable=False),
)
"""One row per browser that is signed in. Of what its cookie holds there is the SHA-256 only."""

audit_entries = Table(
    "audit_entries",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("at", String(32), nullable=False),
    Column("who", String(255), nullable=False),
    Column("act", String(64), nullable=False),
    Column("subject", Text, nullable=False),
    Column("details", Text, nullable=False),
    Column("origin", String(255), nullable=False),
    Index("audit_entries_by_time", "at"),
)
"""One row per change that a person or a key made: who, what, of what, when, and from where. `details` is JSON."""

incidents = Table(
    "incidents",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("known", Text, nullable=False),
    Column("opened_at", String(32), nullable=False),
    Column("closed_at", String(32), nullable=False),
)
"""One row per cause that someone has named, with what is known of it. While it is open, `closed_at` is empty."""

attributions = Table(
    "attributions",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("incident", Integer, ForeignKey("incidents.number"), nullable=False),
    Column("rule", String(16), nullable=False),
    Column("subject", Text, nullable=False),
    Column("sequence", BigInteger),
    Column("attributed_at", String(32), nullable=False),
    Column("withdrawn_at", String(32), nullable=False),
    Index("attributions_of_incident", "incident", "withdrawn_at"),
    Index(
        "attributions_in_force",
        "rule",
        "subject",
        unique=True,
        sqlite_where=literal_column("withdrawn_at = ''"),
        postgresql_where=literal_column("withdrawn_at = ''"),
    ),
)
"""One row per subject of a finding and incident that is its cause; in force while `withdrawn_at` is empty.

The subject is an account as it is printed (rule `uncleared`), or PRODUCER/ID of an event (`late`) or of a record
without one (`missing`). `sequence` is that of a late event, which is found by it.
"""
