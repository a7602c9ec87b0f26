"""The logit lens against plain transformers and numpy: own head, other heads, no norm, and every token of one text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from scipy.special import log_softmax, softmax

from backend.caching.progress import silent
from backend.errors import Cancelled, CheckpointError, DeviceError, PromptError
from backend.models.local import LocalModels
from backend.models.measurements import logit_lens
from backend.study.token_ids import Columns, Prompts
from tests.device import DEVICE
from tests.models.random_models import LABEL_TOKENS, LAYERS, POSITIONS, WIDTH, Pin, make_prompts, random_model, save
from tests.models.references import final_norm, hooks, plain_model

TEXT = make_prompts([29], seed=4)


def head(folder: Path) -> np.ndarray:
    """The unembedding, [vocabulary, width]."""
    return plain_model(folder).get_output_embeddings().weight.detach().numpy()


def plain(folder: Path, prompts: Prompts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Plain transformers on the first prompt: hidden states before each block, the normed last one, logits."""
    model = plain_model(folder)
    with torch.no_grad():
        output = model(torch.tensor([prompts.token_ids[0]]), output_hidden_states=True)
    states = np.stack([state[0].numpy() for state in output.hidden_states], axis=1)
    return states[:, :-1], states[:, -1], output.logits[0].numpy()


def test_every_token_and_layer_equals_plain_transformers(models: LocalModels, pin: Pin, folder: Path):
    hidden, normed, logits = plain(folder, TEXT)
    assert logits.std() > 1  # else anything would pass
    found = models.read_text(pin(folder), TEXT, 5, silent)
    ids = np.array(TEXT.token_ids[0])
    assert found.residuals.shape == (len(ids), LAYERS + 1, WIDTH)
    np.testing.assert_allclose(found.residuals[:, :-1], hidden, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(final_norm(folder, found.residuals[:, -1]), normed, rtol=1e-4, atol=1e-4)
    states = np.concatenate([final_norm(folder, hidden), normed[:, None]], axis=1)
    expected = states @ head(folder).T
    np.testing.assert_allclose(expected[:, -1], logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.label_logits, expected[:, :, LABEL_TOKENS], rtol=1e-4, atol=1e-4)
    chances = softmax(expected, axis=-1)
    followed = np.stack([chances[t, :, ids[t + 1]] for t in range(len(ids) - 1)])
    np.testing.assert_allclose(found.next_probability[:-1], followed, rtol=1e-3, atol=1e-6)
    assert np.isnan(found.next_probability[-1]).all()
    best = np.sort(chances, axis=-1)[..., ::-1][..., :5]
    np.testing.assert_allclose(found.top_probabilities, best, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(chances, found.top_tokens, axis=-1), best, rtol=1e-3, atol=1e-6)


def test_the_last_layer_reads_as_the_model_itself_does(models: LocalModels, pin: Pin, folder: Path, prompts: Prompts):
    one = pin(folder)
    read = models.readout(one, prompts, silent)
    found = models.label_logits(read.residuals, LABEL_TOKENS, one, one, silent)
    assert found.shape == (len(prompts.token_ids), LAYERS + 1, len(LABEL_TOKENS))
    np.testing.assert_allclose(found[:, -1], read.logits, rtol=1e-4, atol=1e-4)
    assert np.abs(found[:, 0] - read.logits).max() > 0.1


def test_the_readout_and_the_text_are_read_alike(models: LocalModels, pin: Pin, folder: Path):
    one = pin(folder)
    text, read = models.read_text(one, TEXT, 1, silent), models.readout(one, TEXT, silent)
    np.testing.assert_allclose(text.residuals[-1], read.residuals[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(text.label_logits[-1, -1], read.logits[0], rtol=1e-4, atol=1e-4)


def test_other_heads_other_norms_and_none(models: LocalModels, pin: Pin, family: str, folder: Path, tmp_path: Path):
    other = save(random_model(family, seed=8), tmp_path / "other")
    mine, theirs = pin(folder), pin(other, label="epoch 1")
    x = models.readout(mine, make_prompts([5, 9]), silent).residuals
    rows = {place: head(place)[list(LABEL_TOKENS)].T for place in (folder, other)}
    for head_of, norm_of, expected in (
        (theirs, mine, final_norm(folder, x) @ rows[other]),
        (theirs, theirs, final_norm(other, x) @ rows[other]),
        (mine, theirs, final_norm(other, x) @ rows[folder]),
        (mine, None, x @ rows[folder]),
    ):
        found = models.label_logits(x, LABEL_TOKENS, head_of, norm_of, silent)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_head_with_a_bias(models: LocalModels, pin: Pin, folder: Path):
    x = np.random.default_rng(0).normal(size=(4, WIDTH)).astype(np.float32)
    with models.store.borrow(pin(folder)) as loaded:
        linear = loaded.components.unembed
        counted = torch.arange(linear.out_features, dtype=torch.float32, device=DEVICE)
        bias = torch.nn.Parameter(counted, requires_grad=False)
        linear.bias = bias
        found = logit_lens.label_logits(x, Columns(LABEL_TOKENS), loaded, None)
        linear.bias = None
    np.testing.assert_allclose(found, x @ head(folder)[list(LABEL_TOKENS)].T + LABEL_TOKENS, rtol=1e-4, atol=1e-4)


def test_chunks_change_no_number(models: LocalModels, pin: Pin, folder: Path, monkeypatch: pytest.MonkeyPatch):
    one, x = pin(folder), np.random.default_rng(0).normal(size=(3, 4, WIDTH)).astype(np.float32)
    whole = models.read_text(one, TEXT, 3, silent), models.label_logits(x, LABEL_TOKENS, one, one, silent)
    monkeypatch.setattr(logit_lens, "CHUNK_VALUES", 7 * one.facts.vocabulary)
    parts = models.read_text(one, TEXT, 3, silent), models.label_logits(x, LABEL_TOKENS, one, one, silent)
    np.testing.assert_allclose(parts[1], whole[1], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(parts[0].top_tokens, whole[0].top_tokens)
    for name in ("label_logits", "next_probability", "top_probabilities"):
        np.testing.assert_allclose(getattr(parts[0], name), getattr(whole[0], name), rtol=1e-4, atol=1e-5)


def test_half_precision_is_read_in_half_precision_and_handed_on_in_float32(models: LocalModels, pin: Pin, folder: Path):
    exact, rough = pin(folder), pin(folder, dtype="bfloat16")
    text, plain_text = models.read_text(rough, TEXT, 2, silent), models.read_text(exact, TEXT, 2, silent)
    logits = models.label_logits(text.residuals, LABEL_TOKENS, rough, rough, silent)
    assert text.label_logits.dtype == text.residuals.dtype == logits.dtype == np.float32
    np.testing.assert_allclose(logits, text.label_logits, rtol=0.02, atol=0.02)
    scale = np.abs(plain_text.label_logits).max()
    assert 0 < np.abs(text.label_logits - plain_text.label_logits).max() < 0.1 * scale


def test_arrays_are_read_only_and_no_hook_is_left_behind(models: LocalModels, pin: Pin, gpt2: Path):
    def cancel(_fraction: float, _sentence: str) -> None:
        raise Cancelled("no longer wanted")

    with models.store.borrow(pin(gpt2)) as loaded:
        before = hooks(loaded.model)
        found = logit_lens.read_text(loaded, TEXT, 2, silent)
        with pytest.raises(Cancelled):
            logit_lens.read_text(loaded, TEXT, 2, cancel)
        assert hooks(loaded.model) == before
    assert not any(array.flags.writeable for array in vars(found).values())


def test_one_token_and_more_top_tokens_than_there_are(models: LocalModels, pin: Pin, gpt2: Path):
    one = pin(gpt2)
    found = models.read_text(one, make_prompts([1]), 10**6, silent)
    assert found.top_tokens.shape == (1, LAYERS + 1, one.facts.vocabulary)
    np.testing.assert_allclose(found.top_probabilities.sum(axis=-1), 1, rtol=1e-4)
    assert np.isnan(found.next_probability).all()


def test_a_text_that_does_not_fit_is_an_error(models: LocalModels, pin: Pin, gpt2: Path):
    with pytest.raises(PromptError, match=r"positions; lower prompt\.max_tokens"):
        models.read_text(pin(gpt2), make_prompts([POSITIONS + 1]), 2, silent)


@pytest.mark.parametrize(("dtype", "advice"), [("float32", "its weights are damaged"), ("bfloat16", 'set dtype = "')])
def test_values_that_are_not_finite_are_an_error(
    models: LocalModels, pin: Pin, tmp_path: Path, dtype: str, advice: str
):
    model = random_model("llama")
    with torch.no_grad():
        model.get_input_embeddings().weight[TEXT.token_ids[0][3]] = float("nan")  # pyright: ignore[reportIndexIssue]
    broken = save(model, tmp_path / "nan")
    with pytest.raises(CheckpointError, match=f"not finite in {dtype}; {advice}"):
        models.read_text(pin(broken, dtype=dtype), TEXT, 2, silent)


def test_log_probabilities_of_plain_softmax_agree(models: LocalModels, pin: Pin, folder: Path):
    """The last layer's probability of the next token is what the loss of plain transformers is made of."""
    ids = torch.tensor([TEXT.token_ids[0]])
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        output = model(ids, labels=ids)
    found = models.read_text(pin(folder), TEXT, 1, silent).next_probability[:-1, -1]
    assert -np.log(found.astype(np.float64)).mean() == pytest.approx(float(output.loss), rel=1e-4)
    expected = log_softmax(output.logits[0].numpy(), axis=-1)
    np.testing.assert_allclose(np.log(found), expected[np.arange(28), np.array(TEXT.token_ids[0])[1:]], rtol=1e-3)


@pytest.mark.parametrize("words", [((7, 3), (11,)), ((7, 3, 9), (7, 5), (11, 2))])
def test_words_of_several_tokens_are_read_after_every_token(
    models: LocalModels, pin: Pin, folder: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[tuple[int, ...], ...]
):
    """Each beginning of the text and each word is one plain pass, read at every layer by norm and head."""
    text = make_prompts([9], seed=4)
    firsts, following = tuple(word[0] for word in words), tuple(word[1:] for word in words)
    prompts = replace(text, label_tokens=firsts, following=following)
    ids = text.token_ids[0]
    expected = np.zeros((len(ids), LAYERS + 1, len(words)))
    for t in range(len(ids)):
        for c, word in enumerate(words):
            whole = replace(text, token_ids=((*ids[: t + 1], *word),))
            hidden, normed, _ = plain(folder, whole)
            states = np.concatenate([final_norm(folder, hidden), normed[:, None]], axis=1)
            logs = log_softmax(states @ head(folder).T, axis=-1)
            expected[t, :, c] = sum(logs[t + n, :, token] for n, token in enumerate(word))
    found = models.read_text(pin(folder), prompts, 1, silent)
    np.testing.assert_allclose(found.label_logits, expected, rtol=1e-3, atol=1e-3)
    read = models.readout(pin(folder), prompts, silent)
    np.testing.assert_allclose(found.label_logits[-1, -1], read.logits[0], rtol=1e-4, atol=1e-4)
    monkeypatch.setattr(logit_lens, "CHUNK_VALUES", 600)
    pieces = models.read_text(pin(folder), prompts, 1, silent)
    np.testing.assert_allclose(pieces.label_logits, found.label_logits, rtol=1e-4, atol=1e-4)


def test_a_text_that_the_device_has_no_memory_for_is_an_error(models: LocalModels, pin: Pin, gpt2: Path, monkeypatch):
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(logit_lens, "_read", full)
    with pytest.raises(DeviceError, match="One prompt alone does not fit"):
        models.read_text(pin(gpt2), TEXT, 2, silent)
