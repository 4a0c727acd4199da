"""Audits of settled rounds: what false reports would have gained. The operator's alone."""
