"""Engines: each provides the relation of a cut's events, runs a relation, and returns Arrow."""
