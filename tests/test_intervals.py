"""Intervals and chance levels: by hand, bounds, references, and a small seeded version of benchmarks/intervals.py."""
