"""Logit lens: read residuals with a model's final norm and unembedding, at label tokens or over the vocabulary.

nostalgebraist 2020, "interpreting GPT: the logit lens". Every layer goes through the final norm unless the caller
passes None as norm.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from backend.caching.progress import Progress, silent
from backend.lab.outputs import TextReadout
from backend.models.measurements.residuals import collect
from backend.models.runtime.batching import run_alone
from backend.models.runtime.forward import check_columns, hand_over, pad, pick, run
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
    """Apply the final norm of `norm` (None: skip it), then the given columns of the head of `head`."""
    flat = torch.from_numpy(np.array(residuals.reshape(-1, residuals.shape[-1])))
    parts: list[Tensor] = []
    for rows in flat.split(max(1, CHUNK_VALUES // head.model.config.vocab_size)):
        x = rows if norm is None else _normed(rows, norm)
        parts.append(_columns(x, columns, head).to("cpu", torch.float32))
    logits = torch.cat(parts).numpy().reshape(*residuals.shape[:-1], len(columns.tokens))
    logits.setflags(write=False)
    return logits


def _columns(x: Float[Tensor, "rows width"], columns: Columns, head: LoadedModel) -> Tensor:
    head.check_lens()
    unembed = head.components.unembed
    linear = isinstance(unembed, nn.Linear) and not unembed.weight.is_meta  # offloaded weights exist only in the call
    if columns.normalized or not isinstance(unembed, nn.Linear) or not linear:
        return pick(head.logits(_like(x, head, unembed)), columns)
    check_columns(columns, unembed.weight.shape[0])
    chosen = list(columns.tokens)
    bias = None if unembed.bias is None else unembed.bias[chosen]
    scores = nn.functional.linear(_like(x, head, unembed), unembed.weight[chosen], bias)
    return head.components.transform(scores)  # scales and soft caps act on each logit alone


def _normed(x: Float[Tensor, "rows width"], loaded: LoadedModel) -> Float[Tensor, "rows width"]:
    return loaded.components.ln_final(_like(x, loaded, loaded.components.ln_final))


def _like(x: Tensor, loaded: LoadedModel, module: nn.Module) -> Tensor:
    """Move to the module's device, in the dtype of the model."""
    device = next((parameter.device for parameter in module.parameters() if not parameter.is_meta), loaded.device)
    return x.to(device, loaded.model.dtype)


def read_text(loaded: LoadedModel, prompts: Prompts, top: int, progress: Progress) -> TextReadout:
    """Read the first prompt at every token and layer; label words of several tokens are read after every token.

    Raises DeviceError when it does not fit, CheckpointError when a value is not finite.
    """

    def read() -> TextReadout:
        result = _read_text(loaded, prompts, top, progress)
        if prompts.single:
            return result
        return replace(result, label_logits=_whole_words(loaded, result, prompts, progress))

    return run_alone(read, loaded.device)


def _whole_words(
    loaded: LoadedModel, read: TextReadout, prompts: Prompts, progress: Progress
) -> Float32[np.ndarray, "tokens layers classes"]:
    """Return the log-probability of each label word after every token of the text, at every layer.

    The words' later tokens are read after each beginning of the text, as `whole_words` reads them after a prompt.
    """
    ids, layers, width = prompts.token_ids[0], *read.residuals.shape[1:]
    texts = replace(
        prompts.first(),
        token_ids=tuple(ids[: end + 1] for end in range(len(ids))),
        labels=prompts.labels[:1].repeat(len(ids)),
        truncated=prompts.truncated[:1].repeat(len(ids)),
    )
    words = expand(texts)
    columns = words.prompts.columns
    logits = np.empty((len(ids), words.positions, layers, len(columns.tokens)), np.float32)
    logits[:, 0] = label_logits(read.residuals, columns, loaded, loaded)
    some = max(1, CHUNK_VALUES // (words.positions * layers * width))
    for start in range(0, len(ids), some):
        progress(start / len(ids), "Reading the label words after every token.")
        tokens = range(start, min(start + some, len(ids)))
        rows = [token * words.positions + place for token in tokens for place in range(1, words.positions)]
        found = collect(loaded, words.prompts.some(rows), silent).residuals
        behind = label_logits(found, columns, loaded, loaded)
        logits[list(tokens), 1:] = behind.reshape(len(tokens), words.positions - 1, layers, -1)
    labels = words.combine(np.moveaxis(logits, 1, 0))
    labels.setflags(write=False)
    return labels


@torch.inference_mode()
def _read_text(loaded: LoadedModel, prompts: Prompts, top: int, progress: Progress) -> TextReadout:
    ids = prompts.token_ids[0]
    progress(0.0, f"Reading {len(ids)} tokens.")
    padded, _, inputs = pad([ids], prompts.readout, loaded, prompts.token_types[:1])
    with taps(loaded.components, None) as layers_read:
        run(loaded, padded, inputs)
    residuals = torch.stack(
        [layer[0].to("cpu", torch.float32) for layer in layers_read], dim=1
    )  # [tokens, layers, width]
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
    readout = TextReadout(residuals.numpy(), labels, followed[:, :, 0], best, best_probability)
    hand_over(
        loaded, readout.residuals, best, best_probability, *([labels] if loaded.components.family.has_head else [])
    )
    labels.setflags(write=False)
    return readout


def _read(loaded: LoadedModel, rows: Tensor, following: Tensor, prompts: Prompts, top: int) -> tuple[Tensor, ...]:
    """Return label logits, the next token's probability, and the most likely tokens with theirs, on the CPU."""
    if not loaded.components.family.predicts:
        return _classified(loaded, rows, prompts)
    logits = loaded.logits(_normed(rows, loaded)).to(torch.float32)
    total = logits.logsumexp(dim=-1, keepdim=True)
    best, which = logits.topk(min(top, logits.shape[-1]), dim=-1)
    labels = pick(logits, prompts.columns)
    followed = (logits.gather(1, following.to(logits.device)) - total).exp()
    return labels.cpu(), followed.cpu(), which.cpu(), (best - total).exp().cpu()


def _classified(loaded: LoadedModel, rows: Tensor, prompts: Prompts) -> tuple[Tensor, ...]:
    """Return label logits from a classification head, NaN without a head; next tokens are undefined (NaN, or none)."""
    undefined = torch.full((len(rows), 1), torch.nan)
    labels = undefined.expand(-1, len(prompts.label_tokens))
    if loaded.components.family.has_head:
        labels = _columns(_normed(rows, loaded), prompts.columns, loaded)
    return labels.to("cpu", torch.float32), undefined, torch.empty((len(rows), 0), dtype=torch.int64), undefined[:, :0]
