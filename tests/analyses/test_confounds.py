"""Confounds: ratings, length, training data, the choice of the best checkpoint, layers without text, the recipe."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.analyses import confounds
from backend.study.config import TrainingSpec
from backend.study.dataset import TrainingTexts, make_sample, training_texts
from tests.fake_readouts import fake_residuals
from tests.fakes import FakeModels, fake_lab, fake_study


@pytest.mark.parametrize(
    "text",
    [
        "A solid 8/10.",
        "7.5 out of 10",
        "I'd say 3 stars out of 5!",
        "Four out of five.",
        "A five-star evening",
        "two and a half stars",
        "★★★☆☆",
        "*** out of *****",
        "Rating: 4",
        "Grade: B-",
        "I would give this film a 7.",
        "We rate it 9",
        "(10/10)",
    ],
)
def test_ratings_are_seen(text: str) -> None:
    assert confounds.states_rating(text)


@pytest.mark.parametrize(
    "text",
    [
        "Shot on 9/11 and after.",
        "Three Star Wars films later",
        "It stars four of the five brothers.",
        "I give it ten minutes before you leave.",
        "I watched 3 films out of 10 hours of footage",
        "One of ten people liked it.",
        "**Spoilers** ahead",
        "released on 12/10/1995",
        "a 1 in 10 chance",
        "I gave it a chance",
        "The score is by Morricone.",
        "Her rating of the hotel was kind.",
        "Two thumbs.",
    ],
)
def test_other_numbers_are_no_ratings(text: str) -> None:
    assert not confounds.states_rating(text)


def test_quartiles_by_hand() -> None:
    lengths = np.array([1, 2, 3, 4, 5, 6, 7, 8])
    correct = np.array([[1, 0, 1, 1, 0, 0, 1, 1], [1] * 8], dtype=bool)
    result = confounds.by_length(lengths, correct)
    np.testing.assert_array_equal(result.n, [2, 2, 2, 2])
    np.testing.assert_allclose(result.accuracy.value, [[0.5, 1, 0, 1], [1, 1, 1, 1]])
    np.testing.assert_allclose(result.edges, [1, 2.75, 4.5, 6.25, 8])
    assert (result.accuracy.low <= result.accuracy.value).all()
    assert (result.accuracy.high >= result.accuracy.value).all()


@settings(max_examples=50)
@given(st.lists(st.integers(1, 9), min_size=4, max_size=40))
def test_every_prompt_is_in_one_quartile_and_ties_stay_together(lengths: list[int]) -> None:
    sizes = np.array(lengths)
    result = confounds.by_length(sizes, np.ones((1, len(sizes)), dtype=bool))
    assert result.n.sum() == len(sizes)
    np.testing.assert_array_equal(np.isnan(result.accuracy.value[0]), result.n == 0)
    edges = [*result.edges[1:-1], np.inf]
    below = [int((sizes <= edge).sum()) for edge in edges]
    np.testing.assert_array_equal(np.cumsum(result.n), below)


def test_a_choice_among_equals_is_flattered_only_without_the_other_half() -> None:
    labels = np.arange(200) % 2
    gains, naive = [], []
    for seed in range(60):
        guesses = np.random.default_rng(seed).integers(0, 2, size=(8, 200))
        choice = confounds.choose(guesses, labels, 2, seed)
        naive.append(choice.naive_accuracy)
        gains.append(choice.held.value)
        assert choice.held.low <= choice.held.value <= choice.held.high
        assert choice.chosen_accuracy >= 0.45
    assert np.mean(naive) > 0.53
    assert abs(np.mean(gains) - 0.5) < 0.015


def test_the_best_checkpoint_is_chosen_and_the_first_of_equals() -> None:
    labels = np.arange(20) % 2
    choice = confounds.choose(np.stack([1 - labels, labels, labels]), labels, 2)
    assert (choice.naive, choice.chosen, choice.held.value) == (1, 1, 1.0)
    single = confounds.choose(np.array([[0, 1, 2]]), np.array([0, 1, 2]), 3)
    assert single.chosen == -1
    assert np.isnan(single.held.value)
    headless = confounds.choose(np.stack([labels, 1 - labels]), labels, 2, answering=np.array([False, True]))
    assert (headless.naive, headless.chosen, headless.held.value) == (1, 1, 0.0)
    assert confounds.choose(labels[None], labels, 2, answering=np.array([False])).naive == -1


def test_layers_without_text() -> None:
    rng = np.random.default_rng(0)
    lengths = np.array([4, 4, 5, 5, 6, 7])
    positions = rng.normal(size=(8, 3))
    residuals = rng.normal(size=(6, 3, 3))
    residuals[:, 0] = 1.0
    residuals[:, 1] = positions[lengths]
    np.testing.assert_array_equal(confounds.text_free(residuals, lengths), [True, True, False])
    np.testing.assert_array_equal(confounds.text_free(residuals, np.arange(6)), [True, False, False])


def test_reviews_that_were_trained_on_are_found(tmp_path: Path) -> None:
    sample = make_sample(np.arange(3), np.array([0, 1, 0]), ["A  Fine film.", "never seen", "BAD"])
    source = tmp_path / "train.csv"
    source.write_text("text,label\na fine film.,1\nother,0\nbad,0\n", encoding="utf-8")
    training = training_texts(TrainingSpec(path=str(source)), "text")
    result, note = confounds.overlap(sample, training)
    assert result is not None
    assert result.tolist() == [0, 2]
    assert "3 texts" in note
    assert confounds.overlap(sample, None)[0] is None
    gone = TrainingTexts("x", TrainingSpec(path=str(tmp_path / "gone.csv")), "text")
    result, note = confounds.overlap(sample, gone)
    assert result is None
    assert "does not exist" in note


def test_recipe_fills_in_the_card(tmp_path: Path) -> None:
    study, models = fake_study(), FakeModels()
    lab = fake_lab(tmp_path, models)
    (query,) = confounds.queries(study)
    reports: list[tuple[float, str]] = []
    card = confounds.recipe(query, lab.watched(lambda *report: reports.append(report)))
    assert confounds.recipe(query, lab) is confounds.recipe(query, lab)
    assert len(models.ran) == 4
    assert reports[-1][0] == 1.0
    assert 0.2 < card.length_auc.low < card.length_auc.value < card.length_auc.high < 0.8
    assert card.truncated_n == study.prompts.truncated.sum() == round(card.truncated_share * 60) > 0
    assert card.states_rating == len(card.rating_indices) == 6
    assert card.rating_indices.tolist() == list(range(3, 60, 10))
    assert card.in_training == -1
    assert card.quartile_n.sum() == 60
    assert card.quartile_accuracy.value.shape == (4, 4)
    assert card.naive_best > 0
    np.testing.assert_array_equal(card.text_free, [[True] + [False] * 12] * 4)
    assert (card.review_cosine[:, 1:] < 1).all()
    assert card.review_cosine[0, 0] == pytest.approx(1)


def test_a_length_that_tells_the_class_is_seen(tmp_path: Path) -> None:
    study = fake_study()
    longer = tuple(
        ids * (1 + int(label)) for ids, label in zip(study.prompts.token_ids, study.prompts.labels, strict=True)
    )
    prompts = replace(study.prompts, token_ids=longer, digest="longer")
    card = confounds.recipe(confounds.Query(study.checkpoints, prompts, study.sample, None), fake_lab(tmp_path))
    assert card.length_auc.value > 0.7


def test_a_position_is_no_text(tmp_path: Path) -> None:
    """With absolute positions layer 0 differs between prompts of different length, and only between those."""

    def residuals(epoch, prompts, layers, width):
        result = fake_residuals(epoch, prompts, layers, width)
        result[:, 0] += prompts.lengths[:, None]
        return result

    study = fake_study()
    card = confounds.recipe(confounds.queries(study)[0], fake_lab(tmp_path, FakeModels(residuals=residuals)))
    assert card.text_free[:, 0].all()
    assert not card.text_free[:, 1:].any()


def test_rows_are_tidy(tmp_path: Path) -> None:
    study = fake_study(classes=3)
    (query,) = confounds.queries(study)
    card = confounds.recipe(query, fake_lab(tmp_path))
    rows = list(card.rows(query))
    assert {tuple(row) for row in rows} == {("quantity", "checkpoint", "part", "value", "value_low", "value_high")}
    by_place = {(row["quantity"], row["checkpoint"], row["part"]): row for row in rows}
    assert len(by_place) == len(rows)
    assert by_place["length_auc", None, None]["value_low"] == card.length_auc.low
    assert by_place["in_training", None, None]["value"] is None
    assert by_place["quartile_accuracy", "epoch 2", 3]["value"] == card.quartile_accuracy.value[2, 2]
    assert by_place["review_cosine", "base", 12]["value"] == card.review_cosine[0, 12]
