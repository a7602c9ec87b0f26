"""Read directions of the residual stream as tokens: final norm and unembedding, against no direction."""

from __future__ import annotations

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
    directions: Float32[np.ndarray, "directions width"], loaded: LoadedModel, top: int, progress: Progress
) -> Promoted:
    """Return the `top` tokens whose logits each direction raises most over the mean of all tokens.

    A norm divides by the length of what it reads, so every direction is read at a root mean square of 1, whatever its
    length. Raises UndefinedError for a model that predicts no tokens.
    """
    if not loaded.components.family.predicts:
        raise UndefinedError(
            f"{loaded.model.config.name_or_path} predicts no tokens, so a direction promotes none; use a causal "
            f"language model."
        )
    lengths = np.linalg.norm(directions.astype(np.float64), axis=1, keepdims=True)
    units = np.divide(directions, lengths, out=np.zeros(directions.shape), where=lengths > 0)
    rows = torch.from_numpy((units * np.sqrt(directions.shape[1])).astype(np.float32))
    nothing = _logits(loaded, torch.zeros_like(rows[:1]))
    found: list[tuple[Tensor, Tensor]] = []
    for at, part in enumerate(rows.split(max(1, CHUNK_VALUES // nothing.shape[1]))):
        progress(at * len(part) / max(1, len(rows)), "Reading directions as tokens.")
        raised = _logits(loaded, part) - nothing
        raised -= raised.mean(-1, keepdim=True)
        best, token = raised.topk(min(top, raised.shape[1]), dim=-1)
        found.append((token.cpu(), best.cpu()))
    token, logit = (torch.cat(column).numpy() for column in zip(*found, strict=True))
    hand_over(loaded, token, logit)
    logit = np.where(lengths > 0, logit, np.float32("nan"))
    logit.setflags(write=False)
    return Promoted(token, logit)


def _logits(loaded: LoadedModel, rows: Float[Tensor, "rows width"]) -> Float[Tensor, "rows tokens"]:
    device = next((one.device for one in loaded.components.ln_final.parameters() if not one.is_meta), loaded.device)
    return loaded.logits(loaded.components.ln_final(rows.to(device, loaded.model.dtype))).float()
