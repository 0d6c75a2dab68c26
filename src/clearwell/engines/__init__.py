"""Engines run relations, and ask producers, elsewhere than in the projections. Only `bootstrap` imports them."""
