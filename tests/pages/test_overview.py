"""The Overview page on fakes, and what the frame says when there is nothing to show."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from backend.errors import CheckpointError, DatasetError, StudyError
from backend.study import CheckpointRef
from tests.pages.conftest import ROOT, Opens, World, charts, settle


def test_accuracy_of_every_checkpoint_against_chance(opens: Opens):
    test = opens()
    assert test.title[0].value == "Film reviews, a fake"
    assert "chance 50 %" in charts(test)["accuracy"]
    assert list(test.table[0].value["checkpoint"]) == ["base", "epoch 1", "epoch 2", "epoch 3"]


def test_what_is_compared_is_in_a_table(opens: Opens):
    table = opens().table[1].value
    facts = dict(zip(table.iloc[:, 0], table.iloc[:, 1], strict=True))
    assert facts["checkpoints"] == "base, epoch 1, epoch 2, epoch 3"
    assert "{text}" in facts["prompt"]
    assert facts["device"] == "cpu, float32"


def test_no_study_is_one_sentence(opens: Opens, world: World):
    world.studies.clear()
    assert "python -m backend new NAME" in opens().error[0].value


def test_an_unknown_study_is_one_sentence_and_another_is_shown(opens: Opens):
    test = opens(study="filn")
    assert "“filn”" in test.warning[0].value
    assert test.title[0].value == "Film reviews, a fake"


def test_a_study_that_cannot_be_read_is_one_sentence_and_others_stay_in_reach(opens: Opens, world: World):
    world.studies["broken"] = StudyError("studies/broken/study.toml: [base] is missing; add it.")
    test = opens(study="broken")
    assert test.error[0].value == "studies/broken/study.toml: [base] is missing; add it."
    settle(test.selectbox(key="study").set_value("film").run())
    assert test.title[0].value == "Film reviews, a fake"


def test_a_missing_base_is_one_sentence(opens: Opens, world: World):
    def missing(ref: CheckpointRef, base: CheckpointRef) -> str:
        raise CheckpointError("base is not there; put it there.")

    world.models.fingerprint = missing  # type: ignore[method-assign]
    assert opens().error[0].value == "base is not there; put it there."


def test_missing_data_is_one_sentence(opens: Opens, world: World):
    (world.folder / "film" / "reviews.csv").unlink()
    (error,) = opens().error
    assert "does not exist" in error.value
    assert DatasetError.__name__ not in error.value


@pytest.mark.parametrize("file", sorted(file.name for file in (ROOT / "pages").glob("*.py")))
def test_a_file_that_is_run_alone_hands_over_to_the_application(world: World, file: str):
    test = settle(AppTest.from_file(str(ROOT / "pages" / file), default_timeout=60).run())
    assert test.title[0].value == "Film reviews, a fake"
    assert test.selectbox(key="study").value == "film"
