"""Jobs: their queue, the lease of the one who works on one, and its events."""
