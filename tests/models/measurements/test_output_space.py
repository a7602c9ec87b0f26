"""Predictions and last residuals against plain transformers and numpy, one text at a time and in float64."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from backend.caching.progress import silent
from backend.errors import Cancelled, DeviceError, UndefinedError
from backend.lab.outputs import OutputSpace
from backend.models.local import LocalModels
from backend.models.measurements import output_space
from backend.study.token_ids import Prompts
from tests.models.random_models import Pin, make_prompts, random_model, save
from tests.models.references import hooks, plain_model
from tests.tiny import tiny_model

SETS = ((3, 9, 40), (5,), ())
FAMILIES = ("gpt2", "llama")


def reads(folder: Path, ids: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits at every position, and the last residual before and after the final norm."""
    model = plain_model(folder)
    last = model.base_model.h[-1] if hasattr(model.base_model, "h") else model.base_model.layers[-1]
    kept: list[torch.Tensor] = []
    hook = last.register_forward_hook(lambda _m, _a, out: kept.append(out[0] if isinstance(out, tuple) else out))
    with torch.no_grad():
        out = model(torch.tensor([ids]), output_hidden_states=True)
    hook.remove()
    before, after = kept[0].reshape(len(ids), -1), out.hidden_states[-1][0]
    return out.logits[0].double().numpy(), before.double().numpy(), after.double().numpy()


def expected(folder: Path, other: Path, prompts: Prompts, shared: int) -> dict[str, np.ndarray]:
    """Every field of `OutputSpace`, text by text."""
    rows: dict[str, list] = {name: [] for name in OutputSpace.__annotations__}
    for ids in prompts.token_ids:
        sides = [reads(one, ids) for one in (folder, other)]
        p, q = (log_softmax(one[0][:, :shared], axis=-1) for one in sides)
        rows["entropy"].append(-np.sum(np.exp(q[-1]) * q[-1]))
        rows["set_logprob"].append([[np.mean(one[-1, list(s)]) if s else np.nan for s in SETS] for one in (p, q)])
        rows["set_mass"].append([[np.exp(one[-1, list(s)]).sum() for s in SETS] for one in (p, q)])
        rows["predicted"].append(len(ids) - 1)
        rows["loss"].append(-sum(q[t, ids[t + 1]] for t in range(len(ids) - 1)))
        rows["kl"].append(sum(np.sum(np.exp(p[t]) * (p[t] - q[t])) for t in range(len(ids) - 1)))
        pairs = [(sides[0][place], sides[1][place]) for place in (1, 2)]
        norms = [[np.linalg.norm(x, axis=1) for x in one] for one in pairs]
        dots = [np.array([x @ y for x, y in zip(*one, strict=True)]) for one in pairs]
        rows["cosine"].append([np.mean(dot / a / b) for dot, (a, b) in zip(dots, norms, strict=True)])
        rows["norm_ratio"].append([np.mean(b / a) for a, b in norms])
        rows["probability"].append(np.exp([p[-1], q[-1]]))
        rows["logprob_change"].append(q[-1] - p[-1])
        rows["rose"].append(q[-1] > p[-1])
    found = {name: np.array(values, dtype=np.float64) for name, values in rows.items()}
    found |= {name: found[name].mean(axis=0) for name in output_space.PER_VOCABULARY}
    return found | {name: found[name].swapaxes(0, 1) for name in ("set_logprob", "set_mass")}


@pytest.mark.parametrize("name", FAMILIES)
def test_agrees_with_plain_transformers_one_text_at_a_time(
    name: str, tmp_path: Path, models: LocalModels, pin: Pin, monkeypatch: pytest.MonkeyPatch
):
    folder, other = save(random_model(name), tmp_path / "one"), save(random_model(name, seed=8), tmp_path / "other")
    prompts = make_prompts([7, 40, 1, 23, 2, 40])
    vocabulary = pin(folder).facts.vocabulary
    theory = expected(folder, other, prompts, vocabulary)
    monkeypatch.setattr(output_space, "CHUNK_VALUES", 11 * vocabulary)  # chunks end within texts
    found = models.output_space(pin(other, label="epoch 1"), pin(folder), prompts, SETS, silent)
    for field, values in theory.items():
        got = getattr(found, field)
        assert got.shape == values.shape and not got.flags.writeable, field
        atol = 1e-4 if field in ("logprob_change", "cosine") else 1e-7  # these two pass through zero
        np.testing.assert_allclose(got, values, rtol=1e-3, atol=atol, err_msg=field)
    assert found.predicted.tolist() == [6, 39, 0, 22, 1, 39]
    assert (found.loss[2], found.kl[2]) == (0, 0)


def test_a_checkpoint_beside_itself(models: LocalModels, pin: Pin, gpt2: Path):
    one = pin(gpt2)
    found = models.output_space(one, one, make_prompts([5, 30]), SETS, silent)
    assert not found.kl.any() and not found.logprob_change.any() and not found.rose.any()
    np.testing.assert_allclose(found.cosine, 1, atol=1e-6)
    np.testing.assert_array_equal(found.norm_ratio, 1)
    np.testing.assert_array_equal(found.set_mass[0], found.set_mass[1])
    np.testing.assert_allclose(found.probability.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_an_extended_vocabulary_is_compared_on_shared_tokens(name: str, tmp_path: Path, models: LocalModels, pin: Pin):
    folder, longer = save(random_model(name), tmp_path / "one"), random_model(name, seed=3)
    shared = longer.config.vocab_size
    longer.resize_token_embeddings(shared + 5, mean_resizing=False)
    other = save(longer, tmp_path / "longer")
    prompts = make_prompts([4, 9])
    for a, b in ((folder, other), (other, folder)):
        theory = expected(a, b, prompts, shared)
        found = models.output_space(pin(b, label="epoch 1"), pin(a), prompts, SETS, silent)
        assert found.probability.shape == (2, shared)
        for field in ("entropy", "loss", "kl", "probability"):
            np.testing.assert_allclose(getattr(found, field), theory[field], rtol=1e-3, atol=1e-7, err_msg=field)


def test_an_encoder_predicts_no_tokens(models: LocalModels, pin: Pin, tmp_path: Path):
    tiny_model(tmp_path / "bert", seed=1, family="bert")
    one = pin(tmp_path / "bert")
    with pytest.raises(UndefinedError, match="predicts no tokens, so there is no output space to compare; use causal"):
        models.output_space(one, one, make_prompts([4]), SETS, silent)


def test_a_batch_that_does_not_fit_is_halved(
    models: LocalModels, pin: Pin, gpt2: Path, monkeypatch: pytest.MonkeyPatch
):
    one, prompts = pin(gpt2), make_prompts([6, 7, 8])
    whole = models.output_space(one, one, prompts, SETS, silent)
    read = output_space._read

    def small(models, batch, sets):
        if len(batch.token_ids) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return read(models, batch, sets)

    monkeypatch.setattr(output_space, "_read", small)
    halved = models.output_space(one, one, prompts, SETS, silent)
    np.testing.assert_allclose(halved.loss, whole.loss, rtol=1e-5)
    np.testing.assert_allclose(halved.probability, whole.probability, rtol=1e-4, atol=1e-8)

    def never(*_given):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(output_space, "_read", never)
    with pytest.raises(DeviceError, match="One prompt alone does not fit"):
        models.output_space(one, one, prompts, SETS, silent)


def test_a_cancel_arrives_and_leaves_no_hook(models: LocalModels, pin: Pin, gpt2: Path):
    def cancel(_fraction: float, sentence: str) -> None:
        if "comparing predictions" in sentence:
            raise Cancelled("no longer wanted")

    one = pin(gpt2)
    with models.store.borrow(one) as loaded:
        before = hooks(loaded.model)
    with pytest.raises(Cancelled):
        models.output_space(one, one, make_prompts([4]), SETS, cancel)
    models.output_space(one, one, make_prompts([4]), SETS, silent)
    with models.store.borrow(one) as loaded:
        assert hooks(loaded.model) == before


def test_a_residual_of_zeros_is_left_out_of_cosine_and_ratio(pin: Pin, models: LocalModels, tmp_path: Path):
    """A padding token that stands first has an embedding of zeros, and a Llama's residual stays zero there."""
    folders = [tmp_path / "one", tmp_path / "two"]
    for seed, folder in enumerate(folders):
        model: Any = random_model("llama", seed)
        with torch.no_grad():
            model.model.embed_tokens.weight[0] = 0
        save(model, folder)
    base, other = (pin(folder) for folder in folders)
    ids = make_prompts([6, 9]).token_ids
    prompts = replace(make_prompts([7, 10]), token_ids=tuple((0, *row) for row in ids))
    result = models.output_space(other, base, prompts, SETS, silent)
    for text, row in enumerate(prompts.token_ids):
        for place in (1, 2):
            a, b = (reads(folder, row)[place][1:] for folder in folders)
            cosine = np.sum(a * b, axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
            assert result.cosine[text, place - 1] == pytest.approx(cosine.mean(), abs=1e-5)
            ratio = np.linalg.norm(b, axis=1) / np.linalg.norm(a, axis=1)
            assert result.norm_ratio[text, place - 1] == pytest.approx(ratio.mean(), rel=1e-5)
