"""Read directions of the residual stream as tokens: final norm and unembedding, against no direction."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from backend.caching.progress import Progress
from backend.errors import UndefinedError
from backend.lab.differences import Promoted
from backend.models.measurements.logit_lens import CHUNK_VALUES
from backend.models.runtime.forward import hand_over
from backend.models.runtime.load import LoadedModel


@torch.inference_mode()
def promoted(
    directions: Float32[np.ndarray, "directions width"],
    random: Float32[np.ndarray, "random width"],
    loaded: LoadedModel,
    top: int,
    progress: Progress,
) -> Promoted:
    """Return the `top` tokens whose logits each direction raises most, in standard deviations over random directions.

    A norm divides by the length of what it reads, so every direction is read at a root mean square of 1, whatever its
    length. Raises UndefinedError for a model that predicts no tokens.
    """
    if not loaded.components.family.predicts:
        raise UndefinedError(
            f"{loaded.model.config.name_or_path} predicts no tokens, so a direction promotes none; use a causal "
            f"language model."
        )
    squares: Tensor | float = 0.0
    for raised in _raised(loaded, random, progress, 0.0):
        squares = squares + raised.square().sum(0)
    spread = torch.as_tensor(squares / max(1, len(random))).sqrt()
    spread = spread.clamp(min=1e-6 * float(spread.max()))  # a token that no direction moves
    best = torch.cat([(raised / spread).max(-1).values.cpu() for raised in _raised(loaded, random, progress, 0.4)])
    found = [
        (raised / spread).topk(min(top, len(spread)), dim=-1) for raised in _raised(loaded, directions, progress, 0.8)
    ]
    token, score = (torch.cat([pair[i].cpu() for pair in found]).numpy() for i in (1, 0))
    hand_over(loaded, token, score, best.numpy())
    score = np.where(np.any(directions != 0, axis=1, keepdims=True), score, np.float32("nan"))
    score.setflags(write=False)
    return Promoted(token, score, best.numpy())


def _raised(
    loaded: LoadedModel, directions: Float32[np.ndarray, "directions width"], progress: Progress, done: float
) -> Iterator[Float[Tensor, "chunk tokens"]]:
    """Yield what directions add to the logits of no direction, over the mean of all tokens, some at a time."""
    lengths = np.linalg.norm(directions.astype(np.float64), axis=1, keepdims=True)
    units = np.divide(directions, lengths, out=np.zeros(directions.shape), where=lengths > 0)
    rows = torch.from_numpy((units * np.sqrt(directions.shape[1])).astype(np.float32))
    nothing = _logits(loaded, torch.zeros((1, directions.shape[1])))
    for part in rows.split(max(1, CHUNK_VALUES // nothing.shape[1])):
        progress(done, "Reading directions as tokens.")
        raised = _logits(loaded, part) - nothing
        yield raised - raised.mean(-1, keepdim=True)


def _logits(loaded: LoadedModel, rows: Float[Tensor, "rows width"]) -> Float[Tensor, "rows tokens"]:
    device = next((one.device for one in loaded.components.ln_final.parameters() if not one.is_meta), loaded.device)
    return loaded.logits(loaded.components.ln_final(rows.to(device, loaded.model.dtype))).float()
