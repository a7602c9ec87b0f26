"""What a checkpoint and its reference predict at every position of a text, and their last residuals side by side.

Logits over a vocabulary are many: they exist for a few hundred positions at a time, and only sums of them are kept.
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
from backend.models.runtime.load import LoadedModel
from backend.study.token_ids import Prompts

Hidden = Float[Tensor, "batch tokens width"]
Sets = tuple[tuple[int, ...], ...]
PER_VOCABULARY = ("probability", "logprob_change", "rose")


def output_space(
    checkpoint: LoadedModel, reference: LoadedModel, prompts: Prompts, sets: Sets, progress: Progress
) -> OutputSpace:
    """Both models over all texts; distributions are renormalized over the token ids that both have.

    Raises UndefinedError where either predicts no tokens, DeviceError, CheckpointError for values not finite.
    """
    for one in (checkpoint, reference):
        if not one.components.family.predicts:
            raise UndefinedError(
                f"{one.model.config.name_or_path} predicts no tokens, so there is no output space to compare; use "
                f"causal language models."
            )
    models, count = (reference, checkpoint), len(prompts.token_ids)
    texts: dict[str, np.ndarray] = {}
    sums: dict[str, np.ndarray] = {}

    def read(batch: Prompts) -> dict[str, Tensor]:
        return _read(models, batch, sets)

    for batch, found in in_batches(read, reference, prompts, progress, "Comparing predictions"):
        for name, values in found.items():
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
    for one in (arrays["set_logprob"], predicted):
        one.setflags(write=False)
    return OutputSpace(predicted=predicted, **arrays)


@torch.inference_mode()
def _read(models: tuple[LoadedModel, LoadedModel], batch: Prompts, sets: Sets) -> dict[str, Tensor]:
    """One batch, on the CPU: an entry per text, or (PER_VOCABULARY) a sum over the batch's texts."""
    ids, last, inputs = pad(batch.token_ids, "last", models[0])
    hidden = [final_hidden(models[0], ids, inputs)]
    hidden.append(hidden[0] if models[1] is models[0] else final_hidden(models[1], ids, inputs))
    real = torch.arange(ids.shape[1], device=last.device) <= last[:, None]
    found = _geometry(hidden, real)
    ends = torch.arange(len(ids), device=ids.device), last
    found |= _at_the_end(models, [after[ends] for _, after in hidden], sets)
    return found | along(models, [after[:, :-1][real[:, 1:]] for _, after in hidden], ids, real)


def final_hidden(
    loaded: LoadedModel, ids: Int64[Tensor, "batch tokens"], inputs: dict[str, Tensor]
) -> tuple[Hidden, Hidden]:
    """The last residual before and after the final norm, at every position; the unembedding does not run."""
    before: list[Tensor] = []
    norm = loaded.components.ln_final
    hook = norm.register_forward_pre_hook(lambda _module, args: before.append(args[0]))
    try:
        after = loaded.model.base_model(input_ids=ids, use_cache=False, **inputs).last_hidden_state
    finally:
        hook.remove()
    return before[0].to(ids.device), after.to(ids.device)


def _geometry(hidden: list[tuple[Hidden, Hidden]], real: Bool[Tensor, "batch tokens"]) -> dict[str, Tensor]:
    """Cosine and norm ratio of both models' residuals, [texts, before and after the norm], means over real tokens."""
    found: dict[str, list[Tensor]] = {"cosine": [], "norm_ratio": []}
    for there, here in zip(*hidden, strict=True):
        there, here = there.float(), here.float()
        norms = there.norm(dim=-1), here.norm(dim=-1)
        found["cosine"].append(((there * here).sum(-1) / (norms[0] * norms[1])).clamp(-1, 1))
        found["norm_ratio"].append(norms[1] / norms[0])
    mean = {name: [(one * real).sum(1) / real.sum(1) for one in values] for name, values in found.items()}
    return {name: torch.stack(values, dim=1).cpu() for name, values in mean.items()}


def _at_the_end(models: tuple[LoadedModel, LoadedModel], rows: list[Tensor], sets: Sets) -> dict[str, Tensor]:
    """What is predicted to follow each text."""
    found: defaultdict[str, list[Tensor]] = defaultdict(list)
    for _, pair in _logprobs(models, rows):
        there, here = pair
        found["entropy"].append(-(here.exp() * here).sum(-1))
        chosen = [torch.tensor(one, dtype=torch.int64, device=here.device) for one in sets]
        for name, of in (("set_logprob", _mean_logprob), ("set_mass", _mass)):
            both = [torch.stack([of(one[:, ids]) for ids in chosen], dim=1) for one in pair]
            found[name].append(torch.stack(both, dim=1))
        found["probability"].append(torch.stack([one.exp().sum(0) for one in pair])[None])
        found["logprob_change"].append((here - there).sum(0, keepdim=True))
        found["rose"].append((here > there).float().sum(0, keepdim=True))
    joined = {name: torch.cat(parts).cpu() for name, parts in found.items()}
    return {name: one.double().sum(0) if name in PER_VOCABULARY else one for name, one in joined.items()}


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
    """Sums over the positions of each text that predict a token of it; `rows` are those of all texts, in order."""
    following = ids[:, 1:][real[:, 1:]]
    text = torch.arange(len(ids), device=ids.device)[:, None].expand_as(ids)[:, 1:][real[:, 1:]].cpu()
    sums = {name: torch.zeros(len(ids), dtype=torch.float64) for name in ("loss", "kl")}
    for at, (there, here) in _logprobs(models, rows):
        loss = -here.gather(1, following[at, None].to(here.device))[:, 0]
        kl = (there.exp() * (there - here)).sum(-1)
        for name, values in (("loss", loss), ("kl", kl)):
            sums[name].index_add_(0, text[at], values.cpu().double())
    return {"loss": sums["loss"], "kl": sums["kl"].clamp(min=0)}  # below zero is rounding


def _logprobs(
    models: tuple[LoadedModel, LoadedModel], rows: list[Float[Tensor, "rows width"]]
) -> Iterator[tuple[slice, tuple[Float[Tensor, "chunk tokens"], Float[Tensor, "chunk tokens"]]]]:
    """Log-probabilities of reference and checkpoint for some rows at a time, over the tokens that both have."""
    sizes = [model.model.config.vocab_size for model in models]
    step = max(1, CHUNK_VALUES // max(sizes))
    for start in range(0, len(rows[0]), step):
        at = slice(start, start + step)
        there = _predicted(models[0], rows[0][at], min(sizes))
        here = there if models[1] is models[0] else _predicted(models[1], rows[1][at], min(sizes)).to(there.device)
        yield at, (there, here)


def _predicted(loaded: LoadedModel, rows: Float[Tensor, "rows width"], shared: int) -> Float[Tensor, "rows tokens"]:
    return loaded.components.unembed(rows)[:, :shared].float().log_softmax(-1)
