"""How fast the app is, beside hand-written Django for the same work: `python -m tests.benchmarks`."""
