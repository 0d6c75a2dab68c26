"""Projections: open accounts, episodes and reservoir balances, derived from the log in its order. Disposable."""
