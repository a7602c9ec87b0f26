"""What interventions do to a model's next-token predictions along texts, against the model as it is."""

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
    """The model over all texts as it is and under each intervention.

    Raises UndefinedError for models that predict no tokens, DeviceError, CheckpointError for values not finite.
    """
    check(loaded, plan)
    if not loaded.components.family.predicts:
        raise UndefinedError(
            f"{loaded.model.config.name_or_path} predicts no tokens, so there are no predictions to disturb; use a "
            f"causal language model."
        )
    loss = np.empty((1 + len(plan), len(prompts.token_ids)), np.float32)
    kl = np.zeros_like(loss)
    done = 0.0

    def told(fraction: float, sentence: str) -> None:
        nonlocal done
        done = max(done, fraction)
        progress(done, sentence)

    def read(batch: Prompts) -> Float64[Tensor, "2 runs batch"]:
        return _read(loaded, plan, batch, lambda: progress(done, "Predicting under interventions."))

    for batch, found in in_batches(read, loaded, prompts, told, "Predicting under interventions"):
        loss[:, batch], kl[:, batch] = found.numpy()
    hand_over(loaded, loss, kl)
    predicted = prompts.lengths - 1
    predicted.setflags(write=False)
    return SideEffects(plain_loss=loss[0], loss=loss[1:], kl=kl[1:], predicted=predicted)


@torch.inference_mode()
def _read(
    loaded: LoadedModel, plan: Sequence[Intervention], batch: Prompts, tell: Callable[[], None]
) -> Float64[Tensor, "2 runs batch"]:
    """One batch, on the CPU: loss and KL summed over the predicted positions of each text; run 0 is the model alone."""
    ids, last, inputs = pad(batch.token_ids, "last", loaded)
    real = torch.arange(ids.shape[1], device=last.device) <= last[:, None]
    other = replace(loaded)  # another name for the same weights: `along` runs one model for one name
    _, plain = final_hidden(loaded, ids, inputs)
    found: list[Tensor] = []
    for one in (None, *plan):
        tell()
        with intervening(loaded, one, last):
            after = plain if one is None else final_hidden(loaded, ids, inputs)[1]
        rows = [hidden[:, :-1][real[:, 1:]] for hidden in (plain, after)]
        sums = along((loaded, loaded if one is None else other), rows, ids, real)
        found.append(torch.stack([sums["loss"], sums["kl"]]))
    return torch.stack(found, dim=1)
