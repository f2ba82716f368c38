"""Policies that come with vlagen, one file each; ``vlagen.benchmark.policy.BUILT_IN`` names them."""
