"""Fitting reward models: embeddings, networks and their training. Imported when a model is used."""
