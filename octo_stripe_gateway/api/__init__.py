"""HTTP in: what callers send, and what they get."""
