"""Token map: which words are chosen, PCA by hand, continued maps, the recipe on fakes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.analyses import token_map
from backend.derived.token_counts import count_tokens
from backend.errors import Cancelled
from backend.lab.outputs import Embedding
from backend.vocabulary.lexicon import vader
from tests.fake_texts import fake_sample, fake_tokenizer
from tests.fakes import VOCABULARY, FakeModels, fake_lab, fake_study

pytestmark = pytest.mark.timeout(600)  # umap-learn compiles itself at first use


def asked(method: str, scope: str = "words", label: str = "epoch 2") -> token_map.Query:
    (query,) = [
        q
        for q in token_map.queries(fake_study())
        if (q.method, q.scope, q.checkpoint.label) == (method, "words", label)
    ]
    return replace(query, scope=scope, own=(("film", ("script", "camera")),), per_group=12)  # type: ignore[arg-type]


def test_the_most_frequent_words_of_each_group_are_chosen() -> None:
    tokenizer = fake_tokenizer()
    count = np.zeros(VOCABULARY, dtype=np.int64)
    count[: tokenizer.get_vocab_size()] = count_tokens(tokenizer, fake_sample().text)
    result = token_map.choose(tokenizer, count, (("film", ("script",)),), 5)
    assert list(result) == ["positive", "negative", "film", "neutral"]
    words = {name: [tokenizer.decode([int(i)]).strip() for i in ids] for name, ids in result.items()}
    assert words["film"] == ["script"]
    assert len(words["positive"]) == len(words["neutral"]) == 5
    assert all(vader()[word] > 0 for word in words["positive"])
    assert not any(word in vader() for word in words["neutral"])
    assert all(word.isalpha() and len(word) >= 3 for name in ("positive", "neutral") for word in words[name])
    seen = count[result["positive"]].tolist()
    assert seen == sorted(seen, reverse=True)
    assert seen[0] > 0


def test_pca_has_the_axes_of_the_reference(tmp_path: Path) -> None:
    query, models = asked("pca"), FakeModels()
    result = token_map.recipe(query, fake_lab(tmp_path, models))
    before, after = (
        models.embedding(checkpoint, "input").rows[result.ids].astype(np.float64)
        for checkpoint in (query.reference, query.checkpoint)
    )
    _, _, axes = np.linalg.svd(before - before.mean(0), full_matrices=False)
    towards = before[result.group == 0].mean(0) - before[result.group == 1].mean(0)
    axes = axes[:2] * np.sign(axes[:2] @ towards)[:, None]
    np.testing.assert_allclose(result.xy, (after - after.mean(0)) @ axes.T, rtol=1e-3, atol=1e-4)
    share = ((after - after.mean(0)) @ axes.T).var(axis=0) / (after - after.mean(0)).var(axis=0).sum()
    np.testing.assert_allclose(result.explained, share, rtol=1e-4)
    assert result.noise_floor == 0
    assert result.drift > 0


def test_every_checkpoint_starts_from_the_reference(tmp_path: Path) -> None:
    lab, reports = fake_lab(tmp_path), []
    first = token_map.recipe(asked("tsne", label="base"), lab.watched(lambda *report: reports.append(report)))
    assert first.drift == 0
    assert 0 < first.noise_floor < 0.7
    assert [fraction for fraction, _ in reports] == sorted(fraction for fraction, _ in reports)
    assert any("step" in sentence for _, sentence in reports)
    slight = token_map.recipe(asked("tsne", label="epoch 1"), lab)
    far = token_map.recipe(asked("tsne", label="epoch 3"), lab)
    assert first.noise_floor < min(slight.drift, far.drift)
    assert slight.noise_floor == far.noise_floor == first.noise_floor
    np.testing.assert_array_equal(first.ids, far.ids)
    assert far.trustworthiness > 0.6
    rows = list(far.rows(asked("tsne", label="epoch 3")))
    assert list(rows[0]) == ["method", "scope", "checkpoint", "token_id", "token", "group", "x", "y"]
    assert {row["group"] for row in rows} == {"positive", "negative", "film", "neutral"}


def test_the_whole_vocabulary_has_every_token_once(tmp_path: Path) -> None:
    result = token_map.recipe(asked("pca", "vocabulary"), fake_lab(tmp_path))
    assert result.ids.tolist() == list(range(VOCABULARY))
    assert result.groups == ("positive", "negative", "film")
    assert (result.group == -1).sum() > 1000


class Tied(FakeModels):
    """Models that unembed with their input embedding."""

    def embedding(self, *request: Any, **more: Any) -> Embedding:
        result = super().embedding(*request, **more)
        return replace(result, tied=True)


@pytest.mark.parametrize(("models", "tied"), [(FakeModels(), False), (Tied(), True)])
def test_a_tied_unembedding_has_the_map_of_the_input_embedding(tmp_path: Path, models: FakeModels, tied: bool) -> None:
    lab, reports = fake_lab(tmp_path, models), []
    watched = lab.watched(lambda fraction, _: reports.append(fraction))
    output = token_map.recipe(replace(asked("pca"), matrix="output"), watched)
    assert reports == sorted(reports)
    assert output.tied is tied
    rows = token_map.recipe(asked("pca"), lab)
    assert rows.tied is False
    assert np.array_equal(output.xy, rows.xy) is tied


def test_a_fit_can_be_left(tmp_path: Path) -> None:
    def cancel(_fraction: float, sentence: str) -> None:
        if "step 25" in sentence:
            raise Cancelled("Cancelled.")

    with pytest.raises(Cancelled):
        token_map.recipe(asked("tsne", label="base"), fake_lab(tmp_path).watched(cancel))


def test_neighbours_by_cosine_are_those_of_unit_rows() -> None:
    rows = np.array([[3.0, 4.0], [0.0, 0.0]], dtype=np.float32)
    np.testing.assert_allclose(token_map.at_unit_length(rows), [[0.6, 0.8], [0, 0]])


def test_queries_name_every_method_and_the_reference_first() -> None:
    study = fake_study()
    result = [(q.method, q.scope, q.checkpoint.label) for q in token_map.queries(study, "epoch 1")]
    assert result[:2] == [("pca", "words", "epoch 1"), ("pca", "words", "base")]
    assert len(result) == 4 * 4
    assert ("pca", "vocabulary", "epoch 3") in result
