"""Quotes: what a round would take, before it is run. The operator's alone."""
