"""Token counts: against a plain loop, of training texts where they are, else of the sample with the reason."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from backend.derived.token_counts import count_query, count_tokens, counts
from backend.errors import Cancelled
from backend.study.config import TrainingSpec
from backend.study.dataset import training_texts
from tests.fake_texts import fake_tokenizer
from tests.fakes import fake_lab, fake_study


def by_hand(texts: list[str]) -> np.ndarray:
    tokenizer = fake_tokenizer()
    seen: Counter[int] = Counter()
    for text in texts:
        seen.update(tokenizer.encode(text).ids)
    return np.array([seen[i] for i in range(tokenizer.get_vocab_size())])


def test_counts_agree_with_a_plain_loop() -> None:
    texts = [*fake_study().sample.text] * 20
    np.testing.assert_array_equal(count_tokens(fake_tokenizer(), texts), by_hand(texts))
    assert count_tokens(fake_tokenizer(), []).sum() == 0


def test_without_training_texts_the_sample_is_counted(tmp_path: Path) -> None:
    study = fake_study()
    found = counts(count_query(study), fake_lab(tmp_path))
    assert found.source == "sample"
    assert found.note.startswith("Counted in the sample, because the study names no training texts (60 texts, ")
    np.testing.assert_array_equal(found.count, by_hand([*study.sample.text]))


def test_training_texts_are_counted_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "training.csv").write_text("text,label\nThe script,0\nThe score,1\n")
    training = training_texts(TrainingSpec(path=str(tmp_path / "training.csv")), "text")
    found = counts(count_query(fake_study(training=training)), fake_lab(tmp_path))
    assert found.source == "training"
    assert "2 texts, 4 tokens" in found.note
    np.testing.assert_array_equal(found.count, by_hand(["The script", "The score"]))


def test_training_texts_that_are_elsewhere_are_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    training = training_texts(TrainingSpec(repo="somebody/texts"), "text")
    found = counts(count_query(fake_study(training=training)), fake_lab(tmp_path))
    assert found.source == "sample"
    assert "not on this machine" in found.note


def test_rows_beyond_the_tokenizer_count_nothing(tmp_path: Path) -> None:
    found = counts(count_query(fake_study()), fake_lab(tmp_path))
    size = len(found.count)
    assert found.of_rows(size + 3)[size:].tolist() == [0, 0, 0]
    np.testing.assert_array_equal(found.of_rows(10), found.count[:10])


def test_counting_can_be_cancelled(tmp_path: Path) -> None:
    def cancel(_fraction: float, _sentence: str) -> None:
        raise Cancelled("Cancelled.")

    with pytest.raises(Cancelled):
        counts(count_query(fake_study()), fake_lab(tmp_path).watched(cancel))
