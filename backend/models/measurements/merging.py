"""Compare an adapter that is merged onto its base with the same adapter unmerged, as PEFT runs it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from backend.lab.differences import MERGING_PROMPTS, Merging
from backend.models.runtime.forward import pad
from backend.models.runtime.load import LoadedModel
from backend.study.token_ids import Prompts


@torch.inference_mode()
def merging(loaded: LoadedModel, unmerged: Any, prompts: Prompts) -> Merging:
    """Run both on the first prompts, each by itself and without padding.

    The unmerged model runs once more with its adapter switched off.
    """
    chosen = prompts.some(range(min(MERGING_PROMPTS, len(prompts.token_ids))))
    apart: list[tuple[np.ndarray, float]] = []
    active: list[tuple[np.ndarray, float]] = []
    largest = [0.0]
    for i, ids in enumerate(chosen.token_ids):
        padded, _, inputs = pad([ids], chosen.readout, loaded, chosen.token_types[i : i + 1])
        states, logits = _run(unmerged, padded, inputs)
        apart.append(_compare(_run(loaded.model, padded, inputs), (states, logits)))
        with unmerged.disable_adapter():
            active.append(_compare(_run(unmerged, padded, inputs), (states, logits)))
        largest.append(float("nan") if np.isnan(apart[-1][1]) else float(logits.abs().max()))
    (residual, logit), (moved, active_logit) = (
        (np.max([one for one, _ in every], axis=0), float(np.max([one for _, one in every])))
        for every in (apart, active)
    )
    for array in (residual, moved):
        array.setflags(write=False)
    return Merging(residual, moved, logit, active_logit, float(np.max(largest)), int(chosen.lengths.sum()))


def _largest(every: list[tuple[np.ndarray, float]]) -> tuple[np.ndarray, float]:
    return np.max([states for states, _ in every], axis=0), float(np.max([logit for _, logit in every]))


def _run(model: Any, ids: Tensor, inputs: dict[str, Tensor]) -> tuple[list[Tensor], Tensor]:
    """Return the hidden states in float32, and the logits; empty for a model without a head."""
    out = model(input_ids=ids, output_hidden_states=True, **inputs)
    logits = getattr(out, "logits", None)
    return [state[0].float() for state in out.hidden_states], torch.empty(0) if logits is None else logits.float()


def _compare(one: tuple[list[Tensor], Tensor], whole: tuple[list[Tensor], Tensor]) -> tuple[np.ndarray, float]:
    """Return the largest relative difference of each hidden state, and the largest one of a logit."""
    lengths = [
        ((a - b).norm(dim=-1) / b.norm(dim=-1).clamp_min(1e-12)).max().item()
        for a, b in zip(one[0], whole[0], strict=True)
    ]
    compared = one[1].shape == whole[1].shape and one[1].numel() > 0
    return np.array(lengths, np.float32), float((one[1] - whole[1]).abs().max()) if compared else float("nan")
