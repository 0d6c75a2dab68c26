"""The measuring half of data quality: what the figures mean, as named relational steps."""
