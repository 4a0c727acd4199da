"""Preference data: read from uploaded files, checked, split by prompt. No torch."""
