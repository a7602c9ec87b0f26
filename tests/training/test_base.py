"""Which bases fine-tuning takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.errors import StudyError
from backend.study.config import load_study
from backend.training.base import check_base
from backend.training.finetune import finetune
from tests.tiny import rewrite, tiny_model, tiny_study


@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_language_models_and_encoders_are_trained(family: str, tmp_path: Path) -> None:
    check_base(load_study(tiny_study(tmp_path, family=family)))


def test_a_base_that_predicts_no_tokens_is_refused(tmp_path: Path) -> None:
    folder = tiny_study(tmp_path)
    tiny_model(folder / "base", seed=1, family="gpt2-classifier")
    with pytest.raises(StudyError, match="is a GPT2ForSequenceClassification, which predicts no tokens"):
        finetune(load_study(folder))
    assert not (folder / "checkpoints").exists()


@pytest.mark.parametrize(("family", "named", "right"), [("gpt2", "encoder", "causal"), ("bert", "causal", "encoder")])
def test_a_base_of_another_family_is_refused(family: str, named: str, right: str, tmp_path: Path) -> None:
    folder = tiny_study(tmp_path, family=family)
    rewrite(folder, f'family = "{right}"', f'family = "{named}"')
    with pytest.raises(StudyError, match=f'but the study has family = "{named}"; set it to "{right}" in study.toml'):
        finetune(load_study(folder))
    assert not (folder / "checkpoints").exists()
