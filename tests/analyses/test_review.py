"""A typed text, against plain transformers and numpy on real weights, and on fakes: privacy, classes, examples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from backend import wiring
from backend.analyses import discover, review
from backend.derived import example_reviews
from backend.lab.lab import Lab
from backend.lab.pinning import pin
from backend.study.pinned import PinnedStudy
from backend.study.typed_texts import Typed, leave_out, read_typed
from tests.fakes import FakeModels, fake_lab, fake_study
from tests.tiny import tiny_study

TEXT = "The script is funny, humane and the camera work drags. My sister disagrees, loudly."
TEMPLATE = "Review: {} Sentiment:"
PLACES = {"base": "base", "epoch 2": "checkpoints/epoch-2"}
CLOSE: dict[str, Any] = {"rtol": 1e-3, "atol": 1e-4}


def typed(study: PinnedStudy, lab: Lab, text: str = TEXT) -> Typed:
    return read_typed(study.readers, text)


def asked(study: PinnedStudy, lab: Lab, label: str, text: str = TEXT, reference: str = "base") -> review.Query:
    return review.Query(
        study.checkpoint(label), study.checkpoint(reference), typed(study, lab, text).prompts, study.prompts
    )


@dataclass(frozen=True)
class Plain:
    """A checkpoint as plain transformers opens it, all in float64 numpy but for the forward pass."""

    model: torch.nn.Module
    norm: torch.nn.Module
    head: np.ndarray
    tokenize: object
    words: list[int]

    def states(self, ids: list[int]) -> np.ndarray:
        """Residuals [tokens, layers, width], the last caught before the final norm."""
        kept: list[torch.Tensor] = []
        hook = self.norm.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0][0]))
        with torch.no_grad():
            output = self.model(torch.tensor([ids]), output_hidden_states=True)
        hook.remove()
        return torch.stack([*(state[0] for state in output.hidden_states[:-1]), kept[0]], dim=1).numpy()

    def logits(self, states: np.ndarray, head: np.ndarray | None = None) -> np.ndarray:
        with torch.no_grad():
            normed = self.norm(torch.from_numpy(states.copy())).numpy()
        return normed.astype(np.float64) @ (self.head if head is None else head).T

    def logit_diff(self, states: np.ndarray) -> np.ndarray:
        logits = self.logits(states)
        return logits[..., self.words[1]] - logits[..., self.words[0]]

    def ids(self, text: str) -> list[int]:
        return self.tokenize(TEMPLATE.format(text)).input_ids  # type: ignore[operator]


def opened(folder: Path, place: str) -> Plain:
    model = AutoModelForCausalLM.from_pretrained(folder / place, dtype=torch.float32)
    body = model.base_model
    tokenizer = AutoTokenizer.from_pretrained(folder / place)
    prompt = tokenizer(TEMPLATE.format("")).input_ids
    words = [tokenizer(TEMPLATE.format("") + f" {word}").input_ids[len(prompt)] for word in ("negative", "positive")]
    norm = body.get_submodule("ln_f" if hasattr(body, "ln_f") else "norm")
    return Plain(model, norm, model.get_parameter("lm_head.weight").detach().double().numpy(), tokenizer, words)


@dataclass(frozen=True)
class Real:
    study: PinnedStudy
    lab: Lab
    plain: dict[str, Plain]


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    """A tiny study with weights, opened by Layershift and by plain transformers."""
    root = tmp_path_factory.mktemp(request.param)
    folder = tiny_study(root / "tiny", epochs=(1, 2), family=request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAYERSHIFT_CACHE", str(root / "cache"))
        wiring.open_lab.cache_clear()
        lab = wiring.open_lab()
        study = pin(wiring.find_study(str(folder)), lab)
        yield Real(study, lab, {label: opened(folder, place) for label, place in PLACES.items()})
        wiring.open_lab.cache_clear()


def sample_states(real: Real, label: str) -> tuple[np.ndarray, np.ndarray]:
    plain, prompts = real.plain[label], real.study.prompts
    return np.stack([plain.states(list(ids))[-1] for ids in prompts.token_ids]).astype(np.float64), prompts.labels


def test_the_curve_agrees_with_plain_transformers(real: Real) -> None:
    for label, plain in real.plain.items():
        result = review.recipe(asked(real.study, real.lab, label), real.lab)
        states = plain.states(plain.ids(TEXT))
        expected = plain.logit_diff(states[-1])
        assert np.ptp(expected) > 0.5, "the logit difference must spread, or anything passes"
        np.testing.assert_allclose(result.logit_diff[:, 0], expected, **CLOSE)
        own = plain.model(torch.tensor([plain.ids(TEXT)])).logits[0, -1].detach().numpy().astype(np.float64)
        assert result.logit_diff[-1, 0] == pytest.approx(own[plain.words[1]] - own[plain.words[0]], rel=1e-3)
        odds = np.exp(own[plain.words] - own[plain.words].max())
        np.testing.assert_allclose(result.probability, odds / odds.sum(), **CLOSE)
        base = real.plain["base"].head
        logits = plain.logits(states[-1], base)
        by_base = logits[:, plain.words[1]] - logits[:, plain.words[0]]
        np.testing.assert_allclose(result.logit_diff_reference_head[:, 0], by_base, **CLOSE)
        bare = states[-1].astype(np.float64) @ (base[plain.words[1]] - base[plain.words[0]])
        np.testing.assert_allclose(result.logit_diff_no_norm[:, 0], bare, **CLOSE)


def test_the_projection_agrees_with_plain_transformers(real: Real) -> None:
    for label, plain in real.plain.items():
        sample, labels = sample_states(real, label)
        zero, one = sample[labels == 0].mean(axis=0), sample[labels == 1].mean(axis=0)
        d = one - zero
        x = plain.states(plain.ids(TEXT)).astype(np.float64)
        layers = slice(1, None)  # at layer 0 the readout position of a rotary model is a constant
        place = ((x - zero) * d).sum(-1)[:, layers] / (d * d).sum(-1)[layers]
        query = asked(real.study, real.lab, label)
        np.testing.assert_allclose(review.recipe(query, real.lab).place[layers, 0], place[-1], **CLOSE)
        result = review.tokens(query, real.lab)
        np.testing.assert_allclose(result.place[:, layers, 0], place, **CLOSE)


def test_every_token_agrees_with_plain_transformers(real: Real) -> None:
    label, plain = "epoch 2", real.plain["epoch 2"]
    result = review.tokens(asked(real.study, real.lab, label), real.lab)
    ids = plain.ids(TEXT)
    logits = plain.logits(plain.states(ids))
    chances = np.exp(logits - np.log(np.exp(logits).sum(-1, keepdims=True)))
    np.testing.assert_allclose(
        result.logit_diff[..., 0], logits[..., plain.words[1]] - logits[..., plain.words[0]], **CLOSE
    )
    np.testing.assert_allclose(result.norm, np.linalg.norm(plain.states(ids).astype(np.float64), axis=-1), rtol=1e-3)
    np.testing.assert_allclose(result.relative, result.norm / np.median(result.norm, axis=0), rtol=1e-6)
    np.testing.assert_allclose(
        result.next_probability[:-1], np.stack([chances[t, :, ids[t + 1]] for t in range(len(ids) - 1)]), **CLOSE
    )
    best = np.sort(chances, axis=-1)[..., ::-1][..., : review.TOP]
    np.testing.assert_allclose(result.top_probability, best, **CLOSE)
    likeliest = plain.tokenize.decode([int(chances[3, -1].argmax())])  # type: ignore[attr-defined]
    assert result.words[result.top[3, -1, 0]] == likeliest.replace(" ", "␣")


def test_leaving_words_out_agrees_with_plain_transformers(real: Real) -> None:
    study, lab = real.study, real.lab
    texts, parts = leave_out(study.readers, (TEXT,), 100)
    words = TEXT.split(" ")
    assert list(parts) == words
    for label, plain in real.plain.items():
        effect = review.parts(review.PartsQuery(study.checkpoint(label), texts), lab).effect
        whole = plain.logit_diff(plain.states(plain.ids(TEXT))[-1])
        expected = [
            whole - plain.logit_diff(plain.states(plain.ids(" ".join(words[:i] + words[i + 1 :])))[-1])
            for i in range(len(words))
        ]
        assert np.ptp(expected) > 0.5
        np.testing.assert_allclose(effect[..., 0], expected, rtol=1e-3, atol=1e-3)


def test_the_nearest_reviews_agree_with_plain_numpy(real: Real) -> None:
    sample, _ = sample_states(real, "epoch 2")
    x = real.plain["epoch 2"].states(real.plain["epoch 2"].ids(TEXT))[-1]
    result = review.recipe(asked(real.study, real.lab, "epoch 2"), real.lab)
    for layer in range(1, sample.shape[1]):
        others, mine = sample[:, layer] - sample[:, layer].mean(0), x[layer] - sample[:, layer].mean(0)
        cosines = others @ mine / np.linalg.norm(others, axis=1) / np.linalg.norm(mine)
        np.testing.assert_allclose(result.cosine[layer], np.sort(cosines)[::-1][:5], **CLOSE)
        np.testing.assert_allclose(cosines[result.neighbours[layer]], result.cosine[layer], **CLOSE)


def test_a_review_of_the_sample_is_not_its_own_neighbour(tmp_path: Path) -> None:
    study, lab = fake_study(), fake_lab(tmp_path)
    result = review.recipe(asked(study, lab, "epoch 3", study.sample.text[4]), lab)
    assert 4 not in result.neighbours[1:]
    assert (result.cosine[1:] < 0.999).all()
    assert np.isnan(result.cosine[0]).all(), "layer 0 of the fake is a constant"
    assert np.isnan(result.place[0]).all()


def test_more_than_two_classes_have_a_logit_diff_each(tmp_path: Path) -> None:
    study, lab = fake_study(classes=3), fake_lab(tmp_path)
    query = asked(study, lab, "epoch 1")
    result, tokens = review.recipe(query, lab), review.tokens(query, lab)
    assert result.logit_diff.shape == (13, 3)
    assert tokens.logit_diff.shape == (len(query.text.token_ids[0]), 13, 3)
    logits = lab.models.label_logits(
        lab.models.readout(query.checkpoint, query.text, lambda *_: None).residuals[0],
        query.text.label_tokens,
        query.checkpoint,
        query.checkpoint,
        lambda *_: None,
    ).astype(np.float64)
    for c in range(3):
        others = np.delete(logits, c, axis=1)
        np.testing.assert_allclose(
            result.logit_diff[:, c], logits[:, c] - np.log(np.exp(others).sum(axis=1)), rtol=1e-6
        )
    rows = list(result.rows(query))
    assert [row["class"] for row in rows[:4]] == [0, 1, 2, 0]
    assert len(list(tokens.rows(query, typed(study, lab).pieces))) == tokens.logit_diff.size


def test_the_largest_dimensions_can_be_left_out(tmp_path: Path) -> None:
    study, lab = fake_study(), fake_lab(tmp_path)
    query = asked(study, lab, "epoch 3", reference="epoch 1")
    plain, without = review.recipe(query, lab), review.recipe(replace(query, drop_largest=2), lab)
    np.testing.assert_array_equal(plain.logit_diff, without.logit_diff)
    sample = np.delete(lab.readout(query.checkpoint, study.prompts).residuals, [3, 7], axis=2).astype(np.float64)
    x = np.delete(lab.models.readout(query.checkpoint, query.text, lambda *_: None).residuals[0], [3, 7], axis=1)
    zero, one = (sample[study.prompts.labels == c].mean(axis=0) for c in (0, 1))
    expected = ((x - zero) * (one - zero)).sum(-1)[4:] / ((one - zero) ** 2).sum(-1)[4:]
    np.testing.assert_allclose(without.place[4:, 0], expected, rtol=1e-6)
    assert not np.allclose(plain.place[4:], without.place[4:], atol=1e-3)


def test_the_reference_reads_itself_with_its_own_head(tmp_path: Path) -> None:
    study, lab = fake_study(), fake_lab(tmp_path)
    result = review.recipe(asked(study, lab, "base"), lab)
    np.testing.assert_array_equal(result.logit_diff, result.logit_diff_reference_head)


def test_rows_have_no_undefined_number_in_them(tmp_path: Path) -> None:
    study, lab = fake_study(), fake_lab(tmp_path)
    query = asked(study, lab, "epoch 3")
    rows = list(review.recipe(query, lab).rows(query))
    assert rows[0]["projection"] is None
    assert [row["layer"] for row in rows] == list(range(13))
    of_tokens = list(review.tokens(query, lab).rows(query, typed(study, lab).pieces))
    assert of_tokens[-1]["next_probability"] is None
    assert "".join(row["token"] for row in of_tokens if row["layer"] == 0) == TEMPLATE.format(TEXT)
    answers = list(review.recipe(query, lab).answers(query))
    assert sum(row["probability"] for row in answers) == pytest.approx(1)


def test_nothing_typed_reaches_the_disk(tmp_path: Path) -> None:
    study, models = fake_study(), FakeModels()
    lab = fake_lab(tmp_path, models)
    text = "Zyzzyva quixotic marmalade is what nobody else would type."
    query = asked(study, lab, "epoch 3", text)
    review.recipe(query, lab)
    review.tokens(query, lab)
    texts, _ = leave_out(study.readers, (text,), 9)
    review.parts(review.PartsQuery(query.checkpoint, texts), lab)
    assert review.recipe.peek(query, lab) is not None
    assert review.recipe.peek(query, fake_lab(tmp_path)) is None, "another process finds nothing"
    stored = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert any(stored), "the sample's readout is kept"
    secrets = [*map(str.encode, text.split()[:3]), query.text.digest.encode(), texts.digest.encode()]
    assert [secret for secret in secrets for data in stored if secret in data] == []
    assert all(one.private for one in (review.recipe, review.tokens, review.parts))


def test_a_typed_text_is_nothing_to_export() -> None:
    assert "review" not in discover()
    assert {"accuracy", "direction"} <= discover().keys()


def test_examples_by_hand() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1])
    base = np.array([[-1.0], [2.0], [-3.0], [1.0], [4.0], [-2.0]])
    first = np.array([[-5.0], [1.0], [-2.0], [3.0], [-1.0], [9.0]])
    last = np.array([[-3.0], [-1.0], [-2.0], [1.0], [-3.0], [7.0]])
    result = example_reviews.examples(
        [base, first, last], [(one[:, 0] > 0).astype(int) for one in (base, first, last)], labels
    )
    assert [(one.kind, one.label, one.review) for one in result] == [
        ("typical", 0, 2),  # margins 4, 0, 2
        ("typical", 1, 3),  # margins 2, -2, 8
        ("hardest", 0, 1),
        ("hardest", 1, 4),
        ("flipped", 1, 5),  # each changed once; this margin moved by 11
        ("flipped", 0, 1),  # of the other class the only one
    ]


def test_reviews_that_never_change_are_not_flipped() -> None:
    labels, logit_diff = np.array([0, 1]), np.array([[-1.0], [1.0]])
    alone = example_reviews.examples([logit_diff], [labels], labels)
    assert [one.kind for one in example_reviews.examples([logit_diff, logit_diff], [labels, labels], labels)] == [
        "typical"
    ] * 2 + ["hardest"] * 2
    assert [one.review for one in alone] == [0, 1, 0, 1]


def test_checkpoints_that_do_not_answer_have_no_part_in_the_examples() -> None:
    labels, silent = np.array([0, 0, 1, 1]), (np.full((4, 1), np.nan), np.full(4, -1))
    logit_diff = np.array([[-1.0], [2.0], [3.0], [4.0]])
    answered = (logit_diff, (logit_diff[:, 0] > 0).astype(int))
    alone = example_reviews.examples([logit_diff], [answered[1]], labels)
    assert alone == example_reviews.examples([silent[0], logit_diff], [silent[1], answered[1]], labels)
    assert "flipped" not in [one.kind for one in alone]


def test_examples_of_three_classes(tmp_path: Path) -> None:
    labels = np.array([0, 1, 2])
    logit_diff = np.array([[2.0, -3.0, -4.0], [0.0, -1.0, 1.0], [-2.0, -2.0, 5.0]])
    result = example_reviews.examples([logit_diff], [logit_diff.argmax(axis=1)], labels)
    assert [(one.kind, one.review) for one in result] == [(k, c) for k in ("typical", "hardest") for c in range(3)]


def test_words_are_what_stands_between_white_space(tmp_path: Path) -> None:
    study, lab = fake_study(), fake_lab(tmp_path)
    tokenizer = lab.models.tokenizer(study.study.base, study.study.base)
    text = " The script\tdrags.\n\nLoudly "
    prompts, parts = leave_out(study.readers, (text,), 10)
    assert parts == ("The", "script", "drags.", "Loudly")
    expected = [" script\tdrags.\n\nLoudly", " The drags.\n\nLoudly", " The script\tLoudly", " The script\tdrags."]
    left = [tuple(tokenizer.encode(TEMPLATE.format(one)).ids) for one in expected]
    assert [*prompts.token_ids[1:]] == left
    assert prompts.token_ids[0] == tuple(tokenizer.encode(TEMPLATE.format(text)).ids)
    prompts, parts = leave_out(study.readers, ("a b c d e f g",), 3)
    assert parts == ("a b c", "d e f", "g")
    assert len(prompts.token_ids) == 4
    assert leave_out(study.readers, ("  ",), 3)[1] == ()
