"""Scaled changes against plain copies of the model with weights mixed by name, one prompt at a time."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from torch import nn
from transformers import PreTrainedModel

from backend.caching.progress import silent
from backend.errors import Cancelled, CheckpointError, UndefinedError
from backend.lab.differences import Scaling
from backend.lab.outputs import Sampling
from backend.models.measurements.generation import continuation
from backend.models.measurements.scaled_text import amplified_text, scaled_text
from backend.models.measurements.scaling import scaled, scaled_predictions
from backend.models.runtime.load import LoadedModel
from backend.models.runtime.scaled import ScaledModel
from backend.study.token_ids import Prompts
from tests.models.random_encoders import encoder, some_prompts
from tests.models.random_models import as_opened, make_prompts, random_model
from tests.tiny_families import tiny

PLAN = (
    Scaling("all", -1.0),
    Scaling("all", 0.0),
    Scaling("all", 1.0),
    Scaling("block", 2.0, (1,)),
    Scaling("block", 1.0, (0, 2)),
    Scaling("attn", 0.5, (0,)),
    Scaling("mlp", 0.5, (2,)),
    Scaling("mlp", 1.5, (1, 2)),
    Scaling("embed", 0.5),
    Scaling("final_norm", 2.0),
    Scaling("head", 0.5),
    Scaling("head", 0.0),
)
PARTS = {
    "gpt2": ("h", ("ln_1", "attn"), ("wte", "wpe"), ("ln_f",)),
    "llama": ("layers", ("input_layernorm", "self_attn"), ("embed_tokens",), ("norm",)),
    "bert": ("layer", ("attention",), ("embeddings",), ("none",)),
}


def of_layout(name: str, seed: int) -> PreTrainedModel:
    return encoder("Bert", seed=seed) if name == "bert" else random_model(name, seed=seed)


def mixed(layout: str, models: list[PreTrainedModel], scaling: Scaling) -> PreTrainedModel:
    """A copy of the reference whose own parameters of a part are reference + alpha (checkpoint - reference)."""
    blocks, attention, embed, norm = PARTS[layout]
    model: Any = copy.deepcopy(models[0])
    theirs = dict(models[1].named_parameters(remove_duplicate=False))
    for path, module in model.named_modules():
        for key, weight in list(module._parameters.items()):
            words = path.split(".")
            if blocks in words:
                at = words.index(blocks)
                half = "attn" if words[at + 2] in attention else "mlp"
                inside = int(words[at + 1]) in scaling.blocks and scaling.part in ("block", half)
            elif words[-1] in norm:
                inside = scaling.part == "final_norm"
            else:
                inside = scaling.part == ("embed" if set(words) & set(embed) else "head")
            if weight is not None and (inside or scaling.part == "all"):
                moved = weight + scaling.alpha * (theirs[f"{path}.{key}"] - weight)
                module._parameters[key] = nn.Parameter(moved.detach(), requires_grad=False)
    return model


def alone(model: Any, ids: tuple[int, ...]) -> np.ndarray:
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].double().numpy()


def answers(layout: str, model: Any, prompts: Prompts) -> np.ndarray:
    logits = [alone(model, ids) for ids in prompts.token_ids]
    return np.array([row if layout == "bert" else row[-1, list(prompts.label_tokens)] for row in logits])


@pytest.mark.parametrize("layout", PARTS)
@pytest.mark.parametrize("held", [None, 2])
def test_label_logits_are_those_of_a_mixed_copy(layout: str, held: int | None):
    models = [of_layout(layout, seed) for seed in (0, 1)]
    prompts = some_prompts() if layout == "bert" else make_prompts([7, 40, 2, 23])
    found = scaled(as_opened(models[0]), as_opened(models[1]), PLAN, prompts, silent, held)
    for scaling, logits in zip(PLAN, found, strict=True):
        expected = answers(layout, mixed(layout, models, scaling), prompts)
        np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=2e-3, err_msg=str(scaling))
    np.testing.assert_array_equal(found[1], found[-1])


def plain_predictions(reference: Any, model: Any, prompts: Prompts) -> tuple[list[float], list[float]]:
    """Loss and KL of each prompt, one at a time: sums over its positions, in nats."""
    losses, divergences = [], []
    for ids in prompts.token_ids:
        p, q = (log_softmax(alone(one, ids), axis=-1)[:-1] for one in (reference, model))
        losses.append(float(-q[range(len(ids) - 1), ids[1:]].sum()))
        divergences.append(float((np.exp(p) * (p - q)).sum()))
    return losses, divergences


@pytest.mark.parametrize("layout", ["gpt2", "llama"])
def test_predictions_are_those_of_a_mixed_copy(layout: str):
    models, prompts = [of_layout(layout, seed) for seed in (0, 1)], make_prompts([7, 40, 2, 23])
    found = scaled_predictions(as_opened(models[0]), as_opened(models[1]), PLAN, prompts, silent)
    for k, scaling in enumerate(PLAN):
        model = mixed(layout, models, scaling)
        loss, kl = plain_predictions(models[0], model, prompts)
        np.testing.assert_allclose(found.loss[k], loss, rtol=1e-3, atol=1e-3, err_msg=str(scaling))
        np.testing.assert_allclose(found.kl[k], kl, rtol=1e-3, atol=1e-3, err_msg=str(scaling))
    assert found.predicted.tolist() == [6, 39, 1, 22]
    assert not found.kl[1].any()


@pytest.mark.parametrize("layout", ["MixtralForCausalLM", "Qwen2MoeForCausalLM"])
def test_a_mixture_of_experts_scales_too(layout: str):
    models, prompts = [tiny(layout, seed) for seed in (0, 1)], make_prompts([9, 5], vocabulary=90)
    plan = [Scaling("all", 0.5), Scaling("block", 2.0, (1,)), Scaling("attn", -1.0, (0,)), Scaling("mlp", 1.5, (1,))]
    ours, theirs = (one.state_dict() for one in models)
    parts = ("", ".layers.1.", (".layers.0.self_attn.", ".layers.0.input_"), (".layers.1.mlp.", ".layers.1.post_"))
    opened = [as_opened(one) for one in models]
    found = scaled(opened[0], opened[1], plan, prompts, silent)
    predicted = scaled_predictions(opened[0], opened[1], plan, prompts, silent)
    for k, (scaling, names) in enumerate(zip(plan, parts, strict=True)):
        inside = {name for name in ours for part in ([names] if isinstance(names, str) else names) if part in name}
        assert inside, scaling
        model = copy.deepcopy(models[0])
        moved = {name: ours[name] + scaling.alpha * (theirs[name] - ours[name]) for name in inside}
        model.load_state_dict({**ours, **moved})
        np.testing.assert_allclose(found[k], answers("llama", model, prompts), rtol=1e-3, atol=2e-3)
        loss, kl = plain_predictions(models[0], model, prompts)
        np.testing.assert_allclose(predicted.loss[k], loss, rtol=1e-3, atol=1e-3, err_msg=str(scaling))
        np.testing.assert_allclose(predicted.kl[k], kl, rtol=1e-3, atol=1e-3, err_msg=str(scaling))


def test_a_reference_without_a_head_is_read_by_the_checkpoint():
    base, tuned = encoder("Bert", head="Model", seed=0), encoder("Bert", seed=1)
    prompts = some_prompts()
    found = scaled(as_opened(base), as_opened(tuned), [Scaling("all", 0.0), Scaling("all", 1.0)], prompts, silent)
    np.testing.assert_allclose(found[1], answers("bert", tuned, prompts), rtol=1e-3, atol=2e-3)
    plain: Any = copy.deepcopy(tuned)
    plain.bert.load_state_dict(base.state_dict(), strict=False)
    plain.bert.pooler = copy.deepcopy(tuned).get_submodule("bert.pooler")
    np.testing.assert_allclose(found[0], answers("bert", plain, prompts), rtol=1e-3, atol=2e-3)


def state(model: PreTrainedModel) -> dict[str, tuple[int, torch.Tensor]]:
    return {name: (weight.data_ptr(), weight.clone()) for name, weight in model.state_dict().items()}


@pytest.mark.parametrize("layout", ["gpt2", "llama"])
def test_the_lent_models_never_change_even_after_an_exception(layout: str):
    models = [of_layout(layout, seed) for seed in (0, 1)]
    opened, before = [as_opened(one) for one in models], [state(one) for one in models]
    prompts, calls = make_prompts([7, 12]), 0

    def cancel(_fraction: float, _sentence: str) -> None:
        nonlocal calls
        calls += 1
        if calls > 4:
            raise Cancelled("no longer wanted")

    watched: list[bool] = []

    def watch(_module: nn.Module, _args: Any) -> None:
        now = [state(one) for one in models]
        watched.append(all(a[name][0] == b[name][0] for a, b in zip(now, before, strict=True) for name in a))

    hook = opened[0].components.ln_final.register_forward_pre_hook(watch)
    scaled(opened[0], opened[1], PLAN, prompts, silent)
    hook.remove()
    assert all(watched)
    with pytest.raises(Cancelled):
        scaled(opened[0], opened[1], PLAN, prompts, cancel)
    scaled_text(opened[0], opened[1], Scaling("all", 1.5), prompts, 3, None, silent)
    for model, kept in zip(models, before, strict=True):
        for name, weight in model.state_dict().items():
            assert weight.data_ptr() == kept[name][0] and torch.equal(weight, kept[name][1])
    assert not any(module._forward_pre_hooks for module in models[0].modules())


def test_the_private_model_shares_what_is_not_scaled():
    opened = [as_opened(random_model("llama", seed=seed)) for seed in (0, 1)]
    model = ScaledModel(opened[0], opened[1])
    model.scale(1, 0.5)
    own = dict(model.loaded.model.named_parameters())
    for name, weight in opened[0].model.named_parameters():
        assert (own[name].data_ptr() != weight.data_ptr()) == (".layers.1." in name), name
    model.scale(1, 0.0)
    for name, weight in model.loaded.model.named_parameters():
        assert weight.data_ptr() == dict(opened[0].model.named_parameters())[name].data_ptr()


@pytest.mark.parametrize("layout", ["gpt2", "llama"])
@pytest.mark.parametrize("sampling", [None, Sampling(0.9, 3)])
def test_what_scaled_models_write_is_what_mixed_copies_write(layout: str, sampling: Sampling | None):
    models, prompts = [of_layout(layout, seed) for seed in (0, 1)], make_prompts([9])
    for one in models:
        one.config.eos_token_id = one.generation_config.eos_token_id = None
    opened = [as_opened(one) for one in models]
    for scaling in (Scaling("all", 0.5), Scaling("block", 2.0, (1,)), Scaling("embed", 1.0)):
        written = scaled_text(opened[0], opened[1], scaling, prompts, 6, sampling, silent)
        assert written == continuation(as_opened(mixed(layout, models, scaling)), prompts, None, 6, sampling, silent)
    assert amplified_text(opened[0], opened[1], 0.0, prompts, 6, sampling, silent) == continuation(
        opened[1], prompts, None, 6, sampling, silent
    )
    ids = list(prompts.token_ids[0])
    for _ in range(4):
        p, q = (alone(one, tuple(ids))[-1] for one in models)
        ids.append(int((q + 1.5 * (q - p)).argmax()))
    assert amplified_text(opened[0], opened[1], 1.5, prompts, 4, None, silent) == tuple(ids[9:])


def test_what_cannot_be_scaled_is_refused():
    one = as_opened(random_model("gpt2"))
    with pytest.raises(CheckpointError, match="Block 7 cannot be scaled"):
        scaled(one, one, [Scaling("block", 1.0, (7,))], make_prompts([4]), silent)
    with pytest.raises(CheckpointError, match="differ in kind or size"):
        scaled(one, as_opened(random_model("llama")), [Scaling("all", 1.0)], make_prompts([4]), silent)
    bert: LoadedModel = as_opened(encoder("Bert"))
    with pytest.raises(UndefinedError, match="predicts no tokens"):
        scaled_predictions(bert, bert, [Scaling("all", 1.0)], some_prompts(), silent)
    bare = as_opened(encoder("Bert", head="Model"))
    with pytest.raises(CheckpointError, match="have no head"):
        scaled(bare, bare, [Scaling("all", 1.0)], some_prompts(), silent)
