"""Reward models: one file a method, found by `registry`. Heavy libraries load where first used."""
