"""The parts of the label logits against plain transformers: each part's vector through the frozen norm, and the sum."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from backend.caching.progress import silent
from backend.errors import Cancelled, PromptError
from backend.lab.outputs import Contributions
from backend.models.local import LocalModels
from backend.models.measurements import direct_attribution
from backend.study.token_ids import Prompts
from tests.device import DEVICE
from tests.models.random_models import LABEL_TOKENS, LAYERS, POSITIONS, Pin, make_prompts, random_model, save
from tests.models.references import hooks


def total(found: Contributions) -> np.ndarray:
    return (
        found.embed
        + found.heads.sum(axis=(1, 2))
        + found.attn_bias.sum(axis=1)
        + found.mlps.sum(axis=1)
        + found.norm_bias
    )


def test_the_parts_sum_to_the_logits(models: LocalModels, pin: Pin, folder: Path, prompts: Prompts):
    one = pin(folder)
    found = models.contributions(one, prompts, silent)
    logits = models.readout(one, prompts, silent).logits
    assert logits.std() > 1
    np.testing.assert_allclose(total(found), logits, rtol=1e-4, atol=1e-4)


def part_vectors(model: transformers.PreTrainedModel, ids: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """What each part writes into the residual stream at the last token: heads by switching each one off."""
    body: Any = model.base_model
    blocks = body.h if hasattr(body, "h") else body.layers
    vectors: dict[str, torch.Tensor] = {}

    def run(off: tuple[int, int] | None = None) -> dict[str, torch.Tensor]:
        kept: dict[str, torch.Tensor] = {}
        handles = []
        for i, block in enumerate(blocks):
            attn = block.attn if hasattr(block, "attn") else block.self_attn
            o = attn.c_proj if hasattr(attn, "c_proj") else attn.o_proj

            def switch(_module, args, i=i):
                x = args[0].clone()
                if off is not None and off[0] == i:
                    size = x.shape[-1] // 4
                    x[..., off[1] * size : (off[1] + 1) * size] = 0
                return (x,)

            handles.append(o.register_forward_pre_hook(switch))
            handles.append(o.register_forward_hook(lambda _m, _a, out, i=i: kept.update({f"attn {i}": out[0, -1]})))
            handles.append(
                block.mlp.register_forward_hook(lambda _m, _a, out, i=i: kept.update({f"mlp {i}": out[0, -1]}))
            )
        with torch.no_grad():
            output = model(torch.tensor([ids]), output_hidden_states=True)
        for handle in handles:
            handle.remove()
        return kept | {"embed": output.hidden_states[0][0, -1]}

    whole = run()
    vectors["embed"] = whole["embed"]
    for i in range(LAYERS):
        vectors[f"mlp {i}"] = whole[f"mlp {i}"]
        for h in range(4):
            vectors[f"head {i} {h}"] = whole[f"attn {i}"] - run((i, h))[f"attn {i}"]
        vectors[f"bias {i}"] = whole[f"attn {i}"] - sum(vectors[f"head {i} {h}"] for h in range(4))
    return vectors


def test_each_part_is_its_vector_through_the_frozen_norm(models: LocalModels, pin: Pin, folder: Path):
    prompts = make_prompts([9, 23], seed=6)
    found = models.contributions(pin(folder), prompts, silent)
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    body: Any = model.base_model
    norm = body.ln_f if hasattr(body, "ln_f") else body.norm
    rows = model.get_output_embeddings().weight[list(LABEL_TOKENS)].detach()
    for i, ids in enumerate(prompts.token_ids):
        vectors = part_vectors(model, ids)
        end = torch.stack(list(vectors.values())).sum(dim=0)
        layer_norm = isinstance(norm, torch.nn.LayerNorm)
        scale = torch.sqrt(end.var(correction=0) + norm.eps if layer_norm else (end**2).mean() + norm.variance_epsilon)
        expected = {
            name: (((v - v.mean()) if layer_norm else v) / scale * norm.weight) @ rows.T for name, v in vectors.items()
        }
        for name, value in expected.items():
            kind, *where = name.split()
            place = tuple(map(int, where))
            ours = {"embed": found.embed, "mlp": found.mlps, "head": found.heads, "bias": found.attn_bias}[kind][i]
            np.testing.assert_allclose(ours[place], value.detach().numpy(), rtol=1e-3, atol=1e-4, err_msg=name)
        bias = rows @ norm.bias if layer_norm else torch.zeros(len(rows))
        np.testing.assert_allclose(found.norm_bias, bias.detach().numpy(), rtol=1e-3, atol=1e-5)


def test_biases_are_there_where_the_family_has_them(models: LocalModels, pin: Pin, folder: Path, family: str):
    found = models.contributions(pin(folder), make_prompts([5]), silent)
    assert (np.abs(found.attn_bias).max() > 0) == (family == "gpt2")
    assert (np.abs(found.norm_bias).max() > 0) == (family == "gpt2")


def test_a_head_with_a_bias_and_more_than_two_classes(models: LocalModels, pin: Pin, folder: Path):
    plain = make_prompts([5, 9])
    prompts = Prompts("", plain.token_ids, plain.labels, (7, 11, 13), plain.truncated)
    with models.store.borrow(pin(folder)) as loaded:
        without = direct_attribution.contributions(loaded, prompts, silent)
        linear = loaded.components.unembed
        counted = torch.arange(linear.out_features, dtype=torch.float32, device=DEVICE)
        linear.bias = torch.nn.Parameter(counted, requires_grad=False)
        found = direct_attribution.contributions(loaded, prompts, silent)
        linear.bias = None
    np.testing.assert_allclose(found.norm_bias - without.norm_bias, (7, 11, 13), rtol=1e-5)
    np.testing.assert_array_equal(found.mlps, without.mlps)
    logits = models.readout(pin(folder), prompts, silent).logits
    np.testing.assert_allclose(total(without), logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("words", [((7, 3), (11,)), ((7, 3, 9), (7, 5), (11, 2))])
def test_words_of_several_tokens_sum_to_their_log_probabilities(
    models: LocalModels, pin: Pin, folder: Path, words: tuple[tuple[int, ...], ...]
):
    """Differences between classes of all parts are those of a plain loop over the tokens of every word."""
    plain = make_prompts([5, 9, 7])
    firsts, following = tuple(word[0] for word in words), tuple(word[1:] for word in words)
    prompts = replace(plain, label_tokens=firsts, following=following)
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    expected, later = np.zeros((2, len(plain.token_ids), len(words)))
    for i, ids in enumerate(plain.token_ids):
        for c, word in enumerate(words):
            with torch.no_grad():
                logs = model(torch.tensor([[*ids, *word]])).logits[0].log_softmax(-1).numpy()
            steps = [logs[len(ids) - 1 + n, token] for n, token in enumerate(word)]
            expected[i, c], later[i, c] = sum(steps), sum(steps[1:])
    found = models.contributions(pin(folder), prompts, silent)
    np.testing.assert_allclose(found.later, later, rtol=1e-3, atol=1e-3)
    ours = total(found) + found.later
    np.testing.assert_allclose(ours - ours[:, :1], expected - expected[:, :1], rtol=1e-3, atol=1e-3)
    first = models.contributions(pin(folder), replace(plain, label_tokens=firsts), silent)
    np.testing.assert_allclose(found.heads, first.heads, rtol=1e-4, atol=1e-4)
    assert not len(first.later)


def test_arrays_are_read_only_and_no_hook_is_left_behind(models: LocalModels, pin: Pin, gpt2: Path):
    def cancel(_fraction: float, _sentence: str) -> None:
        raise Cancelled("no longer wanted")

    with models.store.borrow(pin(gpt2)) as loaded:
        before = hooks(loaded.model)
        found = direct_attribution.contributions(loaded, make_prompts([5, 9]), silent)
        with pytest.raises(Cancelled):
            direct_attribution.contributions(loaded, make_prompts([5]), cancel)
        assert hooks(loaded.model) == before
    assert not any(array.flags.writeable for array in vars(found).values())


def test_a_prompt_that_does_not_fit_is_an_error(models: LocalModels, pin: Pin, gpt2: Path):
    with pytest.raises(PromptError, match="positions; lower"):
        models.contributions(pin(gpt2), make_prompts([POSITIONS + 1]), silent)


def test_half_precision_adds_up_to_its_rounding(models: LocalModels, pin: Pin, tmp_path: Path):
    rough = pin(save(random_model("llama"), tmp_path / "llama"), dtype="bfloat16")
    prompts = make_prompts([12, 20])
    logits = models.readout(rough, prompts, silent).logits
    np.testing.assert_allclose(total(models.contributions(rough, prompts, silent)), logits, atol=0.1, rtol=0.05)
