"""A policy as a test: the pytest plugin, and when a row has failed."""
