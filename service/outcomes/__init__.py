"""Outcomes: what a settled round found, as much of it as the one who asks may see."""
