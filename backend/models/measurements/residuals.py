"""Read the residual stream at the readout position of every prompt; other positions are never stored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float32, Int64

from backend.caching.progress import Progress
from backend.errors import UndefinedError
from backend.lab.outputs import Readout
from backend.models.runtime.batching import in_batches
from backend.models.runtime.forward import averages, hand_over, pad, pick, run
from backend.models.runtime.hooks import taps
from backend.models.runtime.load import LoadedModel
from backend.study.token_ids import Prompts
from backend.study.whole_words import expand


def collect(
    loaded: LoadedModel, prompts: Prompts, progress: Progress, tokens: int | None = None, rows: int | None = None
) -> Readout:
    """Read the residuals entering every block and leaving the last, and the label logits, at the readout position.

    Prompts run in batches of similar length and at most `tokens` tokens and `rows` prompts. The logits are the model's
    own, including any scaling, bias or soft-capping of its head, which reads only the readout position. A label word of
    several tokens is also read after each of its prefixes. Prompts with `places` are read at the mean of these, and
    those whose readout is "generated" at the token that the model writes first. Raises DeviceError when one prompt
    alone does not fit, CheckpointError when a value is not finite.
    """
    if prompts.readout == "generated":
        prompts = _continued(loaded, prompts, progress, tokens, rows)
    words = expand(prompts)
    prompts = words.prompts
    count, layers = len(prompts.token_ids), len(loaded.components.blocks) + 1
    residuals = np.empty((0, layers, 0), np.float32)
    logits = np.empty((count, len(prompts.label_tokens)), np.float32)

    def read(batch: Prompts) -> tuple[np.ndarray, np.ndarray]:
        return read_batch(loaded, batch)

    for batch, (at_batch, answers) in in_batches(read, loaded, prompts, progress, "Reading prompts", tokens, rows):
        if not len(residuals):
            residuals = np.empty((count, layers, at_batch.shape[2]), np.float32)
        residuals[batch], logits[batch] = at_batch, answers
    residuals, logits = words.apart(residuals), words.combine_rows(logits)
    hand_over(loaded, residuals, *([logits] if loaded.components.family.has_head else []))
    return Readout(residuals=residuals[0], logits=logits, after=residuals[1:])


@torch.inference_mode()
def read_batch(
    loaded: LoadedModel, batch: Prompts
) -> tuple[Float32[np.ndarray, "batch layers width"], Float32[np.ndarray, "batch columns"]]:
    """Run one right-padded batch; tensors become detached float32 arrays on the CPU here."""
    ids, positions, inputs = pad(batch.token_ids, batch.readout, loaded, batch.token_types)
    columns = batch.columns
    weights = averages(batch.places, ids.shape[1], ids.device) if batch.places else positions
    with taps(loaded.components, weights) as residuals:
        logits = run(loaded, ids, inputs)
    stacked = torch.stack([layer.to(residuals[0].device) for layer in residuals], dim=1)
    logits = torch.full((len(ids), len(columns.tokens)), torch.nan) if logits is None else pick(logits, columns)
    return stacked.to("cpu", torch.float32).numpy(), logits.to("cpu", torch.float32).numpy()


def _continued(
    loaded: LoadedModel, prompts: Prompts, progress: Progress, tokens: int | None, rows: int | None
) -> Prompts:
    """Return the prompts with the model's likeliest next token at the end of each."""
    following = np.empty(len(prompts.token_ids), np.int64)

    def read(batch: Prompts) -> np.ndarray:
        return _likeliest(loaded, batch)

    for batch, chosen in in_batches(read, loaded, prompts, progress, "Writing the first token", tokens, rows):
        following[batch] = chosen
    longer = tuple((*ids, token) for ids, token in zip(prompts.token_ids, following.tolist(), strict=True))
    return replace(prompts, token_ids=longer, readout="last")


@torch.inference_mode()
def _likeliest(loaded: LoadedModel, batch: Prompts) -> Int64[np.ndarray, " batch"]:
    """Return the likeliest next token of every prompt. Raises UndefinedError for a model that predicts no tokens."""
    ids, positions, inputs = pad(batch.token_ids, batch.readout, loaded, batch.token_types)
    with taps(loaded.components, positions):
        logits = run(loaded, ids, inputs)
    if logits is None or not loaded.components.family.predicts:
        raise UndefinedError(f"{loaded.model.config.name_or_path} predicts no tokens, so it writes no first token.")
    return logits.argmax(dim=-1).cpu().numpy()
