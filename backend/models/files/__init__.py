"""Checkpoints on disk: where they are and what their files say. No torch."""
