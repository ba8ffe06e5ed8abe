"""Weights on disk: fetched, checked, carried by hand, removed. Only ``hub`` needs more than the standard library."""
