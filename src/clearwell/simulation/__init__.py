"""Seeded worlds of a small payments platform with planted faults, whose truth is known beforehand.

The worlds post the flows of the example project `card_platform`. Nothing here reads a clock or a ledger.
"""
