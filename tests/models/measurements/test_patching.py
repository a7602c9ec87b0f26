"""Patched residuals against plain transformers with hooks, one layer and one token at a time."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backend.caching.progress import silent
from backend.errors import Cancelled, CheckpointError, DeviceError
from backend.lab.outputs import Patched
from backend.models.local import LocalModels
from backend.models.measurements import patching
from backend.models.measurements.patching import chunks, patch
from backend.models.runtime.components import anatomy_of
from backend.study.token_ids import Prompts
from tests.models.random_encoders import NAMES, encoder, some_prompts
from tests.models.random_models import LAYERS, Pin, as_opened, make_prompts, random_model, save
from tests.models.references import hooks

PROMPTS = make_prompts([11, 3], seed=4)
READ_BY_ENCODERS = Prompts(**{**vars(some_prompts()), "token_ids": (some_prompts().token_ids[4],)})


def blocks_of(model: Any) -> Any:
    body = model.base_model
    places = ("h", "layers", "encoder.layer", "transformer.layer")
    return next(body.get_submodule(one) for one in places if hasattr(body, one.partition(".")[0]))


@torch.inference_mode()
def answers(model: Any, prompts: Prompts) -> np.ndarray:
    logits = model(torch.tensor(prompts.token_ids[:1])).logits[0]
    return (logits[-1] if logits.ndim == 2 else logits)[list(prompts.label_tokens)].numpy()


@torch.inference_mode()
def states(model: Any, prompts: Prompts) -> list[torch.Tensor]:
    """What enters each block, and what leaves the last: [tokens, width] of each."""
    kept: list[torch.Tensor] = []
    taps = [
        block.register_forward_hook(
            lambda _m, args, kwargs, out: kept.extend(
                [args[0] if args else kwargs["hidden_states"], out[0] if isinstance(out, tuple) else out]
            ),
            with_kwargs=True,
        )
        for block in blocks_of(model)
    ]
    model(torch.tensor(prompts.token_ids[:1]))
    for one in taps:
        one.remove()
    return [*(one[0] for one in kept[::2]), kept[-1][0]]


def by_hooks(host: Any, donor: Any, prompts: Prompts) -> Patched:
    """The plain loop: a whole run of the host per layer and token."""
    given, blocks = states(donor, prompts), blocks_of(host)
    tokens = len(prompts.token_ids[0])
    logits = np.empty((len(given), tokens, len(prompts.label_tokens)), np.float32)
    for layer in range(len(given)):
        for token in range(tokens):

            def replaced(x: torch.Tensor, layer: int = layer, token: int = token) -> torch.Tensor:
                x = x.clone()
                x[0, token] = given[layer][token]
                return x

            if layer < len(blocks):
                hook = blocks[layer].register_forward_pre_hook(
                    lambda _m, args, kwargs, replaced=replaced: (
                        ((replaced(args[0]), *args[1:]), kwargs)
                        if args
                        else (args, kwargs | {"hidden_states": replaced(kwargs["hidden_states"])})
                    ),
                    with_kwargs=True,
                )
            else:
                hook = blocks[-1].register_forward_hook(
                    lambda _m, _a, out, replaced=replaced: (
                        (replaced(out[0]), *out[1:]) if isinstance(out, tuple) else replaced(out)
                    )
                )
            logits[layer, token] = answers(host, prompts)
            hook.remove()
    return Patched(logits, answers(host, prompts), answers(donor, prompts))


def agree(found: Patched, expected: Patched) -> None:
    assert expected.logits.std() > 0.1
    np.testing.assert_allclose(found.logits, expected.logits, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.host, expected.host, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.donor, expected.donor, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("at_once", [1, 40, 10_000])
def test_every_layer_and_token_is_a_hooked_run(family: str, at_once: int):
    host, donor = (random_model(family, seed=seed) for seed in (1, 2))
    before = copy.deepcopy(host.state_dict()), copy.deepcopy(donor.state_dict())
    found = patch(as_opened(host), as_opened(donor), PROMPTS, silent, tokens=max(at_once, 11))
    assert found.logits.shape == (LAYERS + 1, 11, 2)
    agree(found, by_hooks(host, donor, PROMPTS))
    np.testing.assert_allclose(found.logits[-1, :-1], np.tile(found.host, (10, 1)), rtol=1e-5)
    assert not found.logits.flags.writeable
    for model, state in zip((host, donor), before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
        assert hooks(model) == 0


@pytest.mark.parametrize("name", NAMES)
def test_encoders_change_everywhere(name: str):
    host, donor = encoder(name, seed=1), encoder(name, seed=2)
    for at_once in (READ_BY_ENCODERS.lengths[0] * 3, 10_000):
        agree(
            patch(as_opened(host), as_opened(donor), READ_BY_ENCODERS, silent, tokens=int(at_once)),
            by_hooks(host, donor, READ_BY_ENCODERS),
        )
    headless = patch(as_opened(host), as_opened(encoder(name, "Model", seed=3)), READ_BY_ENCODERS, silent)
    assert np.isnan(headless.donor).all() and np.isfinite(headless.logits).all()


def test_windows_are_looked_through():
    pair = []
    for seed in (1, 2):
        model = random_model("mistral", seed=seed)
        model.config.sliding_window = 4
        pair.append(model)
    host, donor = pair
    agree(patch(as_opened(host), as_opened(donor), PROMPTS, silent, tokens=20), by_hooks(host, donor, PROMPTS))


def test_a_donor_that_is_the_host_changes_nothing():
    one = as_opened(random_model("llama", seed=3))
    found = patch(one, one, PROMPTS, silent, tokens=30)
    np.testing.assert_allclose(found.logits, np.broadcast_to(found.host, found.logits.shape), rtol=1e-4, atol=1e-4)


def test_one_token_alone():
    host, donor = (random_model("gpt2", seed=seed) for seed in (1, 2))
    one = make_prompts([1], seed=1)
    agree(patch(as_opened(host), as_opened(donor), one, silent), by_hooks(host, donor, one))


@given(tokens=st.integers(1, 300), at_once=st.integers(1, 5000), causal=st.booleans())
def test_chunks_hold_every_token_once_and_fit(tokens: int, at_once: int, causal: bool):
    found = list(chunks(tokens, at_once, causal))
    assert sorted(token for run in found for token in run) == list(range(tokens))
    for run in found:
        size = len(run) * (tokens - run.start if causal else tokens)
        assert len(run) == 1 or size <= at_once


def test_a_causal_prompt_costs_half():
    tokens = 256
    assert sum(len(run) * (tokens - run.start) for run in chunks(tokens, 1024, True)) < 0.55 * tokens**2


def test_progress_counts_blocks_and_a_cancel_leaves_no_trace(models: LocalModels, pin: Pin, tmp_path: Path):
    host = pin(save(random_model("gpt2", seed=1), tmp_path / "host"))
    donor = pin(save(random_model("gpt2", seed=2), tmp_path / "donor"), label="epoch 1")
    heard: list[tuple[float, str]] = []
    expected = models.patch(host, donor, PROMPTS, lambda done, said: heard.append((done, said)))
    told = [one for one in heard if "of 72 blocks" in one[1]]  # 2 runs of 3 blocks, 11 x (3 + 2 + 1) branches
    assert told[0] == (0.0, "epoch 1 into base: patching: 0 of 72 blocks.")
    assert [one[0] for one in told] == sorted(one[0] for one in told)
    for stop in range(1, len(told), 3):
        calls = 0

        def cancel(_fraction: float, sentence: str) -> None:
            nonlocal calls
            calls += "blocks" in sentence
            if calls == stop:  # noqa: B023 - called before the next turn of the loop
                raise Cancelled("no longer wanted")

        with pytest.raises(Cancelled):
            models.patch(host, donor, PROMPTS, cancel)
    np.testing.assert_array_equal(models.patch(host, donor, PROMPTS, silent).logits, expected.logits)
    with models.store.borrow(host) as loaded:
        assert hooks(loaded.model) == 0


def test_what_does_not_fit_runs_in_smaller_chunks(monkeypatch: pytest.MonkeyPatch):
    host, donor = (as_opened(random_model("gpt2", seed=seed)) for seed in (1, 2))
    expected = patch(host, donor, PROMPTS, silent)
    attend = patching.attend

    def small(loaded, block, x, around):
        if x.shape[0] > 2:
            raise torch.OutOfMemoryError("full")
        return attend(loaded, block, x, around)

    monkeypatch.setattr(patching, "attend", small)
    np.testing.assert_allclose(patch(host, donor, PROMPTS, silent).logits, expected.logits, rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(patching, "attend", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("full")))
    with pytest.raises(DeviceError, match="One prompt alone does not fit"):
        patch(host, donor, PROMPTS, silent)


def test_bad_pairs_and_values_are_one_sentence():
    host, other = (as_opened(random_model(name, seed=1)) for name in ("gpt2", "llama"))
    with pytest.raises(CheckpointError, match="differ in kind or size"):
        patch(host, other, PROMPTS, silent)
    broken = copy.deepcopy(host.model)
    with torch.no_grad():
        next(anatomy_of(broken).blocks[1].whole.get_submodule("mlp").parameters()).fill_(float("inf"))
    with pytest.raises(CheckpointError, match="not finite in float32"):
        patch(host, as_opened(broken), PROMPTS, silent)
