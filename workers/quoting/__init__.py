"""Quotes: what a round would take, from a calibration run of seconds. docs/quotes.md."""
