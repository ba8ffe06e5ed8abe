"""Weights on disk: download, check, import, remove. Uses the standard library only."""
