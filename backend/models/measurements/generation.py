"""Generate continuations with a causal model, with or without an intervention on its residuals."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache

from backend.caching.progress import Progress
from backend.errors import UndefinedError
from backend.lab.outputs import Intervention, Sampling
from backend.models.runtime.batching import run_alone
from backend.models.runtime.forward import check_written, pad
from backend.models.runtime.interventions import check, intervening
from backend.models.runtime.load import LoadedModel
from backend.study.token_ids import Prompts


def continuation(
    loaded: LoadedModel,
    prompts: Prompts,
    intervention: Intervention | None,
    tokens: int,
    sampling: Sampling | None,
    progress: Progress,
) -> tuple[int, ...]:
    """Continue the first prompt by at most `tokens` tokens, the most likely ones without `sampling`.

    Generation stops at an end-of-text token, and at the model's last position. An intervention at all positions acts on
    new tokens too; the readout position stays the prompt's last token. Raises UndefinedError for a model that predicts
    no tokens, DeviceError.
    """
    if not loaded.components.family.predicts:
        raise UndefinedError(
            f"{loaded.model.config.name_or_path} predicts no tokens, so it cannot continue a text; use a causal "
            f"language model."
        )
    check(loaded, [] if intervention is None else [intervention])
    prompt = prompts.token_ids[0]
    return run_alone(lambda: _generate(loaded, prompt, intervention, tokens, sampling, progress), loaded.device)


@torch.inference_mode()
def _generate(
    loaded: LoadedModel,
    prompt: tuple[int, ...],
    intervention: Intervention | None,
    tokens: int,
    sampling: Sampling | None,
    progress: Progress,
) -> tuple[int, ...]:
    model: Any = loaded.model
    cache = DynamicCache(config=model.config) if loaded.continues else None
    generator = None if sampling is None else torch.Generator().manual_seed(sampling.seed)
    stops = ends(model)
    positions = getattr(model.config, "max_position_embeddings", None) or len(prompt) + tokens
    ids, readout, _ = pad([prompt], "last", loaded)
    generated: list[int] = []
    start = 0
    for step in range(min(tokens, positions - len(prompt) + 1)):
        progress(step / tokens, f"Generating: {step} of {tokens} tokens.")
        check_written(loaded, generated)
        with intervening(loaded, intervention, readout, start):
            out = read_new(model, ids, cache)
        token = choose(out.logits[0, -1], sampling, generator)
        if token in stops:
            break
        generated.append(token)
        new = torch.tensor([[token]], device=ids.device)
        start, ids = (start, torch.cat([ids, new], dim=1)) if cache is None else (start + ids.shape[1], new)
    return tuple(generated)


def read_new(model: Any, ids: Tensor, cache: DynamicCache | None) -> Any:
    """Read the new tokens, or without a cache the whole text again."""
    if cache is None:
        return model(input_ids=ids, use_cache=False)
    return model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)


def choose(logits: Float[Tensor, " vocabulary"], sampling: Sampling | None, generator: torch.Generator | None) -> int:
    """Return the most likely token, or a sample; sampling on the CPU gives the same tokens on every device."""
    if sampling is None:
        return int(logits.argmax())
    chances = (logits.to("cpu", torch.float64) / sampling.temperature).softmax(-1)
    return int(torch.multinomial(chances, 1, generator=generator))


def ends(model: Any) -> set[int]:
    """Return the end-of-text tokens, as `generate` of transformers takes them: chat models list more of them there."""
    end = model.generation_config.eos_token_id
    end = model.config.eos_token_id if end is None else end
    return set(end) if isinstance(end, list) else set() if end is None else {end}
