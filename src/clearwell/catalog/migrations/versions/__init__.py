"""One module per change of the catalog's tables, in order of its number."""
