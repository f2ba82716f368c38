"""What is measured: variants, episodes, the scene and its success predicates."""
