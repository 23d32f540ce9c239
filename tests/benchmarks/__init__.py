"""Measures the app against hand-written Django for the same work: `python -m tests.benchmarks`."""
