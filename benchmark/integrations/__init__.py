"""vlagen inside other people's harnesses."""
