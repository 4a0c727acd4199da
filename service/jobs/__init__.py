"""Jobs: the queue of closed rounds, the lease of the one who works on one, and its events."""
