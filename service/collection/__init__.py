"""Collecting the artifact store's garbage: what no row names, directly or by another artifact."""
