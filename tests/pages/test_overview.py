"""The Overview page on fakes, and what the frame says when there is nothing to show."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from backend.errors import CheckpointError, DatasetError, StudyError
from backend.study.config import CheckpointRef, Study
from backend.study.trainers.state import STATE
from backend.study.training_log import COLUMNS, LOG
from tests.pages.conftest import ROOT, Opens, World, charts, settle


def test_a_newcomer_reads_what_the_study_is(opens: Opens):
    test = opens()
    assert test.title[0].value == "Film reviews, a fake"
    said = test.markdown[0].value
    assert "GPT2LMHeadModel, 4 blocks" in said
    assert "3 fine-tuned checkpoints" in said
    assert "**36 texts**" in said
    assert "“negative” or “positive”" in said


def test_accuracy_of_every_checkpoint_against_chance(opens: Opens):
    test = opens()
    assert "chance 50 %" in charts(test)["accuracy"]
    names = list(test.table[0].value["checkpoint"])
    assert names == ["base", "epoch 1", "epoch 2", "epoch 3", "always the same word"]


def test_findings_lead_to_the_view_that_shows_them(opens: Opens):
    test = opens(reference="epoch 1")
    assert any("What the numbers say" in one.value for one in test.markdown)
    links = [one.proto for one in test.get("page_link") if one.proto.label == "Show it"]
    assert links
    for link in links:
        assert link.page in ("", "layers", "swaps")
        assert "mark=" in link.query_string
        assert "study=film" in link.query_string
        assert "reference=epoch+1" in link.query_string
    assert any("further apart than chance" in one.value for one in test.markdown)


def test_what_is_compared_is_in_tables(opens: Opens):
    facts, checkpoints = (one.value for one in opens().table[-2:])
    facts = dict(zip(facts.iloc[:, 0], facts.iloc[:, 1], strict=True))
    assert facts["texts"] == "36 of reviews.csv, 18 of each class, drawn with seed 0"
    assert "{text}" in facts["prompt"]
    assert facts["device"] == "cpu, float32"
    assert facts["computed"] == "just now"
    assert list(checkpoints["checkpoint"]) == ["base", "epoch 1", "epoch 2", "epoch 3"]


def test_training_curves_where_there_is_a_log(opens: Opens, world: World):
    test = opens(more="training")
    assert "training-loss" not in charts(test)
    assert any("There is no training log" in one.value for one in test.info)
    log = world.folder / "film" / LOG
    log.write_text(",".join(COLUMNS) + "\n10,0.5,2.5,0.001,,,,\n20,1.0,,,0.8,0.7,0.9,40\n")
    shown = charts(opens(more="training"))
    assert "40 held-out texts" in shown["training-accuracy"]
    assert "epoch 1" in shown["training-loss"]
    log.write_text("step,loss\n1,2\n")
    test = opens(more="training")
    assert "does not start with the columns" in test.error[0].value
    assert {"accuracy", "separation"} <= charts(test).keys(), "the rest of the page stands"


def test_training_curves_of_a_study_trained_elsewhere(opens: Opens, world: World):
    study = world.studies["film"]
    assert isinstance(study, Study)
    place = Path(str(study.checkpoints[-1].path))
    place.mkdir(parents=True)
    logged = [{"step": 10, "epoch": 0.5, "loss": 2.5, "learning_rate": 0.1}, {"step": 20, "epoch": 1.0, "eval_loss": 2}]
    (place / STATE).write_text(json.dumps({"global_step": 20, "log_history": logged}))
    shown = charts(opens(more="training"))
    assert "training-accuracy" not in shown
    assert "held-out texts" in shown["training-loss"]
    (place / STATE).write_text('{"global_step": 20, "log')
    test = opens(more="training")
    assert "is damaged (it cannot be read as JSON" in test.error[0].value
    assert {"accuracy", "separation"} <= charts(test).keys(), "the rest of the page stands"


def test_weights_follow_the_epoch_and_the_reference(opens: Opens):
    test = opens(epoch="epoch 2")
    before = charts(test)["weight-changes"]
    assert json.loads(before)["layout"]["title"]["text"] == "Relative change: base → epoch 2"
    settle(test.select_slider(key="epoch").set_value("epoch 3").run())
    assert charts(test)["weight-changes"] != before
    settle(test.segmented_control(key="weights").set_value("rank").run())
    assert test.query_params["weights"] in ("rank", ["rank"])
    assert "Stable rank" in charts(test)["weight-changes"]
    other = opens(epoch="epoch 1", reference="epoch 3")
    assert "epoch 3 → epoch 1" in json.loads(charts(other)["weight-changes"])["layout"]["title"]["text"]


def test_one_more_picture_stands_below_the_findings(opens: Opens):
    test = opens()
    assert {"accuracy", "weight-changes"} <= charts(test).keys() and "calibration" not in charts(test)
    settle(test.segmented_control(key="more").set_value("calibration").run())
    assert "calibration" in charts(test) and "weight-changes" not in charts(test)
    assert test.query_params["more"] in ("calibration", ["calibration"])


def test_the_reference_itself_has_no_changed_weights(opens: Opens):
    test = opens(epoch="base")
    assert "weight-changes" not in charts(test)
    assert any("Choose another epoch" in one.value for one in test.info)


def test_missing_checkpoints_say_what_to_run(opens: Opens, world: World):
    fingerprint = world.models.fingerprint

    def missing(ref: CheckpointRef, base: CheckpointRef) -> str:
        if ref.label != "base":
            raise CheckpointError(f"{ref.label} is not there; run `python -m backend finetune film`.")
        return fingerprint(ref, base)

    world.models.fingerprint = missing  # type: ignore[method-assign]
    test = opens()
    said = [one.value for one in test.warning]
    assert len(said) == 3
    assert all("python -m backend finetune film" in one for one in said)
    assert "no fine-tuned checkpoint yet" in test.markdown[0].value
    assert "accuracy" in charts(test)
    assert "cannot be used" in list(test.table[-1].value["fingerprint"])


def test_somebodys_words_are_no_commands(opens: Opens, world: World):
    study = world.studies["film"]
    assert isinstance(study, Study)
    world.studies["film"] = study.model_copy(update={"title": "# <b>loud</b> *title* [x](http://x)"})
    title = opens().title[0].value
    assert "\\*title\\*" in title
    assert "\\[x\\]" in title


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
    assert test.error[0].value == r"studies/broken/study.toml: \[base\] is missing; add it."
    settle(test.selectbox(key="study").set_value("film").run())
    assert test.title[0].value == "Film reviews, a fake"


def test_a_missing_base_is_one_sentence(opens: Opens, world: World):
    def missing(ref: CheckpointRef, base: CheckpointRef) -> str:
        raise CheckpointError("base is not there; put it there.")

    world.models.fingerprint = missing  # type: ignore[method-assign]
    test = opens()
    assert test.error[0].value == "base is not there; put it there."
    assert test.text[0].value.startswith(
        "“Film reviews, a fake” compares checkpoints/base with 3 fine-tuned checkpoints"
    )


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


def test_a_base_without_a_head_is_left_out_of_the_answers_and_says_so(opens: Opens, world: World):
    world.make_encoder(headless=("base",))
    assert ["base is an encoder" in one.value for one in opens().caption if "left out" in one.value] == [True]


def test_every_page_ends_with_the_next_question(opens: Opens):
    for page, following in (("overview", "layers"), ("layers", "swaps"), ("probes", "")):
        test = opens(page, epoch="epoch 1")
        (link,) = [one.proto for one in test.get("page_link") if one.proto.label.startswith("Next: ")]
        assert link.page == following
        assert "epoch=epoch+1" in link.query_string


def test_sidebar_links_keep_what_was_chosen_on_a_page(opens: Opens):
    test = opens("tokens", show="groups", epoch="epoch 1")
    test.switch_page("pages/layers.py")
    settle(test.run())
    links = {one.proto.page: one.proto.query_string for one in test.get("page_link")}
    assert "show=groups" in links["tokens"]
    assert "show" not in links["swaps"]
