"""Baseline policies and trainers, one algorithm per file."""
