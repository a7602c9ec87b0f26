"""Reading residuals with a model's final norm and unembedding: the logit lens, at label tokens or over the vocabulary.

nostalgebraist 2020, "interpreting GPT: the logit lens"; here every layer goes through the final norm unless a caller
says otherwise.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from backend.caching.progress import Progress
from backend.lab.outputs import TextReadout
from backend.models.measurements.residuals import collect
from backend.models.runtime.batching import too_large
from backend.models.runtime.devices import give_back, is_out_of_memory
from backend.models.runtime.forward import hand_over, pad, pick, run
from backend.models.runtime.hooks import taps
from backend.models.runtime.load import LoadedModel
from backend.study.token_ids import Columns, Prompts
from backend.study.whole_words import expand

CHUNK_VALUES = 2**24
"""Logits held at once, 64 MiB of float32."""


@torch.inference_mode()
def label_logits(
    residuals: Float32[np.ndarray, "*places width"], columns: Columns, head: LoadedModel, norm: LoadedModel | None
) -> Float32[np.ndarray, "*places columns"]:
    """Residuals through the final norm of `norm` (None: through none), then columns of the head of `head`."""
    flat = torch.from_numpy(np.array(residuals.reshape(-1, residuals.shape[-1])))
    found: list[Tensor] = []
    for rows in flat.split(max(1, CHUNK_VALUES // head.model.config.vocab_size)):
        x = rows if norm is None else _normed(rows, norm)
        found.append(_columns(x, columns, head).to("cpu", torch.float32))
    logits = torch.cat(found).numpy().reshape(*residuals.shape[:-1], len(columns.tokens))
    logits.setflags(write=False)
    return logits


def _columns(x: Float[Tensor, "rows width"], columns: Columns, head: LoadedModel) -> Tensor:
    unembed = head.components.unembed
    linear = isinstance(unembed, nn.Linear) and not unembed.weight.is_meta  # offloaded weights come with the call only
    if columns.normalized or not isinstance(unembed, nn.Linear) or not linear:
        return pick(unembed(_like(x, head, unembed)), columns)
    chosen = list(columns.tokens)
    bias = None if unembed.bias is None else unembed.bias[chosen]
    return nn.functional.linear(_like(x, head, unembed), unembed.weight[chosen], bias)


def _normed(x: Float[Tensor, "rows width"], loaded: LoadedModel) -> Float[Tensor, "rows width"]:
    return loaded.components.ln_final(_like(x, loaded, loaded.components.ln_final))


def _like(x: Tensor, loaded: LoadedModel, module: nn.Module) -> Tensor:
    """Where the module is and in the dtype that the model computes in."""
    device = next((one.device for one in module.parameters() if not one.is_meta), loaded.device)
    return x.to(device, loaded.model.dtype)


def read_text(loaded: LoadedModel, prompts: Prompts, top: int, progress: Progress) -> TextReadout:
    """The first prompt at every token and layer; label words of several tokens are read at the readout position only.

    Raises DeviceError when it does not fit, CheckpointError when a value is not finite.
    """
    try:
        found = _read_text(loaded, prompts, top, progress)
        return found if prompts.single else replace(found, label_logits=_whole_words(loaded, found, prompts, progress))
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    give_back(loaded.device)
    raise too_large(loaded.device)


def _whole_words(
    loaded: LoadedModel, read: TextReadout, prompts: Prompts, progress: Progress
) -> Float32[np.ndarray, "tokens layers classes"]:
    """Log-probabilities of the label words behind the prompt at every layer; NaN at the tokens before its last."""
    first = prompts.first()
    words = expand(first)
    reading = collect(loaded, first, progress).reading[:, 0]
    labels = np.full_like(read.label_logits, np.nan)
    labels[-1] = words.combine(label_logits(reading, words.prompts.columns, loaded, loaded))
    labels.setflags(write=False)
    return labels


@torch.inference_mode()
def _read_text(loaded: LoadedModel, prompts: Prompts, top: int, progress: Progress) -> TextReadout:
    ids = prompts.token_ids[0]
    progress(0.0, f"Reading {len(ids)} tokens.")
    padded, _, inputs = pad([ids], prompts.readout, loaded, prompts.token_types[:1])
    with taps(loaded.components, None) as taken:
        run(loaded, padded, inputs)
    residuals = torch.stack([one[0].to("cpu", torch.float32) for one in taken], dim=1)  # [tokens, layers, width]
    tokens, layers, width = residuals.shape
    following = torch.tensor([*ids[1:], 0])[:, None].expand(tokens, layers).reshape(-1, 1)
    parts: list[tuple[Tensor, ...]] = []
    chunk = max(1, CHUNK_VALUES // loaded.model.config.vocab_size)
    flat = residuals.reshape(-1, width)
    for start in range(0, len(flat), chunk):
        progress(start / len(flat), "Reading every token at every layer.")
        parts.append(_read(loaded, flat[start : start + chunk], following[start : start + chunk], prompts, top))
    labels, followed, best, best_probability = (
        torch.cat(column).reshape(tokens, layers, -1).numpy() for column in zip(*parts, strict=True)
    )
    followed[-1] = np.nan
    followed.setflags(write=False)
    found = TextReadout(residuals.numpy(), labels, followed[:, :, 0], best, best_probability)
    hand_over(loaded, found.residuals, best, best_probability, *([labels] if loaded.components.family.has_head else []))
    labels.setflags(write=False)
    return found


def _read(loaded: LoadedModel, rows: Tensor, following: Tensor, prompts: Prompts, top: int) -> tuple[Tensor, ...]:
    """Label logits, probability of the token that follows, and the likeliest tokens with theirs, on the CPU."""
    if not loaded.components.family.predicts:
        return _classified(loaded, rows, prompts)
    logits = loaded.components.unembed(_normed(rows, loaded)).to(torch.float32)
    total = logits.logsumexp(dim=-1, keepdim=True)
    best, which = logits.topk(min(top, logits.shape[-1]), dim=-1)
    labels = pick(logits, prompts.columns)
    followed = (logits.gather(1, following.to(logits.device)) - total).exp()
    return labels.cpu(), followed.cpu(), which.cpu(), (best - total).exp().cpu()


def _classified(loaded: LoadedModel, rows: Tensor, prompts: Prompts) -> tuple[Tensor, ...]:
    """A classification head reads any residual, and no token comes next; without a head all is undefined."""
    undefined = torch.full((len(rows), 1), torch.nan)
    labels = undefined.expand(-1, prompts.classes)
    if loaded.components.family.has_head:
        labels = _columns(_normed(rows, loaded), prompts.columns, loaded)
    return labels.to("cpu", torch.float32), undefined, torch.empty((len(rows), 0), dtype=torch.int64), undefined[:, :0]
