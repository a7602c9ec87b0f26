"""Measure loaded models: one file per measurement."""
