"""Compare the next-token predictions and last residuals of a checkpoint and its reference at every position of a text.

Logits over a vocabulary are large: they exist for a few hundred positions at a time, and only their sums are kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from backend.caching.progress import Progress
from backend.errors import UndefinedError
from backend.lab.outputs import OutputSpace
from backend.models.measurements.logit_lens import CHUNK_VALUES
from backend.models.runtime.batching import in_batches
from backend.models.runtime.forward import hand_over, pad
from backend.models.runtime.hooks import module_inputs
from backend.models.runtime.load import LoadedModel
from backend.study.token_ids import Prompts

Hidden = Float[Tensor, "batch tokens width"]
Sets = tuple[tuple[int, ...], ...]
PER_VOCABULARY = ("probability", "logprob_change", "rose")


def output_space(
    checkpoint: LoadedModel, reference: LoadedModel, prompts: Prompts, sets: Sets, progress: Progress
) -> OutputSpace:
    """Run both models over all texts; distributions are renormalized over the token ids that both have.

    Raises UndefinedError if either predicts no tokens, DeviceError, CheckpointError for values that are not finite.
    """
    for model in (checkpoint, reference):
        if not model.components.family.predicts:
            raise UndefinedError(
                f"{model.model.config.name_or_path} predicts no tokens, so there is no output space to compare; use "
                f"causal language models."
            )
    models, count = (reference, checkpoint), len(prompts.token_ids)
    texts: dict[str, np.ndarray] = {}
    sums: dict[str, np.ndarray] = {}

    def read(batch: Prompts) -> dict[str, Tensor]:
        return _read(models, batch, sets)

    for batch, result in in_batches(read, reference, prompts, progress, "Comparing predictions"):
        for name, values in result.items():
            part = values.numpy()
            if name in PER_VOCABULARY:
                sums[name] = sums.get(name, 0.0) + part
            else:
                texts.setdefault(name, np.empty((count, *part.shape[1:]), np.float32))[batch] = part
    arrays = texts | {name: (total / count).astype(np.float32) for name, total in sums.items()}
    for name in ("set_logprob", "set_mass"):
        arrays[name] = np.ascontiguousarray(arrays[name].swapaxes(0, 1))
    hand_over(checkpoint, *(values for name, values in arrays.items() if name != "set_logprob"))
    predicted = prompts.lengths - 1
    for model in (arrays["set_logprob"], predicted):
        model.setflags(write=False)
    return OutputSpace(predicted=predicted, **arrays)


@torch.inference_mode()
def _read(models: tuple[LoadedModel, LoadedModel], batch: Prompts, sets: Sets) -> dict[str, Tensor]:
    """Return one batch's values on the CPU: one per text, or (PER_VOCABULARY) a sum over the batch's texts."""
    ids, last, inputs = pad(batch.token_ids, "last", models[0], batch.token_types)
    hidden = [final_hidden(models[0], ids, inputs)]
    hidden.append(hidden[0] if models[1] is models[0] else final_hidden(models[1], ids, inputs))
    real = torch.arange(ids.shape[1], device=last.device) <= last[:, None]
    values = _geometry(hidden, real)
    ends = torch.arange(len(ids), device=ids.device), last
    values |= _at_the_end(models, [after[ends] for _, after in hidden], sets)
    return values | along(models, [after[:, :-1][real[:, 1:]] for _, after in hidden], ids, real)


def final_hidden(
    loaded: LoadedModel, ids: Int64[Tensor, "batch tokens"], inputs: dict[str, Tensor]
) -> tuple[Hidden, Hidden]:
    """Return the last residual before and after the final norm, at every position; the unembedding does not run."""
    with module_inputs(loaded.components.ln_final) as before:
        after = loaded.components.body(input_ids=ids, use_cache=False, **inputs).last_hidden_state
    return before[0].to(ids.device), after.to(ids.device)


def _geometry(hidden: list[tuple[Hidden, Hidden]], real: Bool[Tensor, "batch tokens"]) -> dict[str, Tensor]:
    """Return cosine and norm ratio of both models' residuals, averaged over tokens: [texts, before and after norm].

    Tokens with a residual of length 0, as a first token with an embedding of zeros has, have neither and are left out.
    """
    measures: dict[str, list[Tensor]] = {"cosine": [], "norm_ratio": []}
    for before, after in zip(*hidden, strict=True):
        before, after = before.float(), after.float()
        norms = before.norm(dim=-1), after.norm(dim=-1)
        counted = real & (norms[0] > 0) & (norms[1] > 0)
        values = ((before * after).sum(-1) / (norms[0] * norms[1])).clamp(-1, 1), norms[1] / norms[0]
        for name, each in zip(measures, values, strict=True):
            measures[name].append(each.where(counted, 0).sum(1) / counted.sum(1))
    return {name: torch.stack(parts, dim=1).cpu() for name, parts in measures.items()}


def _at_the_end(models: tuple[LoadedModel, LoadedModel], rows: list[Tensor], sets: Sets) -> dict[str, Tensor]:
    """Return the predictions for the token after each text."""
    parts: defaultdict[str, list[Tensor]] = defaultdict(list)
    for _, pair in logprobs(models, rows):
        before, after = pair
        parts["entropy"].append(-(after.exp() * after).sum(-1))
        chosen = [torch.tensor(ids, dtype=torch.int64, device=after.device) for ids in sets]
        for name, reduce in (("set_logprob", _mean_logprob), ("set_mass", _mass)):
            both = [torch.stack([reduce(logprobs[:, ids]) for ids in chosen], dim=1) for logprobs in pair]
            parts[name].append(torch.stack(both, dim=1))
        parts["probability"].append(torch.stack([logprobs.exp().sum(0) for logprobs in pair])[None])
        parts["logprob_change"].append((after - before).sum(0, keepdim=True))
        parts["rose"].append((after > before).float().sum(0, keepdim=True))
    joined = {name: torch.cat(tensors).cpu() for name, tensors in parts.items()}
    return {name: values.double().sum(0) if name in PER_VOCABULARY else values for name, values in joined.items()}


def _mean_logprob(chosen: Float[Tensor, "rows set"]) -> Float[Tensor, " rows"]:
    return chosen.mean(-1)


def _mass(chosen: Float[Tensor, "rows set"]) -> Float[Tensor, " rows"]:
    return chosen.exp().sum(-1)


def along(
    models: tuple[LoadedModel, LoadedModel],
    rows: list[Tensor],
    ids: Int64[Tensor, "batch tokens"],
    real: Bool[Tensor, "..."],
) -> dict[str, Tensor]:
    """Return loss and KL summed over each text's predicting positions; `rows` holds those of all texts, in order."""
    following = ids[:, 1:][real[:, 1:]]
    text = torch.arange(len(ids), device=ids.device)[:, None].expand_as(ids)[:, 1:][real[:, 1:]].cpu()
    sums = {name: torch.zeros(len(ids), dtype=torch.float64) for name in ("loss", "kl")}
    for at, (before, after) in logprobs(models, rows):
        loss = -after.gather(1, following[at, None].to(after.device))[:, 0]
        kl = (before.exp() * (before - after)).sum(-1)
        for name, values in (("loss", loss), ("kl", kl)):
            sums[name].index_add_(0, text[at], values.cpu().double())
    return {"loss": sums["loss"], "kl": sums["kl"].clamp(min=0)}  # negative values are rounding errors


def logprobs(
    models: tuple[LoadedModel, LoadedModel], rows: list[Float[Tensor, "rows width"]]
) -> Iterator[tuple[slice, tuple[Float[Tensor, "chunk tokens"], Float[Tensor, "chunk tokens"]]]]:
    """Yield log-probabilities of reference and checkpoint, some rows at a time, over the tokens that both have."""
    sizes = [model.model.config.vocab_size for model in models]
    step = max(1, CHUNK_VALUES // max(sizes))
    for start in range(0, len(rows[0]), step):
        at = slice(start, start + step)
        before = _predicted(models[0], rows[0][at], min(sizes))
        after = before if models[1] is models[0] else _predicted(models[1], rows[1][at], min(sizes)).to(before.device)
        yield at, (before, after)


def _predicted(loaded: LoadedModel, rows: Float[Tensor, "rows width"], shared: int) -> Float[Tensor, "rows tokens"]:
    return loaded.logits(rows)[:, :shared].float().log_softmax(-1)
