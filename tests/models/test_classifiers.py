"""Causal models with a classification head, or none: against transformers' own forward pass, a prompt at a time."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from backend.caching.progress import silent
from backend.errors import CheckpointError, PromptError, UndefinedError
from backend.lab.outputs import Ablation, SteeringVectors, Swap
from backend.models.local import LocalModels
from backend.models.runtime.components import anatomy_of
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.facts import BODY
from backend.study.token_ids import Prompts
from tests.fake_texts import fake_tokenizer
from tests.models.random_models import LAYERS, POSITIONS, WIDTH, Pin, random_model, ref, save

HEAD = "ForSequenceClassification"
PADDING = 0
ALIKE: dict[str, Any] = {"atol": 1e-4, "rtol": 1e-4}


def classifier(folder: Path, name: str, seed: int = 0, classes: int = 2, **settings: Any) -> Path:
    """A random classifier on disk."""
    return save(random_model(name, seed, head=HEAD, num_labels=classes, **settings), folder)


def some_prompts(classes: int = 2, lengths: tuple[int, ...] = (1, POSITIONS, 5, 33, 12, 7, 60, 20)) -> Prompts:
    """Prompts of very different lengths; padding occurs in them, but not at their ends."""
    generator = np.random.default_rng(0)
    size = fake_tokenizer().get_vocab_size()
    drawn = [generator.integers(1, size, n).tolist() for n in lengths]
    ids = tuple(
        (*one[: n // 2], PADDING, *one[n // 2 + 1 :]) if n > 2 else tuple(one)
        for n, one in zip(lengths, drawn, strict=True)
    )
    labels = np.arange(len(lengths), dtype=np.int64) % classes
    return Prompts("digest", ids, labels, tuple(range(classes)), labels.astype(bool), "last")


def plain(folder: Path) -> Any:
    """The model as transformers opens it."""
    architecture = str((transformers.AutoConfig.from_pretrained(folder).architectures or [""])[0])
    return getattr(transformers, architecture).from_pretrained(folder, dtype=torch.float32)


def answers(model: Any, prompts: Prompts) -> np.ndarray:
    """The logits of transformers' own forward pass, one prompt at a time."""
    with torch.no_grad():
        return np.stack([model(input_ids=torch.tensor([ids])).logits[0].numpy() for ids in prompts.token_ids])


def headless(checkpoint: PinnedCheckpoint) -> PinnedCheckpoint:
    """A language model as a study of classifiers reads it."""
    return replace(checkpoint, fingerprint=checkpoint.fingerprint + BODY, facts=checkpoint.facts.body)


@pytest.mark.parametrize("classes", [2, 3])
def test_residuals_and_answers_are_those_of_transformers(
    family: str, classes: int, models: LocalModels, pin: Pin, tmp_path: Path
):
    folder = classifier(tmp_path / "model", family, classes=classes)
    checkpoint, prompts, model = pin(folder), some_prompts(classes), plain(folder)
    assert (checkpoint.facts.kind, checkpoint.facts.answers, checkpoint.facts.predicts) == ("causal", classes, False)
    found = models.readout(checkpoint, prompts, silent)
    np.testing.assert_allclose(found.logits, answers(model, prompts), **ALIKE)
    assert found.logits.std() > 0.3
    for i, ids in enumerate(prompts.token_ids):
        with torch.no_grad():
            states = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
        np.testing.assert_allclose(found.residuals[i, :-1], torch.stack([x[0, -1] for x in states[:-1]]), **ALIKE)
    logit_diff = models.label_logits(found.residuals, prompts.label_tokens, checkpoint, checkpoint, silent)
    np.testing.assert_allclose(logit_diff[:, -1], found.logits, **ALIKE)
    raw = models.label_logits(found.residuals, prompts.label_tokens, checkpoint, None, silent)
    np.testing.assert_allclose(raw[:, 1], found.residuals[:, 1] @ model.score.weight.detach().numpy().T, **ALIKE)


def test_a_model_that_knows_no_padding_reads_many_prompts_at_once(models: LocalModels, pin: Pin, tmp_path: Path):
    folder = classifier(tmp_path / "model", "gpt2", pad_token_id=None)
    prompts = some_prompts()
    with pytest.raises(ValueError, match="Cannot handle batch sizes > 1"):
        plain(folder)(input_ids=torch.ones(2, 3, dtype=torch.int64))
    np.testing.assert_allclose(
        models.readout(pin(folder), prompts, silent).logits, answers(plain(folder), prompts), **ALIKE
    )


def test_a_prompt_that_ends_with_padding_is_refused(models: LocalModels, pin: Pin, tmp_path: Path):
    prompts = some_prompts(lengths=(5, 9))
    ids = (*prompts.token_ids[1][:-1], PADDING)
    ends = replace(prompts, token_ids=(prompts.token_ids[0], ids))
    folder = classifier(tmp_path / "model", "llama")
    with pytest.raises(PromptError, match=r"Prompt 2 ends with token 0, the padding token of .*model"):
        models.readout(pin(folder), ends, silent)
    other = classifier(tmp_path / "other", "llama", pad_token_id=3)
    np.testing.assert_allclose(models.readout(pin(other), ends, silent).logits, answers(plain(other), ends), **ALIKE)


def test_a_head_of_other_classes_is_refused(models: LocalModels, pin: Pin, tmp_path: Path):
    checkpoint = pin(classifier(tmp_path / "model", "qwen2", classes=3))
    with pytest.raises(CheckpointError, match="has a head of 3 classes and the study has 2 label words"):
        models.readout(checkpoint, some_prompts(2), silent)


def test_a_head_that_the_file_lacks_is_never_made_up(models: LocalModels, pin: Pin, tmp_path: Path):
    language = save(random_model("gpt2"), tmp_path / "language")
    shutil.copy(classifier(tmp_path / "model", "gpt2") / "config.json", language)
    with pytest.raises(CheckpointError, match="lacks the head of a GPT2ForSequenceClassification"):
        models.readout(pin(language), some_prompts(), silent)


def test_every_token_is_read_by_the_head(family: str, models: LocalModels, pin: Pin, tmp_path: Path):
    folder = classifier(tmp_path / "model", family)
    prompts = some_prompts(lengths=(11,))
    text = models.read_text(pin(folder), prompts, 5, silent)
    ids = prompts.token_ids[0]
    for t in range(len(ids)):
        if ids[t] != PADDING:
            alone = replace(prompts, token_ids=(ids[: t + 1],))
            np.testing.assert_allclose(text.label_logits[t, -1], answers(plain(folder), alone)[0], **ALIKE)
    assert np.isnan(text.next_probability).all()
    assert text.top_tokens.shape == (11, LAYERS + 1, 0)


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen2"])
def test_swaps_are_those_of_a_model_put_together(name: str, models: LocalModels, pin: Pin, tmp_path: Path):
    host = classifier(tmp_path / "host", name)
    donor = save(random_model(name, seed=1), tmp_path / "donor")
    prompts = some_prompts()
    given = headless(pin(donor))
    plan = (Swap("block", 1, 1), Swap("block", 0, 2), Swap("attn", 1, 2), Swap("mlp", 0, 0), Swap("embed"))
    found = models.swaps(pin(host), given, plan, prompts, silent)
    for one, logits in zip(plan, found, strict=True):
        np.testing.assert_allclose(logits, answers(together(plain(host), plain(donor), one), prompts), **ALIKE)
    last = models.readout(pin(host), prompts, silent).residuals[:, -1]
    other_norm = models.label_logits(last, prompts.label_tokens, pin(host), given, silent)
    mixed, parts = plain(host), anatomy_of(plain(donor))
    anatomy_of(mixed).ln_final.load_state_dict(parts.ln_final.state_dict())
    np.testing.assert_allclose(other_norm, answers(mixed, prompts), **ALIKE)


def together(host: Any, donor: Any, swap: Swap) -> Any:
    """The host with the donor's weights."""
    into, source = anatomy_of(host), anatomy_of(donor)
    for block in range(swap.first, swap.last + 1):
        names = {"attn": ("ln1", "attn"), "mlp": ("ln2", "mlp"), "block": ("whole",)}[swap.part]
        for part in names:
            getattr(into.blocks[block], part).load_state_dict(getattr(source.blocks[block], part).state_dict())
    if swap.part == "embed":
        into.embed.load_state_dict(source.embed.state_dict())
        if hasattr(into.body, "wpe"):
            into.body.get_submodule("wpe").load_state_dict(source.body.get_submodule("wpe").state_dict())
    return host


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen2"])
def test_steering_is_that_of_a_hook(name: str, models: LocalModels, pin: Pin, tmp_path: Path):
    folder = classifier(tmp_path / "model", name)
    prompts = some_prompts()
    generator = np.random.default_rng(0)
    one, every = (generator.normal(size=(n, WIDTH)).astype(np.float32) for n in (1, LAYERS + 1))
    unit = (every[0] / np.linalg.norm(every[0])).astype(np.float32)
    plan = (
        SteeringVectors((1,), one),
        SteeringVectors((2,), one, "all"),
        SteeringVectors(tuple(range(LAYERS + 1)), every),
        Ablation(unit, every),
    )
    found = models.steered(pin(folder), plan, prompts, silent)
    for intervention, logits in zip(plan, found, strict=True):
        model = plain(folder)
        for layer in range(LAYERS + 1):
            _hook(model, layer, intervention)
        np.testing.assert_allclose(logits, answers(model, prompts), **ALIKE)


def _hook(model: Any, layer: int, one: SteeringVectors | Ablation) -> None:
    """Do the intervention to what enters a block, or leaves the last, of a single prompt."""

    def changed(x: torch.Tensor) -> torch.Tensor:
        x = x.clone()
        if isinstance(one, Ablation):
            unit = torch.from_numpy(one.unit)
            away = ((x - torch.from_numpy(one.mean[layer])) @ unit)[..., None] * unit
            away[:, 0] = 0
            return x - away
        if layer in one.layers:
            at = slice(None) if one.positions == "all" else slice(-1, None)
            x[:, at] += torch.from_numpy(one.vectors[one.layers.index(layer)])
        return x

    blocks: Any = anatomy_of(model).blocks
    if layer < len(blocks):
        blocks[layer].whole.register_forward_pre_hook(lambda _, args: (changed(args[0]), *args[1:]))
    else:
        blocks[-1].whole.register_forward_hook(
            lambda _m, _a, out: (changed(out[0]), *out[1:]) if isinstance(out, tuple) else changed(out)
        )


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen2"])
def test_patching_is_that_of_a_hook(name: str, models: LocalModels, pin: Pin, tmp_path: Path):
    host = classifier(tmp_path / "host", name)
    donor = save(random_model(name, seed=1), tmp_path / "donor")
    prompts = some_prompts(lengths=(6,))
    found = models.patch(pin(host), headless(pin(donor)), prompts, silent)
    assert np.isnan(found.donor).all()
    np.testing.assert_allclose(found.host, answers(plain(host), prompts)[0], **ALIKE)
    with torch.no_grad():
        states = plain(donor)(input_ids=torch.tensor(prompts.token_ids), output_hidden_states=True).hidden_states
    for layer in range(LAYERS):
        for t in range(6):
            model = plain(host)

            def take(_: Any, args: tuple[Any, ...], t: int = t, layer: int = layer) -> tuple[Any, ...]:
                x = args[0].clone()
                x[:, t] = states[layer][:, t]
                return (x, *args[1:])

            anatomy_of(model).blocks[layer].whole.register_forward_pre_hook(take)
            np.testing.assert_allclose(found.logits[layer, t], answers(model, prompts)[0], **ALIKE)
    other = models.patch(pin(host), pin(classifier(tmp_path / "third", name, seed=2)), prompts, silent)
    np.testing.assert_allclose(other.donor, answers(plain(tmp_path / "third"), prompts)[0], **ALIKE)


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen2"])
def test_the_parts_sum_to_the_logits(name: str, models: LocalModels, pin: Pin, tmp_path: Path):
    folder = classifier(tmp_path / "model", name, classes=3)
    prompts, model = some_prompts(3), plain(folder)
    found = models.contributions(pin(folder), prompts, silent)
    whole = found.embed + found.heads.sum((1, 2)) + found.attn_bias.sum(1) + found.mlps.sum(1) + found.norm_bias
    np.testing.assert_allclose(whole, answers(model, prompts), **ALIKE)
    written: list[torch.Tensor] = []
    mlp = anatomy_of(model).blocks[1].whole.get_submodule("mlp")
    mlp.register_forward_hook(lambda _m, _a, out: written.append(out[0, -1]))
    ids = prompts.token_ids[2]
    with torch.no_grad():
        body = model.base_model(input_ids=torch.tensor([ids]), output_hidden_states=True)
    norm: Any = anatomy_of(model).ln_final
    entering: list[torch.Tensor] = []
    norm.register_forward_pre_hook(lambda _m, args: entering.append(args[0][0, -1]))
    with torch.no_grad():
        model(input_ids=torch.tensor([ids]))
    x, out = entering[0], written[0]
    if name == "gpt2":
        share = norm.weight * (out - out.mean()) / (x.var(unbiased=False) + norm.eps).sqrt()
    else:
        share = norm.weight * out / (x.square().mean() + norm.variance_epsilon).sqrt()
    expected = model.score(share).detach().numpy()
    np.testing.assert_allclose(found.mlps[2, 1], expected, **ALIKE)
    assert body.last_hidden_state.shape[1] == len(ids)


@pytest.mark.parametrize("end", ["Model", "language model"])
def test_a_body_is_compared_and_answers_nothing(end: str, family: str, models: LocalModels, pin: Pin, tmp_path: Path):
    bare = end == "Model"
    folder = save(random_model(family, seed=1, head="Model" if bare else None), tmp_path / "base")
    checkpoint = pin(folder) if bare else headless(pin(folder))
    prompts = some_prompts()
    found = models.readout(checkpoint, prompts, silent)
    assert np.isnan(found.logits).all()
    model = plain(folder)
    for i, ids in enumerate(prompts.token_ids):
        with torch.no_grad():
            states = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
        np.testing.assert_allclose(found.residuals[i, :-1], torch.stack([x[0, -1] for x in states[:-1]]), **ALIKE)
    with pytest.raises(CheckpointError, match=r"is read as a \w+Model, which has no head, so it gives no answers"):
        models.label_logits(np.zeros((2, WIDTH), np.float32), (0, 1), checkpoint, None, silent)
    text = models.read_text(checkpoint, prompts, 5, silent)
    assert np.isnan(text.label_logits).all()
    trained = classifier(tmp_path / "trained", family)
    models.check(ref(trained, "epoch 1"), ref(folder))
    crossed = models.crossed_updates(pin(trained, folder), checkpoint, prompts, silent)
    assert np.isfinite(crossed).all()
    changes = models.weight_changes(pin(trained, folder), checkpoint, silent)
    before, after = (
        {k: v for k, v in one.state_dict().items() if v.is_floating_point()}
        for one in (model.base_model, plain(trained))
    )
    assert {one.layer for one in changes} == {None, *range(LAYERS)}
    assert len(changes) == len(before)
    for one in changes:
        old = before[one.name.partition(".")[2]].double()
        moved = (after[one.name].double() - old).norm() / old.norm()
        assert one.relative_change == pytest.approx(float(moved), rel=1e-4)


def test_a_language_model_is_open_with_and_without_its_head(models: LocalModels, pin: Pin, tmp_path: Path):
    folder = save(random_model("gpt2"), tmp_path / "base")
    whole, prompts = pin(folder), some_prompts()
    assert np.isnan(models.readout(headless(whole), prompts, silent).logits).all()
    with torch.no_grad():
        own = plain(folder)(input_ids=torch.tensor([prompts.token_ids[2]])).logits[0, -1, :2]
    np.testing.assert_allclose(models.readout(whole, prompts, silent).logits[2], own, **ALIKE)


def test_what_needs_next_tokens_is_refused_in_one_sentence(models: LocalModels, pin: Pin, tmp_path: Path):
    one, prompts = pin(classifier(tmp_path / "model", "llama")), some_prompts()
    body = headless(pin(save(random_model("llama"), tmp_path / "base")))
    for model in (one, body):
        with pytest.raises(UndefinedError, match="predicts no tokens, so there is no output space"):
            models.output_space(model, model, prompts, ((1,),), silent)
        with pytest.raises(UndefinedError, match="predicts no tokens, so side effects on predictions are undefined"):
            models.side_effects(model, (), prompts, silent)
        with pytest.raises(UndefinedError, match="predicts no tokens, so it cannot continue a text"):
            models.continuation(model, prompts, None, 3, None, silent)
        with pytest.raises(UndefinedError, match="predicts no tokens, so it has no unembedding"):
            models.embedding(model, "output", silent)
        assert models.embedding(model, "input", silent).tied


def test_other_families_are_no_pair(models: LocalModels, tmp_path: Path):
    base = ref(save(random_model("llama"), tmp_path / "base"))
    other = ref(classifier(tmp_path / "other", "qwen2"), "epoch 1")
    with pytest.raises(CheckpointError, match="its architecture is Qwen2ForSequenceClassification"):
        models.check(other, base)
