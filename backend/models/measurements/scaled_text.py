"""Continue a text with a model whose change is scaled: in its weights, or in its logits."""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache

from backend.caching.progress import Progress
from backend.errors import UndefinedError
from backend.lab.differences import Scaling
from backend.lab.outputs import Sampling
from backend.models.measurements.generation import choose, continuation, ends, read_new
from backend.models.measurements.scaling import check, scale_ends
from backend.models.runtime.batching import run_alone
from backend.models.runtime.forward import check_written, pad
from backend.models.runtime.load import LoadedModel
from backend.models.runtime.scaled import ScaledModel
from backend.study.token_ids import Prompts


def scaled_text(
    reference: LoadedModel,
    checkpoint: LoadedModel,
    scaling: Scaling,
    prompts: Prompts,
    tokens: int,
    sampling: Sampling | None,
    progress: Progress,
) -> tuple[int, ...]:
    """Continue the first prompt with a private model at reference + alpha (checkpoint - reference).

    The scaled weights exist beside those of both models until the text is written. Halves of a block are scaled with
    its whole block. Raises UndefinedError for models that predict no tokens, CheckpointError, DeviceError.
    """
    check(reference, checkpoint, [scaling])

    def write() -> tuple[int, ...]:
        model = ScaledModel(reference, checkpoint)
        for block in range(len(reference.components.blocks)) if scaling.part == "all" else scaling.blocks:
            model.scale(block, scaling.alpha)
        model.scale("embed", scaling.alpha if scaling.part in ("all", "embed") else 0.0)
        scale_ends(model, scaling)
        return continuation(model.loaded, prompts, None, tokens, sampling, progress)

    return run_alone(write, reference.device)


def amplified_text(
    reference: LoadedModel,
    checkpoint: LoadedModel,
    alpha: float,
    prompts: Prompts,
    tokens: int,
    sampling: Sampling | None,
    progress: Progress,
) -> tuple[int, ...]:
    """Continue the first prompt with the logits after + alpha (after - before) of checkpoint and reference.

    alpha 0 is the checkpoint, -1 the reference; logits are those of the tokens that both have. Raises UndefinedError
    for models that predict no tokens, DeviceError.
    """
    for one in (reference, checkpoint):
        if not one.components.family.predicts:
            raise UndefinedError(
                f"{one.model.config.name_or_path} predicts no tokens, so it cannot continue a text; use a causal "
                f"language model."
            )
    pair = (reference, checkpoint)
    return run_alone(
        lambda: _amplified(pair, alpha, prompts.token_ids[0], tokens, sampling, progress), reference.device
    )


@torch.inference_mode()
def _amplified(
    pair: tuple[LoadedModel, LoadedModel],
    alpha: float,
    prompt: tuple[int, ...],
    tokens: int,
    sampling: Sampling | None,
    progress: Progress,
) -> tuple[int, ...]:
    models: list[Any] = [one.model for one in pair]
    caches = [DynamicCache(config=one.model.config) if one.continues else None for one in pair]
    generator = None if sampling is None else torch.Generator().manual_seed(sampling.seed)
    shared = min(model.config.vocab_size for model in models)
    positions = getattr(models[0].config, "max_position_embeddings", None) or len(prompt) + tokens
    inputs = [pad([prompt], "last", one)[0] for one in pair]
    generated: list[int] = []
    for step in range(min(tokens, positions - len(prompt) + 1)):
        progress(step / tokens, f"Generating: {step} of {tokens} tokens.")
        for one in pair:
            check_written(one, generated)
        reads = zip(models, inputs, caches, strict=True)
        before, after = (read_new(model, ids, cache).logits[0, -1, :shared].float() for model, ids, cache in reads)
        before = before.to(after.device)
        token = choose(after + alpha * (after - before), sampling, generator)
        if token in ends(models[1]):
            break
        generated.append(token)
        new = torch.tensor([[token]])
        inputs = [
            new.to(ids.device) if cache is not None else torch.cat([ids, new.to(ids.device)], dim=1)
            for ids, cache in zip(inputs, caches, strict=True)
        ]
    return tuple(generated)
