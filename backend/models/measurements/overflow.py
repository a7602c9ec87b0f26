"""Find the first layer at which a model's values are not finite, on a few prompts."""

from __future__ import annotations

import numpy as np

from backend.models.measurements.residuals import read_batch
from backend.models.runtime.load import LoadedModel
from backend.study.token_ids import Prompts

TRIED = 4
"""Prompts that are read: the longest of the sample, in one batch."""


def overflow(loaded: LoadedModel, prompts: Prompts) -> int | None:
    """Return the first layer 0..L whose residuals are not finite, L + 1 if only the logits are; None if all are.

    Raises CheckpointError for a label token that the model lacks.
    """
    longest = np.argsort(-prompts.lengths, kind="stable")[:TRIED]
    residuals, logits = read_batch(loaded, prompts.some(longest.tolist()))
    layers = np.array([np.isfinite(residuals[:, layer]).all() for layer in range(residuals.shape[1])])
    if not layers.all():
        return int(layers.argmin())
    has_answers = loaded.components.family.has_head and logits.size
    return None if not has_answers or np.isfinite(logits).all() else len(layers)
