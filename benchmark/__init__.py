"""How a policy is measured: roll-outs, records, statistics and the command line."""
