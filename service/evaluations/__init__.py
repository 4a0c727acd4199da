"""Evaluations: several models' answers to the same questions. The operator's alone."""
