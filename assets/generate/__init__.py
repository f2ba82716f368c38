"""Deterministic generator of the built-in asset pack (everything in it is made by this code)."""
