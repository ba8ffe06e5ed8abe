"""Benchmarks: ``python -m bench [PART...]`` writes build/bench.json and prints what is met and what is not."""
