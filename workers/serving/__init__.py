"""Serving: answers of base models and settled models, streamed, on Ray Serve."""
