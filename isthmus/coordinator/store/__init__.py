"""Where the coordinator keeps its cluster: one contract (`base`), several ways to keep it."""
