"""What ``vlagen-check-policy`` checks of an adapter."""
