"""Swaps against models whose parts were exchanged by hand, one prompt at a time."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel

from backend.caching.progress import silent
from backend.errors import Cancelled, CheckpointError, DeviceError
from backend.lab.outputs import Swap, Swapped
from backend.models.local import LocalModels
from backend.models.measurements import swaps
from backend.models.measurements.swaps import Limits, block_runs, run_swaps, stages, waves
from backend.models.runtime.components import anatomy_of
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.token_ids import Prompts
from tests.models.random_models import (
    ARCHITECTURES,
    LABEL_TOKENS,
    LAYERS,
    Pin,
    as_opened,
    make_prompts,
    random_model,
    save,
)

SPANS = [(first, last) for first in range(LAYERS) for last in range(first, LAYERS)]
PLAN = (*(Swap(part, *span) for part in ("block", "attn", "mlp") for span in SPANS), Swap("embed"))
PROMPTS = make_prompts([int(n) for n in np.random.default_rng(1).integers(1, 40, 15)] + [1, 40])


def by_hand(host: PreTrainedModel, donor: PreTrainedModel, swap: Swap, prompts: Prompts) -> np.ndarray:
    """The host with the donor's parameters copied in by name, then plain transformers."""
    mixed = copy.deepcopy(host)
    if mixed.config.tie_word_embeddings:  # the head is not swapped with the embeddings
        mixed.lm_head.weight = torch.nn.Parameter(mixed.lm_head.weight.detach().clone())  # pyright: ignore
    of_half = {"attn": ("ln_1.", "attn.", "input_layernorm.", "self_attn."), "mlp": ("ln_2.", "mlp.", "post_attention")}
    mine, theirs = dict(mixed.named_parameters()), dict(donor.named_parameters())
    taken = 0
    for name, parameter in mine.items():
        words = name.split(".")
        if swap.part == "embed":
            wanted = words[-2] in ("wte", "wpe", "embed_tokens")
        else:
            block = next((int(word) for word in words if word.isdigit()), -1)
            inside = name.partition(f".{block}.")[2]
            halves = of_half["attn"] + of_half["mlp"] if swap.part == "block" else of_half[swap.part]
            wanted = swap.first <= block <= swap.last and inside.startswith(halves)
        if wanted:
            taken += 1
            parameter.data = theirs[name].data.clone()
    assert taken > 0
    with torch.no_grad():
        return np.array(
            [mixed(torch.tensor([ids])).logits[0, -1, list(LABEL_TOKENS)].numpy() for ids in prompts.token_ids]
        )


@pytest.fixture(scope="module")
def pairs() -> dict[str, tuple[PreTrainedModel, PreTrainedModel]]:
    """A host and a donor of each family; GPT-2's are tied."""
    return {name: (random_model(name, seed=1), random_model(name, seed=2)) for name in ARCHITECTURES}


def test_every_swap_is_the_model_with_its_parts_exchanged_by_hand(pairs, family: str):
    host, donor = pairs[family]
    before = copy.deepcopy(host.state_dict()), copy.deepcopy(donor.state_dict())
    found = run_swaps(as_opened(host), as_opened(donor), PLAN, PROMPTS, silent)
    assert found.shape == (len(PLAN), len(PROMPTS.token_ids), len(LABEL_TOKENS))
    for one, logits in zip(PLAN, found, strict=True):
        np.testing.assert_allclose(logits, by_hand(host, donor, one, PROMPTS), rtol=1e-4, atol=1e-4, err_msg=str(one))
    different = [np.abs(a - b).max() for a, b in itertools.combinations(found, 2)]
    assert sorted(different)[0] > 0.01  # no two swaps are the same, so none was mistaken for another
    for model, state in zip((host, donor), before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_tied_matrices_swap_separately():
    host, donor = (random_model("llama", seed=seed, tied=True) for seed in (1, 2))
    (found,) = run_swaps(as_opened(host), as_opened(donor), (Swap("embed"),), PROMPTS, silent)
    np.testing.assert_allclose(found, by_hand(host, donor, Swap("embed"), PROMPTS), rtol=1e-4, atol=1e-4)


def test_the_whole_donor_between_the_hosts_embeddings_and_head(pairs):
    host, _ = pairs["gpt2"]
    (found,) = run_swaps(as_opened(host), as_opened(host), (Swap("block", 0, LAYERS - 1),), PROMPTS, silent)
    with torch.no_grad():
        own = [host(torch.tensor([ids])).logits[0, -1, list(LABEL_TOKENS)].numpy() for ids in PROMPTS.token_ids]
    np.testing.assert_allclose(found, own, rtol=1e-4, atol=1e-4)


def test_company_and_memory_change_no_number(pairs, family: str):
    host, donor = (as_opened(model) for model in pairs[family])
    alone = run_swaps(host, donor, PLAN, PROMPTS, silent, limits=Limits(rows=1, tokens=40))
    for options in ({"rows": 32, "tokens": 1 << 20}, {"tokens": 100}, {"held_bytes": 1}, {"held_bytes": 40_000}):
        together = run_swaps(host, donor, PLAN, PROMPTS, silent, limits=Limits(**options))
        np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)


FEW = make_prompts([9, 3, 12])


@pytest.fixture(scope="module")
def every_swap_of_few(pairs) -> np.ndarray:
    host, donor = (as_opened(model) for model in pairs["llama"])
    return run_swaps(host, donor, PLAN, FEW, silent)


swap = st.one_of(
    st.just(Swap("embed")),
    st.builds(
        lambda part, ends: Swap(part, min(ends), max(ends)),
        st.sampled_from(["block", "attn", "mlp"]),
        st.tuples(*[st.integers(0, LAYERS - 1)] * 2),
    ),
)


@settings(max_examples=25)
@given(plan=st.lists(swap, max_size=8), held=st.integers(1, 30_000), tokens=st.integers(5, 60))
def test_any_plan_in_any_order_and_any_memory(pairs, every_swap_of_few, plan: list[Swap], held: int, tokens: int):
    host, donor = (as_opened(model) for model in pairs["llama"])
    found = run_swaps(host, donor, tuple(plan), FEW, silent, limits=Limits(tokens=tokens, held_bytes=held))
    assert found.shape[0] == len(plan)
    for one, logits in zip(plan, found, strict=True):
        np.testing.assert_allclose(logits, every_swap_of_few[PLAN.index(one)], rtol=1e-4, atol=1e-4)


def test_work_is_shared():
    singles = [Swap("block", j, j) for j in range(12)]
    ranges = [Swap("block", i, j) for i in range(12) for j in range(i, 12)]
    assert block_runs(singles, 12, 100) == 11 + 78  # the trunk, then each branch from its block on: 0.62 of 144
    assert block_runs(ranges, 12, 100) == 11 + 78 + 286  # of 936: 0.40
    assert block_runs(singles, 12, 1) == 11 + 78  # one at a time costs nothing more
    assert block_runs(ranges, 12, 10) < 1.2 * (11 + 78 + 286)


@given(plan=st.lists(swap, min_size=1, max_size=20), held=st.integers(1, 10))
def test_a_wave_holds_no_more_than_it_may(plan: list[Swap], held: int):
    for start, wave in waves(plan, held):
        assert len(wave) <= held
        for stage in stages(wave, start, LAYERS):
            waiting = {one for one in wave if one.last >= stage.block and one.first <= stage.block}
            assert len(stage.stems) <= len(waiting)
            assert len(stage.live) + len(waiting) <= len(wave)


def test_branches_at_one_block_run_in_chunks(pairs, monkeypatch):
    seen: list[int] = []
    attend = swaps.attend

    def watched(loaded, block, x, around):
        seen.append(x.shape[0] * x.shape[1])
        return attend(loaded, block, x, around)

    monkeypatch.setattr(swaps, "attend", watched)
    host, donor = (as_opened(model) for model in pairs["gpt2"])
    run_swaps(host, donor, PLAN, make_prompts([8, 8]), silent, limits=Limits(tokens=50))
    assert max(seen) == 48  # each prompt of eight tokens is a batch, and six of its branches fit into fifty


def test_every_batch_that_is_done_is_shown(pairs):
    shown: list[Swapped] = []
    host, donor = (as_opened(model) for model in pairs["llama"])
    found = run_swaps(host, donor, PLAN, PROMPTS, silent, shown.append, Limits(tokens=100))
    assert len(shown) > 1
    assert sorted(i for one in shown for i in one.prompts) == list(range(len(PROMPTS.token_ids)))
    for one in shown:
        np.testing.assert_array_equal(one.logits, found[:, list(one.prompts)])


def test_progress_counts_blocks_and_ends_where_it_should(pairs):
    heard: list[tuple[float, str]] = []
    host, donor = (as_opened(model) for model in pairs["gpt2"])
    run_swaps(host, donor, PLAN, PROMPTS, lambda *told: heard.append(told), limits=Limits(tokens=100))
    fractions = [fraction for fraction, _ in heard]
    total = block_runs(PLAN, LAYERS, 100) * len(PROMPTS.token_ids)
    assert heard[0] == (0.0, f"Swapping: 0 of {total:,} blocks.")
    assert fractions == sorted(fractions)
    assert 0.9 < fractions[-1] < 1
    assert len(heard) > 100


def test_a_cancel_in_the_middle_leaves_no_trace(models: LocalModels, pin: Pin, tmp_path: Path):
    host, donor = pinned(pin, tmp_path)
    prompts = make_prompts([20, 10])
    before = models.readout(host, prompts, silent), models.readout(donor, prompts, silent)
    for last in range(1, 12):
        told = 0

        def cancel(fraction: float, sentence: str) -> None:
            nonlocal told
            told += "blocks" in sentence
            if told == last:  # noqa: B023 - called before the next turn of the loop
                raise Cancelled("no longer wanted")

        with pytest.raises(Cancelled):
            models.swaps(host, donor, PLAN, prompts, cancel)
    after = models.readout(host, prompts, silent), models.readout(donor, prompts, silent)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one.residuals, other.residuals)
        np.testing.assert_array_equal(one.logits, other.logits)
    for checkpoint in (host, donor):
        with models.store.borrow(checkpoint) as loaded:
            assert not any(one._forward_hooks or one._forward_pre_hooks for one in loaded.model.modules())


def pinned(pin: Pin, folder: Path, layers: int = LAYERS) -> tuple[PinnedCheckpoint, PinnedCheckpoint]:
    host = save(random_model("gpt2", seed=1), folder / "host")
    return pin(host), pin(save(random_model("gpt2", seed=2, layers=layers), folder / "donor"), label="epoch 1")


def test_an_error_in_the_middle_leaves_the_outputs_unchanged(pairs, monkeypatch):
    host, donor = (as_opened(model) for model in pairs["qwen3"])
    expected = run_swaps(host, donor, PLAN, PROMPTS, silent)
    proceed, calls = swaps.proceed, itertools.count()

    def broken(*given):
        if next(calls) == 7:
            raise ValueError("broken")
        return proceed(*given)

    monkeypatch.setattr(swaps, "proceed", broken)
    with pytest.raises(ValueError, match="broken"):
        run_swaps(host, donor, PLAN, PROMPTS, silent)
    np.testing.assert_array_equal(run_swaps(host, donor, PLAN, PROMPTS, silent), expected)


def test_the_port_lends_both_models_and_names_them(models: LocalModels, pin: Pin, tmp_path: Path):
    host, donor = pinned(pin, tmp_path)
    heard: list[str] = []
    plan = (Swap("mlp", 1, 2), Swap("embed"))
    found = models.swaps(host, donor, plan, PROMPTS, lambda _, sentence: heard.append(sentence))
    for one, logits in zip(plan, found, strict=True):
        expected = by_hand(random_model("gpt2", seed=1), random_model("gpt2", seed=2), one, PROMPTS)
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    assert found.dtype == np.float32
    assert not found.flags.writeable
    assert any(sentence.startswith("epoch 1 into base: swapping: ") for sentence in heard)


def test_what_does_not_fit_together_is_an_error(models: LocalModels, pin: Pin, tmp_path: Path):
    host, donor = pinned(pin, tmp_path, layers=LAYERS - 1)
    with pytest.raises(CheckpointError, match="differ in kind or size; choose a host and a donor of one base"):
        models.swaps(host, donor, (Swap("block", 0, 0),), PROMPTS, silent)
    with pytest.raises(CheckpointError, match=r"cannot run: .* has blocks 0 to 2"):
        models.swaps(host, host, (Swap("block", 1, LAYERS),), PROMPTS, silent)


def test_values_that_are_not_finite_are_an_error(pairs):
    host, donor = pairs["llama"][0], copy.deepcopy(pairs["llama"][1])
    with torch.no_grad():
        next(anatomy_of(donor).blocks[1].whole.get_submodule("mlp").parameters()).fill_(float("inf"))
    run_swaps(as_opened(host), as_opened(donor), (Swap("mlp", 0, 0),), PROMPTS, silent)
    with pytest.raises(CheckpointError, match="not finite in float32"):
        run_swaps(as_opened(host), as_opened(donor), (Swap("mlp", 0, 1),), PROMPTS, silent)


def test_a_batch_that_does_not_fit_is_halved(pairs, monkeypatch):
    host, donor = (as_opened(model) for model in pairs["gpt2"])
    expected = run_swaps(host, donor, PLAN, PROMPTS, silent)
    attend, fractions = swaps.attend, []

    def small(loaded, block, x, around):
        if block == 1 and len(x) > 4:
            raise torch.OutOfMemoryError("full")
        return attend(loaded, block, x, around)

    monkeypatch.setattr(swaps, "attend", small)
    found = run_swaps(host, donor, PLAN, PROMPTS, lambda done, _: fractions.append(done), limits=Limits(tokens=300))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert max(fractions) < 1
    monkeypatch.setattr(swaps, "attend", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("full")))
    with pytest.raises(DeviceError, match="One prompt alone does not fit"):
        run_swaps(host, donor, PLAN, PROMPTS, silent)
