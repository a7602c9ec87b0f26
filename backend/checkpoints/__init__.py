"""Checkpoints on disk and in memory: the only torch at analysis time, imported when a model must be opened."""

from backend.checkpoints.models import LocalModels

__all__ = ["LocalModels"]
