"""From the name of a policy to the policy."""
