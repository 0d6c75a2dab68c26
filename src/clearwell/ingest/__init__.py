"""The one door by which events enter: read, validate, tell duplicates, make durable, put aside what cannot enter."""
