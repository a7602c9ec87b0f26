"""Output space by hand: both perplexities, masses that add up, tokens listed, and resampling against a plain loop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.analyses import output_space
from backend.analyses.output_space import MEASURES, listed, masses, mean_over_texts, partition, perplexity, summaries
from backend.lab.outputs import OutputSpace
from backend.vocabulary import neutral
from tests.fake_texts import fake_tokenizer
from tests.fakes import VOCABULARY, FakeModels, fake_lab, fake_study

ONE = np.ones((1, 3))


def space(tokens: int = 6) -> OutputSpace:
    """Three texts, of 4, 1 and 2 predicted tokens; one set of words and two groups."""
    rng = np.random.default_rng(0)

    def some(*shape: int) -> np.ndarray:
        return rng.random(shape).astype(np.float32)

    return OutputSpace(
        entropy=np.array([1, 2, 6], np.float32),
        set_logprob=np.log(some(2, 3, 3)),
        set_mass=0.3 * some(2, 3, 3),
        predicted=np.array([4, 1, 2]),
        loss=np.array([4, 7, 2], np.float32),
        kl=np.array([2, 0.5, 1], np.float32),
        cosine=some(3, 2),
        norm_ratio=some(3, 2),
        probability=some(2, tokens),
        logprob_change=np.array([0.5, -2, 0, 3, 1, -0.25][:tokens], np.float32),
        rose=some(tokens),
    )


def test_the_two_perplexities_by_hand():
    """13 nats over 7 tokens; the second text, of one token, has a perplexity of e^7 by itself."""
    result = space()
    assert perplexity(result.loss, result.predicted, ONE)[0] == pytest.approx(np.exp(13 / 7))
    value = dict(zip(MEASURES, summaries(result, ONE)[0], strict=True))
    assert value["perplexity"] == pytest.approx(np.exp(13 / 7))
    assert value["mean_text_perplexity"] == pytest.approx((np.e + np.exp(7) + np.e) / 3)
    assert value["kl_from_base"] == pytest.approx(0.5)
    assert value["entropy"] == 3
    assert value["non_sentiment_logprob"] == pytest.approx(result.set_logprob[1, :, 0].mean())
    assert value["non_sentiment_mass"] == pytest.approx(result.set_mass[1, :, 0].mean())
    assert value["hidden_cosine_after_norm"] == pytest.approx(result.cosine[:, 1].mean())
    assert value["hidden_norm_ratio"] == pytest.approx(result.norm_ratio[:, 0].mean())


def test_equal_texts_have_one_perplexity_and_others_a_larger_mean():
    loss, predicted = np.full(3, 6.0), np.full(3, 3)
    assert perplexity(loss, predicted, ONE)[0] == pytest.approx(np.exp(2))
    unequal = replace(space(), loss=np.array([3, 6, 9], np.float32), predicted=predicted)
    value = dict(zip(MEASURES, summaries(unequal, ONE)[0], strict=True))
    assert value["mean_text_perplexity"] > value["perplexity"] == pytest.approx(np.exp(2)), "exp is convex"


def test_resamples_are_those_of_a_plain_loop():
    result, counts = space(), np.array([[1, 1, 1], [3, 0, 0], [0, 2, 1]])
    drawn = summaries(result, counts)
    for row, count in zip(drawn, counts, strict=True):
        i = np.repeat(np.arange(3), count)
        assert row[0] == pytest.approx(result.entropy[i].mean())
        assert row[3] == pytest.approx(np.exp(result.loss[i].sum() / result.predicted[i].sum()))
        assert row[4] == pytest.approx(np.exp(result.loss[i] / result.predicted[i]).mean())
        assert row[5] == pytest.approx((result.kl[i] / result.predicted[i]).mean())
        np.testing.assert_allclose(row[6:8], result.cosine[i].mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(row[8:10], result.norm_ratio[i].mean(axis=0), rtol=1e-6)


def test_what_is_undefined_is_left_out_of_means():
    values = np.array([[1.0, np.nan], [3.0, np.nan], [np.nan, np.nan]])
    mean = mean_over_texts(values, np.array([[1, 1, 1], [0, 0, 2]]))
    assert mean[0, 0] == 2
    assert np.isnan(mean[1]).all() and np.isnan(mean[0, 1])
    lonely = replace(space(), predicted=np.array([0, 0, 0]), loss=np.zeros(3, np.float32), kl=np.zeros(3, np.float32))
    value = dict(zip(MEASURES, summaries(lonely, ONE)[0], strict=True))
    assert np.isnan([value[name] for name in ("perplexity", "mean_text_perplexity", "kl_from_base")]).all()
    assert value["entropy"] == 3
    wordless = space()
    wordless.set_logprob[:, :, 0], wordless.set_mass[:, :, 0] = np.nan, 0
    value = dict(zip(MEASURES, summaries(wordless, ONE)[0], strict=True))
    assert np.isnan([value["non_sentiment_logprob"], value["non_sentiment_mass"]]).all()


def test_groups_do_not_overlap_and_their_masses_add_up_to_one():
    groups = partition({"a": (5, 3), "b": (3, 4), "c": (), "d": (4, 5, 9)})
    assert groups == {"a": (3, 5), "b": (4,), "c": (), "d": (9,)}
    result = masses(space(), np.zeros(3, dtype=np.int64), 200, 0)
    for name in ("mass_before", "mass_after"):
        assert result[name].shape == (3,)
        assert result[name].sum() == pytest.approx(1)
    value, low, high = result["mass_change"].ends
    np.testing.assert_allclose(value, result["mass_after"] - result["mass_before"])
    assert value.sum() == pytest.approx(0, abs=1e-12)
    assert (low <= value).all() and (value <= high).all()


def test_listed_tokens_rose_and_then_fell():
    tokenizer = fake_tokenizer()
    result = space()
    rows = listed(result, tokenizer, {"first": (3, 5), "second": (0,)}, top=2)
    assert rows["token_id"].tolist() == [3, 4, 5, 1], "a token that did not change is in neither list"
    assert rows["change"].tolist() == [3, 1, -0.25, -2]
    assert rows["group"].tolist() == [0, 2, 0, 2]
    np.testing.assert_allclose([rows["before"], rows["after"]], result.probability[:, [3, 4, 5, 1]])


def test_rows_that_are_no_tokens_are_not_listed():
    """Embeddings are padded beyond the tokenizer's last token."""
    last = fake_tokenizer().get_vocab_size()
    change = np.arange(last + 10, dtype=np.float32)
    result = replace(
        space(), logprob_change=change, probability=np.zeros((2, last + 10), np.float32), rose=np.zeros_like(change)
    )
    rows = listed(result, fake_tokenizer(), {}, top=3)
    assert rows["token_id"].tolist() == [last - 1, last - 2, last - 3]


def test_the_recipe_on_fakes(tmp_path: Path):
    study, lab = fake_study(reviews=24), fake_lab(tmp_path)
    queries = output_space.queries(study)
    assert [(q.checkpoint.label, q.text_set) for q in queries[:3]] == [
        *(("base", "neutral"), ("base", "sample"), ("epoch 1", "neutral"))
    ]
    assert len(queries) == 8
    own = (("film", ("script", "camera")), ("negative", ("drags",)))
    query = replace(queries[-1], own=own, draws=200)
    result = output_space.recipe(query, lab)
    (row,) = result.rows(query)
    assert list(row) == [
        "checkpoint",
        "text_set",
        *(f"{name}{end}" for name in MEASURES for end in ("", "_low", "_high")),
    ]
    assert (row["checkpoint"], row["text_set"]) == ("epoch 3", "sample")
    for name in ("entropy", "perplexity", "kl_from_base", "hidden_cosine"):
        assert row[f"{name}_low"] < row[name] < row[f"{name}_high"]
    assert result.groups == ("label words", "negative", "film", "positive", "non-sentiment words", "all other tokens")
    assert result.group_size[:3].tolist() == [2, 1, 2]
    assert result.group_size.sum() == VOCABULARY
    assert result.left_out == neutral.WORDS, "the fakes' vocabulary has none of these words"
    assert row["non_sentiment_mass"] is None
    assert len(list(result.token_rows(query))) == 60
    assert [one["group"] for one in result.group_rows(query)] == list(result.groups)


def test_the_words_are_measured_at_the_end_of_each_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(neutral, "WORDS", ("script", "camera", "zyzzyva"))
    study, lab = fake_study(reviews=24), fake_lab(tmp_path)
    query = output_space.queries(study)[-1]
    result = output_space.recipe(query, lab)
    assert result.left_out == ("zyzzyva",)
    vocabulary = fake_tokenizer().get_vocab()
    ids = tuple(sorted(vocabulary[f" {word}"] for word in ("script", "camera")))
    output = FakeModels().output_space(query.checkpoint, query.reference, study.prompts, (ids,))
    assert result.measures.value[1] == pytest.approx(output.set_logprob[1].mean())
    assert result.measures.value[2] == pytest.approx(output.set_mass[1].mean())


def test_the_reference_beside_itself_and_another_reference(tmp_path: Path):
    study, lab = fake_study(reviews=24), fake_lab(tmp_path)
    query = output_space.queries(study, "epoch 1")[2]
    assert query.checkpoint == query.reference == study.checkpoints[1]
    (row,) = output_space.recipe(query, lab).rows(query)
    assert (row["kl_from_base"], row["kl_from_base_high"]) == (0, 0)
    assert row["hidden_norm_ratio"] == pytest.approx(1)
    assert output_space.recipe(query, lab).token == ()
    with pytest.raises(KeyError):
        output_space.queries(study, "epoch 9")


def test_neutral_and_sample_are_other_texts(tmp_path: Path):
    study, lab = fake_study(reviews=24), fake_lab(tmp_path)
    bare, sample = (output_space.recipe(query, lab) for query in output_space.queries(study)[2:4])
    assert len(bare.loss) == len(neutral.sentences()) and len(sample.loss) == 24
    ids = fake_tokenizer().encode(neutral.sentences()[0]).ids
    assert bare.predicted[0] == len(ids) - 1, "the sentence alone, without the template"
    assert sample.predicted.tolist() == (study.prompts.lengths - 1).tolist()


def test_what_it_will_cost_counts_both_models_on_every_text(tmp_path: Path):
    study, lab = fake_study(reviews=24), fake_lab(tmp_path)
    bare, sample = output_space.queries(study)[2:4]
    tokens = sum(len(fake_tokenizer().encode(one).ids) for one in neutral.sentences())
    assert lab.seconds(bare) == pytest.approx(1.0 + 2 * tokens / 1000, rel=0.5), "a fake reads a token in 1 ms"
    lab.readouts(study.checkpoints, study.prompts)
    assert lab.seconds(sample) == pytest.approx(0.5 + 2 * study.prompts.lengths.sum() / 1000, rel=0.2)


def test_an_encoder_is_asked_nothing():
    study = fake_study()
    base = study.base
    encoder = replace(base, facts=replace(base.facts, kind="encoder"))
    assert output_space.queries(replace(study, checkpoints=(encoder,))) == []
