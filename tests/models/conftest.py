"""Tiny random checkpoints on disk, one per architecture, and what is asked of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
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
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.config import CheckpointRef
from backend.study.token_ids import Prompts
from backend.training.local_autoencoders import LocalAutoencoders
from tests.fakes import fake_tokenizer

LAYERS, WIDTH, POSITIONS = 3, 32, 64
LABEL_TOKENS = (7, 11)
ARCHITECTURES = {
    "gpt2": (GPT2Config, GPT2LMHeadModel),
    "llama": (LlamaConfig, LlamaForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
}


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


Pin = Callable[..., PinnedCheckpoint]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tiny models gain nothing from threads, and on a busy machine threads wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(params=ARCHITECTURES, scope="session")
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of each family on disk."""
    return save(random_model(family), tmp_path_factory.mktemp(family))


@pytest.fixture
def gpt2(tmp_path: Path) -> Path:
    """A GPT-2 on disk that a test may damage."""
    return save(random_model("gpt2"), tmp_path / "gpt2")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def models(cache: Cache) -> LocalModels:
    return LocalModels(cache)


@pytest.fixture
def pin(models: LocalModels) -> Pin:
    """A folder pinned as a checkpoint, on a base if it is an adapter."""

    def pinned(folder: Path, base: Path | None = None, dtype: str = "float32", label: str = "base") -> PinnedCheckpoint:
        one, below = ref(folder, label), ref(base or folder)
        return PinnedCheckpoint(models.fingerprint(one, below), dtype, one, below, models.facts(one, below))

    return pinned


@pytest.fixture
def prompts() -> Prompts:
    """Thirty-three prompts of one to sixty-four tokens, in no order."""
    return make_prompts([int(n) for n in np.random.default_rng(1).integers(2, POSITIONS, 31)] + [1, POSITIONS])
