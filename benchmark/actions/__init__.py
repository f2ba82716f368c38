"""What policies emit: formats, conversion, chunks, and the checks between a policy and a simulator."""
