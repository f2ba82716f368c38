"""Who simulates: one scene in this process, scenes in several processes, or a batch on the GPU."""
