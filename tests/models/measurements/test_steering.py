"""Pushes and ablations against plain transformers with hooks written by hand, one prompt at a time."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import MistralConfig, MistralForCausalLM, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from backend.caching.progress import silent
from backend.errors import Cancelled, CheckpointError, DeviceError
from backend.lab.outputs import Ablation, Intervention, SteeringVectors
from backend.models.local import LocalModels
from backend.models.measurements import steering
from backend.models.measurements.steering import steered
from backend.models.runtime import branches
from backend.models.runtime.components import anatomy_of
from backend.models.runtime.interventions import intervening
from backend.study.token_ids import Prompts
from tests.device import DEVICE, ask
from tests.models.hooked import EVERY, PLAN, by_hand, vectors
from tests.models.random_encoders import NAMES, encoder, some_prompts
from tests.models.random_models import (
    ARCHITECTURES,
    LABEL_TOKENS,
    LAYERS,
    SIZES,
    WIDTH,
    Pin,
    as_opened,
    make_prompts,
    random_model,
)
from tests.models.references import hooks

PROMPTS = make_prompts([int(n) for n in np.random.default_rng(1).integers(1, 40, 11)] + [1, 2, 40])


@pytest.fixture(scope="module")
def hosts() -> dict[str, PreTrainedModel]:
    return {name: random_model(name, seed=1) for name in ARCHITECTURES}


def test_every_intervention_is_the_model_with_hooks_by_hand(hosts, family: str):
    found = steered(as_opened(hosts[family]), PLAN, PROMPTS, silent)
    assert found.shape == (len(PLAN), len(PROMPTS.token_ids), len(LABEL_TOKENS))
    for one, logits in zip(PLAN, found, strict=True):
        np.testing.assert_allclose(logits, by_hand(hosts[family], one, PROMPTS), rtol=1e-4, atol=2e-4)
    for i in range(len(PLAN)):
        for j in range(i):
            assert np.abs(found[i] - found[j]).max() > 0.01  # no two are the same, so none was mistaken for another


def test_nothing_added_is_the_model_as_it_is(hosts, family: str):
    none = [
        SteeringVectors((layer,), np.zeros((1, WIDTH), np.float32), at) for layer in EVERY for at in ("readout", "all")
    ]
    found = steered(as_opened(hosts[family]), none, PROMPTS, silent)
    with torch.no_grad():
        own = [hosts[family](torch.tensor([ids])).logits[0, -1, list(LABEL_TOKENS)] for ids in PROMPTS.token_ids]
    np.testing.assert_allclose(found, np.broadcast_to(torch.stack(own).numpy(), found.shape), rtol=1e-4, atol=2e-4)


def test_what_was_ablated_is_the_same_for_all_reviews(hosts):
    """Behind the last layer the projection on the direction is that of the mean, except at the first position."""
    model, one = as_opened(hosts["llama"]), PLAN[-1]
    assert isinstance(one, Ablation)
    seen: list[torch.Tensor] = []
    hook = model.components.ln_final.register_forward_pre_hook(lambda _module, args: seen.append(args[0][0]))
    with torch.no_grad(), intervening(model, one, torch.tensor([8], device=DEVICE)):
        ask(model.model, torch.tensor([PROMPTS.token_ids[0][:9]]), use_cache=False)
    hook.remove()
    along = seen[0].cpu() @ torch.from_numpy(one.unit)
    np.testing.assert_allclose(along[1:], float(one.mean[-1] @ one.unit), rtol=1e-4, atol=1e-4)
    assert abs(along[0] - along[1]) > 0.1


@pytest.mark.parametrize("one", PLAN)
def test_hooks_do_the_same_and_leave(hosts, one: Intervention):
    model = as_opened(hosts["qwen3"])
    before = hooks(model.model)
    ids = PROMPTS.token_ids[1]
    with torch.no_grad(), intervening(model, one, torch.tensor([len(ids) - 1], device=DEVICE)):
        found = ask(model.model, torch.tensor([ids]), use_cache=False).logits[0, -1, list(LABEL_TOKENS)].cpu()
    (expected,) = by_hand(hosts["qwen3"], one, Prompts(**{**vars(PROMPTS), "token_ids": (ids,)}))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-4)
    assert hooks(model.model) == before


@pytest.mark.parametrize(
    "model",
    [
        MistralForCausalLM(MistralConfig(**SIZES, sliding_window=5)),
        Qwen2ForCausalLM(Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=5, max_window_layers=2)),
    ],
    ids=["mistral", "qwen2"],
)
def test_branches_look_through_the_models_window(model: PreTrainedModel):
    model.eval()
    prompts = make_prompts([30, 4, 17], vocabulary=90)
    plan = [SteeringVectors((layer,), vectors(1)) for layer in range(4)]
    for one, logits in zip(plan, steered(as_opened(model), plan, prompts, silent), strict=True):
        np.testing.assert_allclose(logits, by_hand(model, one, prompts), rtol=1e-4, atol=2e-4)


FEW = make_prompts([9, 3, 12])


@settings(max_examples=25, deadline=None)
@given(
    chosen=st.lists(st.integers(0, len(PLAN) - 1), max_size=8),
    tokens=st.integers(1, 60),
    held=st.integers(1, 100_000),
)
def test_any_plan_in_any_order_and_any_memory(hosts, chosen: list[int], tokens: int, held: int):
    model = as_opened(hosts["llama"])
    found = steered(model, [PLAN[i] for i in chosen], FEW, silent, tokens=tokens, held_bytes=held)
    assert found.shape[0] == len(chosen)
    for i, logits in zip(chosen, found, strict=True):
        np.testing.assert_allclose(logits, by_hand(hosts["llama"], PLAN[i], FEW), rtol=1e-4, atol=2e-4)


def test_a_push_at_the_readout_costs_one_token_per_review(hosts, monkeypatch):
    passed: list[int] = []
    model = as_opened(hosts["gpt2"])
    assert model.caches
    attend = branches.attend

    def watched(loaded, block, x, around):
        passed.append(x.shape[0] * x.shape[1])
        return attend(loaded, block, x, around)

    monkeypatch.setattr(branches, "attend", watched)
    plan = [SteeringVectors((0,), vectors(1)) for _ in range(10)]
    steered(model, plan, PROMPTS, silent)
    assert sum(passed) == LAYERS * len(plan) * len(PROMPTS.token_ids)


def test_chunks_keep_to_their_size(hosts, monkeypatch):
    seen: list[int] = []
    for module in (branches, steering):
        attend = module.attend

        def watched(loaded, block, x, around, attend=attend):
            seen.append(x.shape[0] * x.shape[1])
            return attend(loaded, block, x, around)

        monkeypatch.setattr(module, "attend", watched)
    steered(as_opened(hosts["gpt2"]), PLAN * 5, make_prompts([8, 8]), silent, tokens=50)
    assert max(seen) <= 50


def test_progress_counts_tokens_and_ends_where_it_should(hosts):
    heard: list[float] = []
    steered(as_opened(hosts["gpt2"]), PLAN, PROMPTS, lambda fraction, _: heard.append(fraction), tokens=60)
    assert heard[0] == 0.0 and heard == sorted(heard)
    assert 0.9 < heard[-1] < 1
    assert len(heard) > 100


def test_a_cancel_or_an_error_in_the_middle_leaves_no_trace(models: LocalModels, pin: Pin, folder: Path, monkeypatch):
    one, prompts = pin(folder), make_prompts([20, 10])
    with models.store.borrow(one) as loaded:
        before = hooks(loaded.model)
    plain = models.readout(one, prompts, silent)
    for last in range(1, 12):
        told = 0

        def cancel(_fraction: float, sentence: str) -> None:
            nonlocal told
            told += "steering" in sentence
            if told == last:  # noqa: B023 - called before the next turn of the loop
                raise Cancelled("no longer wanted")

        with pytest.raises(Cancelled):
            models.steered(one, PLAN, prompts, cancel)
    with models.store.borrow(one) as loaded:
        broken = loaded.components.ln_final.register_forward_pre_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError), intervening(loaded, PLAN[-1], torch.tensor([3], device=DEVICE)):
            ask(loaded.model, torch.tensor([[1, 2, 3, 4]]))
        broken.remove()
    with models.store.borrow(one) as loaded:
        assert hooks(loaded.model) == before
    np.testing.assert_array_equal(models.readout(one, prompts, silent).logits, plain.logits)


def test_the_port_names_the_checkpoint_and_hands_over_read_only_arrays(models: LocalModels, pin: Pin, folder: Path):
    heard: list[str] = []
    found = models.steered(pin(folder), PLAN[:2], PROMPTS, lambda _, sentence: heard.append(sentence))
    assert found.dtype == np.float32 and not found.flags.writeable
    assert any(sentence.startswith("base: steering: ") for sentence in heard)


def test_half_precision_is_close(hosts):
    model = copy.deepcopy(hosts["llama"]).bfloat16()
    found = steered(as_opened(model), PLAN, FEW, silent)
    exact = steered(as_opened(hosts["llama"]), PLAN, FEW, silent)
    assert np.corrcoef(found.ravel(), exact.ravel())[0, 1] > 0.99


def test_layers_and_widths_that_there_are_not_are_an_error(hosts):
    model = as_opened(hosts["gpt2"])
    with pytest.raises(CheckpointError, match=rf"layers 0 to {LAYERS} of width {WIDTH}, .* for layer {LAYERS + 1}"):
        steered(model, [SteeringVectors((LAYERS + 1,), vectors(1))], FEW, silent)
    with pytest.raises(CheckpointError, match="for width 5"):
        steered(model, [SteeringVectors((0,), vectors(1)[:, :5])], FEW, silent)


def test_values_that_are_not_finite_are_an_error(hosts):
    with pytest.raises(CheckpointError, match="not finite"):
        steered(as_opened(hosts["gpt2"]), [SteeringVectors((0,), np.full((1, WIDTH), np.inf, np.float32))], FEW, silent)


def test_a_batch_that_does_not_fit_is_halved(hosts, monkeypatch):
    model, plan, prompts = as_opened(hosts["gpt2"]), [PLAN[0], *PLAN[-3:]], make_prompts([9, 3, 12, 4, 4, 5, 3])
    expected = steered(model, plan, prompts, silent, tokens=60)
    attend = steering.attend

    def small(loaded, block, x, around):
        if block == 1 and len(x) > 4:
            raise torch.OutOfMemoryError("full")
        return attend(loaded, block, x, around)

    monkeypatch.setattr(steering, "attend", small)
    np.testing.assert_allclose(steered(model, plan, prompts, silent, tokens=60), expected, rtol=1e-4, atol=2e-4)
    monkeypatch.setattr(steering, "attend", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("full")))
    with pytest.raises(DeviceError, match="One prompt alone does not fit"):
        steered(model, plan, prompts, silent, tokens=60)


@pytest.mark.parametrize("name", NAMES)
def test_an_encoder_is_steered_at_its_first_token_and_ablated_there_too(name: str):
    model, prompts = encoder(name, seed=3), some_prompts()
    for one, logits in zip(PLAN, steered(as_opened(model), PLAN, prompts, silent), strict=True):
        for ids, found in zip(prompts.token_ids, logits, strict=True):
            with torch.no_grad(), by_formula(model, one):
                expected = model(torch.tensor([ids])).logits[0]
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-4)


@contextmanager
def by_formula(model: PreTrainedModel, one: Intervention) -> Iterator[None]:
    """Hooks on an encoder that change its hidden states, position 0 like any other."""
    blocks = anatomy_of(model).blocks

    def after(x: torch.Tensor, layer: int) -> torch.Tensor:
        x = x.clone()
        if isinstance(one, Ablation):
            u, mean = torch.from_numpy(one.unit), torch.from_numpy(one.mean[layer])
            return x - ((x - mean) @ u)[..., None] * u
        for at, vector in zip(one.layers, one.vectors, strict=True):
            if at == layer:
                x[0, : None if one.positions == "all" else 1] += torch.from_numpy(vector)
        return x

    def behind(_module: Any, _args: Any, output: Any) -> Any:
        return (after(output[0], LAYERS), *output[1:]) if isinstance(output, tuple) else after(output, LAYERS)

    def entering(layer: int) -> Any:
        return lambda _module, args: (after(args[0], layer), *args[1:])

    taken = [block.whole.register_forward_pre_hook(entering(layer)) for layer, block in enumerate(blocks)]
    taken.append(blocks[-1].whole.register_forward_hook(behind))
    try:
        yield
    finally:
        for hook in taken:
            hook.remove()


def test_a_model_without_a_head_is_an_error():
    with pytest.raises(CheckpointError, match="has no head, so the effect of steering cannot be read"):
        steered(as_opened(encoder("Bert", "Model")), PLAN[:1], some_prompts(), silent)
