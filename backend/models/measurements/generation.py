"""What a causal model writes behind a prompt, token by token, with or without an intervention on its residuals."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache

from backend.caching.progress import Progress
from backend.errors import UndefinedError
from backend.lab.outputs import Intervention, Sampling
from backend.models.runtime.batching import too_large
from backend.models.runtime.devices import give_back, is_out_of_memory
from backend.models.runtime.forward import pad
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
    """At most `tokens` tokens behind the first of the prompts, the likeliest ones without `sampling`.

    Ends before the end of text, and where the model has no more positions. What is added at all positions is added at
    the new ones too; the readout position stays the prompt's last. Raises UndefinedError where no tokens are predicted,
    DeviceError.
    """
    if not loaded.components.family.predicts:
        raise UndefinedError(
            f"{loaded.model.config.name_or_path} predicts no tokens, so it continues no text; use a causal language "
            f"model."
        )
    check(loaded, [] if intervention is None else [intervention])
    try:
        return _written(loaded, prompts.token_ids[0], intervention, tokens, sampling, progress)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    give_back(loaded.device)
    raise too_large(loaded.device)


@torch.inference_mode()
def _written(
    loaded: LoadedModel,
    prompt: tuple[int, ...],
    intervention: Intervention | None,
    tokens: int,
    sampling: Sampling | None,
    progress: Progress,
) -> tuple[int, ...]:
    model: Any = loaded.model
    kept = DynamicCache(config=model.config)
    generator = None if sampling is None else torch.Generator().manual_seed(sampling.seed)
    ends = _ends(model)
    room = getattr(model.config, "max_position_embeddings", None) or len(prompt) + tokens
    ids, readout, _ = pad([prompt], "last", loaded)
    found: list[int] = []
    start = 0
    for step in range(min(tokens, room - len(prompt) + 1)):
        progress(step / tokens, f"Writing: {step} of {tokens} tokens.")
        with intervening(loaded, intervention, readout, start):
            out = model(input_ids=ids, past_key_values=kept, use_cache=True, logits_to_keep=1)
        token = _choose(out.logits[0, -1], sampling, generator)
        if token in ends:
            break
        found.append(token)
        start += ids.shape[1]
        ids = torch.tensor([[token]], device=ids.device)
    return tuple(found)


def _choose(logits: Float[Tensor, " vocabulary"], sampling: Sampling | None, generator: torch.Generator | None) -> int:
    """The likeliest token, or one drawn on the CPU, so that every device draws alike."""
    if sampling is None:
        return int(logits.argmax())
    chances = (logits.to("cpu", torch.float64) / sampling.temperature).softmax(-1)
    return int(torch.multinomial(chances, 1, generator=generator))


def _ends(model: Any) -> set[int]:
    """The tokens behind which nothing follows."""
    end = model.config.eos_token_id
    return set(end) if isinstance(end, list) else set() if end is None else {end}
