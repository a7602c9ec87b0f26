"""Blocks run by hand against the model's own forward pass."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from backend.errors import CheckpointError
from backend.models.local import LocalModels
from backend.models.runtime.blocks import attend, embed, proceed, surroundings
from backend.models.runtime.components import anatomy_of
from backend.models.runtime.forward import pad
from backend.models.runtime.load import LoadedModel
from tests.models.random_encoders import HEADS, NAMES, encoder, some_prompts
from tests.models.random_models import POSITIONS, SIZES, Pin, random_model

IDS = torch.tensor([[int(i) for i in range(5, 33)], [int(i) for i in range(60, 32, -1)]])


def loaded(model: PreTrainedModel) -> LoadedModel:
    return LoadedModel(model.eval(), anatomy_of(model), torch.device("cpu"), 0)


@torch.inference_mode()
def by_hand(model: LoadedModel, ids: torch.Tensor, inputs: dict[str, torch.Tensor] | None = None) -> list[torch.Tensor]:
    """Hidden states as transformers counts them, the last one behind the final norm."""
    ids = ids.to(model.device)
    states = [embed(model, ids, inputs)]
    around = surroundings(model, ids, inputs)
    for block in range(len(model.components.blocks)):
        states.append(proceed(model, block, attend(model, block, states[-1], around)))
    return [*states[:-1], model.components.ln_final(states[-1])]


@torch.inference_mode()
def own(model: PreTrainedModel, ids: torch.Tensor) -> list[torch.Tensor]:
    return list(model(input_ids=ids.to(model.device), output_hidden_states=True).hidden_states)


def agree(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-5)
        assert one.std() > 0.1


def test_halves_are_the_models_own_forward(models: LocalModels, pin: Pin, folder: Path):
    with models.store.borrow(pin(folder)) as model:
        agree(by_hand(model, IDS), own(model.model, IDS))


@pytest.mark.parametrize(
    "model",
    [
        MistralForCausalLM(MistralConfig(**SIZES, sliding_window=5)),
        Qwen2ForCausalLM(Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=5, max_window_layers=2)),
        Qwen3ForCausalLM(Qwen3Config(**SIZES, use_sliding_window=True, sliding_window=5, max_window_layers=2)),
        LlamaForCausalLM(
            LlamaConfig(**SIZES, rope_parameters={"rope_type": "linear", "factor": 4.0, "rope_theta": 500})
        ),
    ],
    ids=["mistral", "qwen2", "qwen3", "scaled rotary"],
)
def test_sliding_windows_and_scaled_positions_are_the_models_own(model: PreTrainedModel):
    agree(by_hand(loaded(model), IDS), own(model.eval(), IDS))


def test_a_window_makes_a_difference():
    plain = MistralForCausalLM(MistralConfig(**SIZES, sliding_window=None))
    narrow = MistralForCausalLM(MistralConfig(**SIZES, sliding_window=5))
    narrow.load_state_dict(plain.state_dict())
    assert (by_hand(loaded(plain), IDS)[2] - by_hand(loaded(narrow), IDS)[2]).abs().max() > 0.1


def test_half_precision_stays_the_models_own():
    model = random_model("llama").bfloat16()
    found = by_hand(loaded(model), IDS)
    assert {one.dtype for one in found} == {torch.bfloat16}
    for one, other in zip(found, own(model, IDS), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", NAMES)
def test_an_encoders_halves_are_its_own_forward_whatever_the_batch(name: str, head: str):
    model = encoder(name, head)
    prompts = some_prompts()
    ids, _, inputs = pad(prompts.token_ids, "first", loaded(model))
    together = by_hand(loaded(model), ids, inputs)
    for row, tokens in enumerate(prompts.token_ids):
        alone = torch.tensor([tokens])
        padded = [state[row : row + 1, : len(tokens)] for state in together]
        for ours in (padded, by_hand(loaded(model), alone)):
            theirs = own(model, alone)
            assert len(ours) == len(theirs)
            for one, other in zip(ours, theirs, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-5, atol=2e-5)
    assert ids.shape[1] == POSITIONS


def test_padding_would_be_read_without_the_mask():
    model = loaded(encoder("Bert"))
    ids, _, inputs = pad(some_prompts().token_ids, "first", model)
    masked, unmasked = by_hand(model, ids, inputs), by_hand(model, ids)
    assert (masked[-1] - unmasked[-1])[2, 0].abs().max() > 0.05


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_several_copies_of_a_batch_are_read_at_once(name: str):
    model = loaded(encoder(name))
    ids, _, inputs = pad(some_prompts().token_ids, "first", model)
    x = embed(model, ids, inputs)
    around = surroundings(model, ids, inputs)
    other = x.flip(-1)
    both = proceed(model, 1, attend(model, 1, torch.cat([x, other]), around))
    apart = [proceed(model, 1, attend(model, 1, one, around)) for one in (x, other)]
    torch.testing.assert_close(both, torch.cat(apart), rtol=1e-5, atol=1e-5)


def test_a_causal_family_that_reads_both_ways_is_an_error():
    model = random_model("llama")
    model.config.is_causal = False
    with pytest.raises(CheckpointError, match="reads in both directions, so its blocks cannot run one by one"):
        by_hand(loaded(model), IDS)
