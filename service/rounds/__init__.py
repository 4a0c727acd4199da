"""Rounds: announced, open for reports, closed, run by a job, settled."""
