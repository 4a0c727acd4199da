"""Evaluation: what models answer to the same questions, measured against the references."""
