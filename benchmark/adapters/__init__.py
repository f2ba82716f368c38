"""Policies that come with vlagen, one file each; ``vlagen.benchmark.loading.source.BUILT_IN`` names them."""
