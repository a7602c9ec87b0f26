"""What stays in memory: by hand, for two models of 7 B, and with tiny models on a budget that holds one of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.caching.cache import Cache
from backend.caching.progress import silent
from backend.errors import CheckpointError, DeviceError
from backend.lab.outputs import Swap
from backend.models.local import LocalModels
from backend.models.runtime import batching, devices
from backend.models.runtime.calls import is_offloaded
from backend.models.runtime.memory_plan import LEAST_TOKENS, places, tokens_that_fit
from backend.models.runtime.store import Store
from backend.study.facts import Facts
from tests.models.random_adapters import adapter_on
from tests.models.random_models import Pin, as_opened, make_prompts, random_model, save

SEVEN_B = Facts("LlamaForCausalLM", layers=32, width=4096, vocabulary=32_000, parameters=6_738_415_616)
GB = 10**9
PROMPTS = make_prompts([9, 3, 12])
PLAN = (Swap("block", 0, 1), Swap("mlp", 2, 2), Swap("embed"))


def test_two_models_of_7_b_on_budgets_that_hold_two_one_and_none():
    needed = SEVEN_B.memory("bfloat16")
    assert needed == 13_476_831_232
    both, one, none = (places([needed, needed], room) for room in (40 * GB, 20 * GB, 4 * GB))
    assert [place.whole for place in both] == [True, True]
    assert [place.whole for place in one] == [True, False] and one[1].resident == 20 * GB - needed
    assert [place.resident for place in none] == [4 * GB, 0]
    assert none[0].sentence.startswith("its weights take 13.5 GB and 4.0 GB is free for them, so the rest is read")
    assert places([needed], -1)[0].resident == 0


def test_a_batch_of_7_b_on_a_small_budget():
    """24 x 4096 x 2 bytes a token: half of 1 GB holds 2,543 tokens, half of 10 MB none, so the least is tried."""
    assert tokens_that_fit(SEVEN_B.width, 2, GB, 32_768) == 2_543
    assert tokens_that_fit(SEVEN_B.width, 2, 40 * GB, 32_768) == 32_768
    assert tokens_that_fit(SEVEN_B.width, 2, 10_000_000, 32_768) == LEAST_TOKENS
    assert tokens_that_fit(SEVEN_B.width, 2, 10_000_000, 20) == 20


def test_batches_are_as_large_as_what_is_free(monkeypatch: pytest.MonkeyPatch):
    loaded = as_opened(random_model("llama"))
    most = batching.BATCH_TOKENS[loaded.device.type]
    assert batching.tokens_at_once(loaded) == most
    per_token = 24 * 32 * 4
    monkeypatch.setattr(batching, "free_bytes", lambda _device: 2 * 100 * per_token)
    assert batching.tokens_at_once(loaded) == 100
    assert batching.tokens_at_once(loaded, {loaded.device.type: 80}) == 80


@pytest.fixture
def two(tmp_path: Path, pin: Pin, family: str):
    return [pin(save(random_model(family, seed), tmp_path / str(seed)), label=str(seed)) for seed in (1, 2)]


def test_two_models_that_do_not_fit_together_give_the_same_numbers(cache: Cache, two, monkeypatch: pytest.MonkeyPatch):
    host, donor = two
    plain, small = LocalModels(cache), LocalModels(cache)
    needed = host.facts.memory("float32")
    small._store = Store(cache, limit_bytes=int(1.2 * needed))
    heard: list[str] = []
    expected = plain.swaps(host, donor, PLAN, PROMPTS, silent)
    found = small.swaps(host, donor, PLAN, PROMPTS, lambda _, sentence: heard.append(sentence))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert any("Opening 2: its weights take" in sentence for sentence in heard)
    assert sum(model.bytes for model in small.store._open.values()) <= 1.3 * needed
    for one in two:
        readouts = [models.readout(one, PROMPTS, silent) for models in (plain, small)]
        np.testing.assert_allclose(readouts[1].residuals, readouts[0].residuals, rtol=1e-4, atol=1e-5)
    patched = [models.patch(host, donor, PROMPTS, silent).logits for models in (plain, small)]
    np.testing.assert_allclose(patched[1], patched[0], rtol=1e-4, atol=1e-4)
    compared = [models.output_space(donor, host, PROMPTS, ((1, 2),), silent).entropy for models in (plain, small)]
    np.testing.assert_allclose(compared[1], compared[0], rtol=1e-4, atol=1e-4)
    changes = [models.weight_changes(donor, host, silent) for models in (plain, small)]
    assert [one.relative_change for one in changes[1]] == pytest.approx([one.relative_change for one in changes[0]])


def test_readouts_of_two_models_open_one_after_the_other(cache: Cache, two):
    store = Store(cache, limit_bytes=int(1.2 * two[0].facts.memory("float32")))
    for one in two:
        with store.borrow(one) as loaded:
            assert not is_offloaded(loaded)
    assert [store.holds(one) for one in two] == [False, True]


def test_a_model_alone_that_does_not_fit_is_read_from_its_files(cache: Cache, two, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(devices, "free_bytes", lambda *_: 1000)
    small = LocalModels(cache)
    found = small.readout(two[0], PROMPTS, silent)
    with small.store.borrow(two[0]) as loaded:
        assert is_offloaded(loaded) and loaded.bytes < 0.2 * two[0].facts.memory("float32")
    monkeypatch.undo()
    np.testing.assert_allclose(
        found.residuals, LocalModels(cache).readout(two[0], PROMPTS, silent).residuals, atol=1e-5
    )


def test_files_that_change_while_a_model_reads_them_are_an_error(cache: Cache, gpt2: Path, pin: Pin):
    pinned, store = pin(gpt2), Store(cache, limit_bytes=1)
    with pytest.raises(CheckpointError, match="was replaced since the study was read"), store.borrow(pinned):
        save(random_model("gpt2", seed=7), gpt2)


def test_an_adapter_that_does_not_fit_is_an_error_before_it_is_opened(
    cache: Cache, gpt2: Path, tmp_path: Path, pin: Pin
):
    adapter_on(gpt2, tmp_path / "adapter")
    pinned = pin(tmp_path / "adapter", gpt2, label="epoch 1")
    store, says = Store(cache, limit_bytes=1), r"epoch 1: its weights take .* free for them, and an adapter cannot"
    with pytest.raises(DeviceError, match=says), store.borrow(pinned):
        pass
