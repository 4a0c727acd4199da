"""Uploaded files: prompts, preference pairs, adapters."""
