"""What a run says at its end: tables, charts and files."""
