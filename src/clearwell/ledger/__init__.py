"""The rules of the ledger: which records become events, the entries they make, and how entries fold into episodes."""
