"""Checkpoints on disk and in memory: the only torch at analysis time, imported when a model must be opened."""
