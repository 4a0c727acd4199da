"""Tuned models: adapters that a settled round delivered."""
