"""The log: immutable Parquet segments, each linked to the one before it by hash. The only truth."""
