"""The catalog: manifest, models and quarantine, in SQLite (or, later, PostgreSQL) through SQLAlchemy."""
