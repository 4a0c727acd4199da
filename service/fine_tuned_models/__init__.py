"""Base models that are made here, by fine-tuning on a corpus, for rounds to start from."""
