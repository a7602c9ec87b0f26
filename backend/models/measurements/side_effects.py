"""Measure how interventions change a model's next-token predictions along texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from backend.caching.progress import Progress
from backend.errors import UndefinedError
from backend.lab.outputs import Intervention, SideEffects
from backend.models.measurements.output_space import along, final_hidden
from backend.models.runtime.batching import in_batches
from backend.models.runtime.forward import hand_over, pad
from backend.models.runtime.interventions import check, intervening
from backend.models.runtime.load import LoadedModel
from backend.study.token_ids import Prompts


def side_effects(
    loaded: LoadedModel, plan: Sequence[Intervention], prompts: Prompts, progress: Progress
) -> SideEffects:
    """Run the model over all texts, unchanged and under each intervention.

    Raises UndefinedError for a model that predicts no tokens, DeviceError, CheckpointError for values not finite.
    """
    check(loaded, plan)
    if not loaded.components.family.predicts:
        raise UndefinedError(
            f"{loaded.model.config.name_or_path} predicts no tokens, so side effects on predictions are undefined; "
            f"use a causal language model."
        )
    loss = np.empty((1 + len(plan), len(prompts.token_ids)), np.float32)
    kl = np.zeros_like(loss)
    done = 0.0

    def report(fraction: float, sentence: str) -> None:
        nonlocal done
        done = max(done, fraction)
        progress(done, sentence)

    def read(batch: Prompts) -> Float64[Tensor, "2 runs batch"]:
        return _read(loaded, plan, batch, lambda: progress(done, "Predicting under interventions."))

    for batch, result in in_batches(read, loaded, prompts, report, "Predicting under interventions"):
        loss[:, batch], kl[:, batch] = result.numpy()
    hand_over(loaded, loss, kl)
    predicted = prompts.lengths - 1
    predicted.setflags(write=False)
    return SideEffects(plain_loss=loss[0], loss=loss[1:], kl=kl[1:], predicted=predicted)


@torch.inference_mode()
def _read(
    loaded: LoadedModel, plan: Sequence[Intervention], batch: Prompts, repeat: Callable[[], None]
) -> Float64[Tensor, "2 runs batch"]:
    """Return one batch's loss and KL on the CPU, summed over each text's predicted tokens; run 0 is the model alone."""
    ids, last, inputs = pad(batch.token_ids, "last", loaded, batch.token_types)
    real = torch.arange(ids.shape[1], device=last.device) <= last[:, None]
    other = replace(loaded)  # a second object with the same weights, because `along` runs each object once
    _, plain = final_hidden(loaded, ids, inputs)
    sums_by_run: list[Tensor] = []
    for intervention in (None, *plan):
        repeat()
        with intervening(loaded, intervention, last):
            after = plain if intervention is None else final_hidden(loaded, ids, inputs)[1]
        rows = [hidden[:, :-1][real[:, 1:]] for hidden in (plain, after)]
        sums = along((loaded, loaded if intervention is None else other), rows, ids, real)
        sums_by_run.append(torch.stack([sums["loss"], sums["kl"]]))
    return torch.stack(sums_by_run, dim=1)
