"""Demonstrations: collecting them, the formats that hold them, and reading them for training."""
