"""Run each block of two checkpoints on the residuals of both, and read its update at the readout position."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from backend.caching.progress import Progress
from backend.errors import CheckpointError
from backend.models.runtime.batching import in_batches
from backend.models.runtime.blocks import attend, embed, proceed, surroundings
from backend.models.runtime.calls import Residuals
from backend.models.runtime.forward import hand_over, pad
from backend.models.runtime.hooks import Repeating, at_positions
from backend.models.runtime.load import LoadedModel
from backend.study.token_ids import Prompts

Updates = Float32[np.ndarray, "reviews blocks 2 2 width"]


def crossed_updates(checkpoint: LoadedModel, reference: LoadedModel, prompts: Prompts, progress: Progress) -> Updates:
    """Return each block's update: [review, block, whose block, whose residuals]; 0 is the reference, 1 the checkpoint.

    An update is the residual leaving the block minus the residual entering it, also in an encoder, whose blocks
    normalize their output. Both models run unchanged, side by side; a crossed update is read and then dropped. Raises
    CheckpointError for models of different layouts, DeviceError.
    """
    sizes = [(len(model.components.blocks), model.model.config.hidden_size) for model in (reference, checkpoint)]
    if sizes[0] != sizes[1]:
        raise CheckpointError(
            f"{checkpoint.model.config.name_or_path} and {reference.model.config.name_or_path} differ in layout; "
            f"compare checkpoints of one architecture."
        )
    blocks, width = sizes[0]
    updates = np.empty((len(prompts.token_ids), blocks, 2, 2, width), np.float32)

    repeating = Repeating(progress)

    def read(batch: Prompts) -> Tensor:
        return _read((reference, checkpoint), batch, repeating)

    for batch, result in in_batches(read, reference, prompts, repeating, "Crossing blocks and residuals"):
        updates[batch] = result.numpy()
    hand_over(checkpoint, updates)
    return updates


@torch.inference_mode()
def _read(
    models: tuple[LoadedModel, LoadedModel], batch: Prompts, repeating: Repeating
) -> Float32[Tensor, "batch blocks 2 2 width"]:
    """Return the updates of one batch, on the CPU."""
    ids, positions, inputs = pad(batch.token_ids, batch.readout, models[0], batch.token_types)
    streams = [embed(model, ids, inputs) for model in models]
    around = [surroundings(model, ids, inputs) for model in models]
    by_block: list[Tensor] = []
    for block in range(len(models[0].components.blocks)):
        before = [at_positions(x, positions)[:, None] for x in streams]
        written: list[Tensor] = []
        following: list[Residuals] = []
        for i, model in enumerate(models):
            for j, x in enumerate(streams):
                repeating.again()
                attended = attend(model, block, x, around[i])
                if i == j:
                    following.append(proceed(model, block, attended))
                    after = at_positions(following[-1], positions)[:, None]
                else:  # only the readout position of a crossed block is read
                    after = proceed(model, block, at_positions(attended, positions)[:, None])
                written.append((after - before[j].to(after))[:, 0].to("cpu", torch.float32))
        streams = following
        by_block.append(torch.stack(written, dim=1).unflatten(1, (2, 2)))
    return torch.stack(by_block, dim=1)
