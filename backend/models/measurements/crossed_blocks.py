"""Each block of two checkpoints on the residuals of both: what it writes at the readout position."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from backend.caching.progress import Progress
from backend.errors import CheckpointError
from backend.models.runtime.batching import in_batches
from backend.models.runtime.blocks import Residuals, attend, embed, proceed, surroundings
from backend.models.runtime.forward import hand_over, pad
from backend.models.runtime.hooks import Repeating
from backend.models.runtime.load import LoadedModel
from backend.study.token_ids import Prompts

Updates = Float32[np.ndarray, "reviews blocks 2 2 width"]


def crossed_updates(checkpoint: LoadedModel, reference: LoadedModel, prompts: Prompts, progress: Progress) -> Updates:
    """What each block adds to the stream: [review, block, whose block, whose residuals]; 0 is the reference.

    That is what leaves it less what enters it, in an encoder too, whose blocks normalize what they pass on.

    Both models run as they are, block by block side by side; the other's block only passes by. Raises CheckpointError
    for models of another layout, DeviceError.
    """
    sizes = [(len(one.components.blocks), one.model.config.hidden_size) for one in (reference, checkpoint)]
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

    for batch, found in in_batches(read, reference, prompts, repeating, "Crossing blocks and residuals"):
        updates[batch] = found.numpy()
    hand_over(checkpoint, updates)
    return updates


@torch.inference_mode()
def _read(
    models: tuple[LoadedModel, LoadedModel], batch: Prompts, repeating: Repeating
) -> Float32[Tensor, "batch blocks 2 2 width"]:
    """One batch, on the CPU."""
    ids, positions, inputs = pad(batch.token_ids, batch.readout, models[0], batch.token_types)
    streams = [embed(model, ids, inputs.get("token_type_ids")) for model in models]
    real = inputs.get("attention_mask")
    around = [surroundings(model, x, real) for model, x in zip(models, streams, strict=True)]
    found: list[Tensor] = []
    for block in range(len(models[0].components.blocks)):
        before = [_at(x, positions) for x in streams]
        written: list[Tensor] = []
        following: list[Residuals] = []
        for i, model in enumerate(models):
            for j, x in enumerate(streams):
                repeating.again()
                attended = attend(model, block, x, around[i])
                if i == j:
                    following.append(proceed(model, block, attended))
                    after = _at(following[-1], positions)
                else:  # nobody reads the other positions
                    after = proceed(model, block, _at(attended, positions))
                written.append((after - before[j].to(after))[:, 0].to("cpu", torch.float32))
        streams = following
        found.append(torch.stack(written, dim=1).unflatten(1, (2, 2)))
    return torch.stack(found, dim=1)


def _at(x: Residuals, positions: Int64[Tensor, " batch"]) -> Float[Tensor, "batch 1 width"]:
    """The readout position of every row."""
    return x[torch.arange(len(positions), device=x.device), positions.to(x.device)][:, None]
