"""Corpora: questions and answers made of documents. The operator's alone."""
