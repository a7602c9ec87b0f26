"""Weight changes against plain numpy on the state dicts as stored, and where weights are not simply there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file as load_numpy
from safetensors.torch import load_file, save_file

from backend.caching.progress import silent
from backend.errors import CheckpointError
from backend.lab.outputs import WeightChange
from backend.models.local import LocalModels
from backend.models.measurements import weight_changes
from tests.models.random_adapters import adapter_on
from tests.models.random_models import LAYERS, Pin, as_opened, random_model, save
from tests.models.stored_weights import BLOCKS, loaded, spread
from tests.tiny_families import tiny

Stored = dict[str, np.ndarray]


def stored(folder: Path) -> Stored:
    """Every two-dimensional tensor of a checkpoint's file, in double precision."""
    read = {name: tensor.double().numpy() for name, tensor in load_file(folder / "model.safetensors").items()}
    return {name: tensor for name, tensor in read.items() if tensor.ndim == 2}


def by_name(found: tuple[WeightChange, ...]) -> dict[str, WeightChange]:
    assert len({one.name for one in found}) == len(found), "a matrix is there twice"
    return {one.name: one for one in found if not one.vector}


def agree(found: tuple[WeightChange, ...], after: Stored, before: Stored, rtol: float = 1e-4) -> None:
    """The contract's two numbers, by singular values of the double-precision difference."""
    named = by_name(found)
    assert named.keys() == before.keys()
    for name, one in named.items():
        rows = min(len(before[name]), len(after[name]))
        change = after[name][:rows] - before[name][:rows]
        values = np.linalg.svd(change, compute_uv=False)
        size = np.sqrt((before[name][:rows] ** 2).sum())
        assert one.relative_change == pytest.approx(np.sqrt((values**2).sum()) / size, rel=rtol), name
        assert one.stable_rank == pytest.approx((values**2).sum() / values[0] ** 2, rel=rtol), name


@pytest.fixture(params=BLOCKS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def pair(name: str, folder: Path, tied: bool | None = None) -> tuple[Path, Path]:
    """Two random checkpoints of a family."""
    return (
        save(random_model(name, seed=0, tied=tied), folder / "before"),
        save(random_model(name, seed=1, tied=tied), folder / "after"),
    )


def changes(after: Path, before: Path) -> tuple[WeightChange, ...]:
    return weight_changes.weight_changes(loaded(after), loaded(before), silent)


@pytest.mark.parametrize("tied", [True, False])
def test_every_matrix_once_as_stored_against_numpy(name: str, tied: bool, tmp_path: Path):
    before, after = pair(name, tmp_path, tied=tied)
    found = changes(after, before)
    agree(found, stored(after), stored(before))
    assert ("lm_head.weight" in by_name(found)) == (not tied)


@pytest.mark.parametrize("layout", ["MixtralForCausalLM", "Qwen2MoeForCausalLM"])
def test_experts_are_one_block_diagonal_matrix(layout: str):
    before, after = tiny(layout, 0), tiny(layout, 0)
    names = [name for name, weight in after.named_parameters() if weight.ndim == 3]
    with torch.no_grad():
        for name in names:
            after.get_parameter(name)[1] += torch.randn_like(after.get_parameter(name)[1])
    found = by_name(weight_changes.weight_changes(as_opened(after), as_opened(before), silent))
    assert names and {one.name for one in found.values() if one.relative_change > 0} == set(names)
    for name in names:
        old = before.get_parameter(name).detach().double().numpy()
        change = after.get_parameter(name).detach().double().numpy() - old
        values = np.linalg.svd(change, compute_uv=False)
        assert found[name].relative_change == pytest.approx(np.linalg.norm(change) / np.linalg.norm(old), rel=1e-4)
        assert found[name].stable_rank == pytest.approx((values**2).sum() / values.max() ** 2, rel=1e-4)


def test_norms_and_biases_are_vectors(name: str):
    before, after = random_model(name), random_model(name)
    gain = next(one for one, weight in after.named_parameters() if weight.ndim == 1)
    after.get_parameter(gain).data += 1
    found = weight_changes.weight_changes(as_opened(after), as_opened(before), silent)
    assert [one.name for one in found if one.relative_change > 0] == [gain]
    assert {one.name for one in found if one.vector} >= {gain}


def test_names_are_those_of_the_state_dict_with_the_block_taken_out(name: str, tmp_path: Path):
    before, after = pair(name, tmp_path)
    found = changes(after, before)
    for one in found:
        assert one.name == (one.matrix if one.layer is None else f"{BLOCKS[name]}{one.layer}.{one.matrix}")
    inside = {one.matrix for one in found if one.layer == 1 and not one.vector}
    fused = {"attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight"}
    assert inside == fused if name == "gpt2" else {"self_attn.q_proj.weight", "mlp.down_proj.weight"} < inside
    assert sorted({one.layer for one in found if one.layer is not None}) == list(range(LAYERS))
    names = {one.name for one in found}
    assert [one.name for one in found] == [key for key in loaded(before).model.state_dict() if key in names]


def test_a_head_that_was_untied_is_compared_with_the_tied_one(tmp_path: Path):
    before = save(random_model("gpt2"), tmp_path / "before")
    after = save(random_model("gpt2", seed=1, tied=False), tmp_path / "after")
    reference = stored(before)
    reference["lm_head.weight"] = reference["transformer.wte.weight"]
    agree(changes(after, before), stored(after), reference)


def test_an_adapter_is_compared_as_merged(gpt2: Path, tmp_path: Path, models: LocalModels, pin: Pin):
    adapter_on(gpt2, tmp_path / "adapter")
    read = load_numpy(tmp_path / "adapter" / "adapter_model.safetensors")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    after = stored(gpt2)
    for layer in range(LAYERS):
        key = f"base_model.model.transformer.h.{layer}.attn.c_attn.lora_{{}}.weight"
        a, b = read[key.format("A")].astype(np.float64), read[key.format("B")].astype(np.float64)
        after[f"transformer.h.{layer}.attn.c_attn.weight"] += config["lora_alpha"] / config["r"] * (b @ a).T
    found = models.weight_changes(pin(tmp_path / "adapter", gpt2, label="epoch 1"), pin(gpt2), silent)
    assert by_name(found).keys() == stored(gpt2).keys()
    for one in found:
        if one.matrix == "attn.c_attn.weight":
            agree((one,), after, {one.name: stored(gpt2)[one.name]}, rtol=1e-3)
            assert 1 <= one.stable_rank <= 2 + 1e-3, "the change has rank 2"
        else:
            assert one.relative_change == 0


def test_an_extended_vocabulary_is_compared_on_shared_rows(name: str, tmp_path: Path):
    before = save(random_model(name, seed=0), tmp_path / "before")
    longer = random_model(name, seed=1)
    longer.resize_token_embeddings(longer.config.vocab_size + 5, mean_resizing=False)
    after = save(longer, tmp_path / "after")
    agree(changes(after, before), stored(after), stored(before))
    agree(changes(before, after), stored(before), stored(after))


def change_one(folder: Path, name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors[name] = change(tensors[name])
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def test_untouched_matrices_are_zero_and_have_no_rank(gpt2: Path, tmp_path: Path):
    after = save(random_model("gpt2"), tmp_path / "after")
    touched = "transformer.h.1.mlp.c_fc.weight"

    def raise_one(tensor: torch.Tensor) -> torch.Tensor:
        tensor[2, 3] += 0.5
        return tensor

    change_one(after, touched, raise_one)
    found = by_name(changes(after, gpt2))
    size = np.linalg.norm(stored(gpt2)[touched])
    assert found[touched].relative_change == pytest.approx(0.5 / size, rel=1e-5)
    assert found[touched].stable_rank == pytest.approx(1, rel=1e-5)
    for one in found.values():
        if one.name != touched:
            assert one.relative_change == 0
            assert np.isnan(one.stable_rank)


def test_a_change_from_zero_has_no_relative_size(gpt2: Path, tmp_path: Path):
    after = save(random_model("gpt2"), tmp_path / "after")
    change_one(gpt2, "transformer.wpe.weight", torch.zeros_like)
    found = by_name(changes(after, gpt2))["transformer.wpe.weight"]
    assert np.isnan(found.relative_change)
    assert found.stable_rank >= 1


def test_a_tiny_change_keeps_its_rank(gpt2: Path, tmp_path: Path):
    """Squares of such a change are no float32 numbers."""
    after = save(random_model("gpt2"), tmp_path / "after")
    place = "transformer.wpe.weight"
    change_one(gpt2, place, torch.zeros_like)
    change_one(after, place, lambda tensor: 1e-30 * tensor)
    change = stored(after)[place]
    values = np.linalg.svd(change, compute_uv=False)
    found = by_name(changes(after, gpt2))[place]
    assert found.stable_rank == pytest.approx((values**2).sum() / values[0] ** 2, rel=1e-4)


@pytest.mark.parametrize("stored_in", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_half_precision_is_compared_in_single(stored_in: torch.dtype, dtype: str, tmp_path: Path):
    models = [random_model("llama", seed) for seed in (0, 1)]
    before, after = (
        save(one.to(stored_in), tmp_path / str(i))  # pyright: ignore[reportArgumentType]
        for i, one in enumerate(models)
    )
    found = weight_changes.weight_changes(loaded(after, dtype=dtype), loaded(before, dtype=dtype), silent)
    exact = dtype == "float32" or stored_in == torch.bfloat16
    agree(found, stored(after), stored(before), rtol=1e-4 if exact else 1e-2)


@pytest.mark.parametrize("tied", [True, False])
def test_weights_that_device_map_moved_out(name: str, tied: bool, tmp_path: Path):
    before, after = pair(name, tmp_path, tied=tied)
    found = weight_changes.weight_changes(spread(after, name, tmp_path / "a"), loaded(before), silent)
    agree(found, stored(after), stored(before))
    both = weight_changes.weight_changes(
        spread(after, name, tmp_path / "b"), spread(before, name, tmp_path / "c"), silent
    )
    agree(both, stored(after), stored(before))


def test_progress_names_the_matrix_at_hand(gpt2: Path):
    said: list[tuple[float, str]] = []
    weight_changes.weight_changes(loaded(gpt2), loaded(gpt2), lambda *one: said.append(one))
    assert said[0] == (0.0, "Comparing transformer.wte.weight.")
    assert [fraction for fraction, _ in said] == sorted(fraction for fraction, _ in said)
    assert said[-1][0] < 1


def test_matrices_of_other_shapes_are_one_sentence(tmp_path: Path):
    before = loaded(save(random_model("llama"), tmp_path / "before"))
    model = random_model("llama")
    layer = model.get_submodule("model.layers.1.mlp.up_proj")
    layer.weight = torch.nn.Parameter(torch.zeros(50, 32))  # pyright: ignore[reportAttributeAccessIssue]
    after = as_opened(model)
    with pytest.raises(CheckpointError, match=r"model.layers.1.mlp.up_proj.weight is 50 x 32 in one .* 48 x 32 in the"):
        weight_changes.weight_changes(after, before, silent)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_one_sentence(gpt2: Path, tmp_path: Path, value: float):
    after = save(random_model("gpt2"), tmp_path / "after")
    change_one(after, "transformer.h.0.mlp.c_fc.weight", lambda tensor: tensor.fill_(value))
    with pytest.raises(CheckpointError, match=r"h.0.mlp.c_fc.weight holds values that are not finite; save or train"):
        changes(after, gpt2)


def test_the_port_compares_any_two(models: LocalModels, pin: Pin, gpt2: Path, tmp_path: Path):
    after = save(random_model("gpt2", seed=1), tmp_path / "after")
    found = models.weight_changes(pin(after, gpt2, label="epoch 1"), pin(gpt2), silent)
    agree(found, stored(after), stored(gpt2))
    same = models.weight_changes(pin(gpt2), pin(gpt2), silent)
    assert {one.relative_change for one in same} == {0.0}
