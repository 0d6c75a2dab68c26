"""The service: what producers publish to, and what programs and people ask, over HTTP."""
