"""Tiny random causal models, one per architecture, on disk or in memory, and prompts for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from backend.caching.cache import Cache
from backend.caching.progress import Progress, silent
from backend.lab.lab import Lab
from backend.models.local import LocalModels
from backend.models.runtime.components import anatomy_of
from backend.models.runtime.load import LoadedModel
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.config import CheckpointRef
from backend.study.token_ids import Prompts
from backend.training.local_autoencoders import LocalAutoencoders
from tests.device import DEVICE, there
from tests.fake_texts import fake_tokenizer

LAYERS, WIDTH, POSITIONS = 3, 32, 64
LABEL_TOKENS = (7, 11)
ARCHITECTURES = {
    "gpt2": (GPT2Config, GPT2LMHeadModel),
    "llama": (LlamaConfig, LlamaForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
}
Pin = Callable[..., PinnedCheckpoint]


def random_model(
    name: str,
    seed: int = 0,
    tied: bool | None = None,
    vocabulary: int | None = None,
    layers: int = LAYERS,
    head: str | None = None,
    **settings: Any,
) -> PreTrainedModel:
    """A model of a family with random weights, norms and biases included, large enough that logits spread.

    With `head`, the end of a class name, it is another model than the one that predicts next tokens; `settings` go
    into its config.
    """
    torch.manual_seed(seed)
    size = vocabulary or fake_tokenizer().get_vocab_size()
    kind, model_class = ARCHITECTURES[name]
    if name == "gpt2":
        sizes = {"n_positions": POSITIONS, "n_embd": WIDTH, "n_layer": layers, "n_head": 4, "initializer_range": 0.3}
        tied = tied is None or tied
    else:
        sizes = {
            "hidden_size": WIDTH,
            "intermediate_size": 48,
            "num_hidden_layers": layers,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "max_position_embeddings": POSITIONS,
            "initializer_range": 0.3,
        }
        tied = bool(tied)
    special = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    if head is not None:
        model_class = getattr(transformers, kind.__name__.removesuffix("Config") + head)
    model = model_class(kind(**{"vocab_size": size, "tie_word_embeddings": tied, **special, **sizes, **settings}))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def save(model: PreTrainedModel, folder: Path, tokenizer: bool = True, **options: object) -> Path:
    """The model, and the fakes' tokenizer beside it."""
    model.save_pretrained(folder, **options)  # pyright: ignore[reportArgumentType]
    if tokenizer:
        PreTrainedTokenizerFast(tokenizer_object=fake_tokenizer()).save_pretrained(folder)
    return folder


def ref(folder: Path, label: str = "base") -> CheckpointRef:
    return CheckpointRef(label=label, path=str(folder))


def make_prompts(lengths: list[int], seed: int = 0, vocabulary: int | None = None) -> Prompts:
    """Prompts of these lengths, of random tokens; the ids that stand for padding elsewhere occur too."""
    generator = np.random.default_rng(seed)
    size = vocabulary or fake_tokenizer().get_vocab_size()
    return Prompts(
        digest=str(lengths),
        token_ids=tuple(tuple(generator.integers(0, size, length).tolist()) for length in lengths),
        labels=np.arange(len(lengths), dtype=np.int64) % 2,
        label_tokens=LABEL_TOKENS,
        truncated=np.zeros(len(lengths), dtype=bool),
    )


def real_lab(cache: Cache, models: LocalModels, progress: Progress = silent) -> Lab:
    """A lab on models of this machine."""
    return Lab(cache, models, LocalAutoencoders(models), progress)


def as_opened(model: PreTrainedModel) -> LoadedModel:
    """The model on the device of the tests, where it is a copy unless that is the CPU."""
    model = there(model)
    return LoadedModel(model, anatomy_of(model), DEVICE, 0)


SIZES = {
    "vocab_size": 90,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
}
