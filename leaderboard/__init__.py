"""Tables and figures computed from records."""
