"""Weights on disk: fetched, checked, carried by hand, removed; with the standard library alone."""
