"""OpenVLA in plain PyTorch: checkpoints in the official format, the policy, and the actor-critic that trainers use."""
