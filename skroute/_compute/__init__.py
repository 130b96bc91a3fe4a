"""How things are computed: in chunks, in threads, in memory or on a cluster."""
