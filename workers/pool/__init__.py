"""The pool: sampling it, scoring log-probabilities on it, and valuing trained models on it."""
