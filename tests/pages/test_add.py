"""The form that adds a study, on fakes: what it says about each field, what it shows, what it writes and where."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from backend import wiring
from backend.errors import CheckpointError, StudyError
from backend.new_study import data
from backend.study.config import CheckpointRef, load_study
from tests.pages.add_page import add, errors, filled, opened, plainly, ready, table
from tests.pages.conftest import ROOT, World

Fields = dict[str, str]


@pytest.fixture
def folder(world: World, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with models and reviews, and an empty one for studies beside it."""
    place = world.folder / "made"
    for name in ("base", "run-2", "run-10"):
        (place / name).mkdir(parents=True)
    (place / "reviews.csv").write_text(table(2))
    monkeypatch.setattr(wiring, "studies_folder", lambda: world.folder / "studies")
    data._read.cache_clear()
    return place


def test_an_empty_form_blames_nobody_and_says_what_it_needs(folder: Path):
    test = opened()
    assert test.title[0].value == "Add a study"
    assert not test.error
    assert not ready(test)
    assert "a name, a base, checkpoints, data" in plainly([one.value for one in test.caption])


def test_a_filled_form_shows_three_prompts_and_writes_a_study_that_opens(folder: Path, world: World):
    test = filled(folder, title="My *own* study", template="{text} Review Sentiment:", words="negative, positive")
    assert errors(test) == ""
    said = plainly([one.value for one in test.caption])
    assert "2 found, in this order: run-2, run-10" in said
    assert "GPT2LMHeadModel, 4 blocks" in said
    assert "“␣negative”, “␣positive”" in said
    shown = [one.value for one in test.code]
    assert len(shown) == 3
    assert all(one.endswith(" Review Sentiment:") for one in shown)
    add(test)
    study = load_study(world.folder / "studies" / "mine")
    assert study.title == "My *own* study"
    assert [one.label for one in study.checkpoints] == ["run-2", "run-10"]
    assert study.dataset.path == str(folder / "reviews.csv")
    assert (study.dataset.sample, study.dataset.labels) == (40, (0, 1))
    assert any("asks for study “mine”" in one.value for one in test.warning), "it is opened; these are other studies"


def test_a_long_text_is_shown_cut(folder: Path):
    test = filled(folder)
    test.number_input(key="new-tokens").set_value(16)
    test.run()
    said = [one.value for one in test.caption if "after the text was cut" in one.value]
    assert said
    assert all(int(line.partition(" ")[0]) <= 16 for line in said)
    assert all(one.value.startswith("Review:") and one.value.endswith(" Sentiment:") for one in test.code)


def test_an_uploaded_file_is_stored_in_the_folder_and_cannot_leave_it(folder: Path, world: World):
    test = filled(folder, data="")
    test.file_uploader(key="new-upload").set_value(
        ("../../../evil dir/..my réviews.CSV", table(2).encode(), "text/csv")
    )
    test.run()
    assert errors(test) == ""
    add(test)
    made = world.folder / "studies" / "mine"
    assert sorted(file.name for file in made.iterdir()) == ["my-r-views.csv", "study.toml"]
    assert load_study(made).dataset.path == str(made / "my-r-views.csv")
    assert not list(world.folder.glob("evil*"))


def test_columns_are_offered_once_the_data_is_read(folder: Path):
    (folder / "odd.csv").write_text(table(2, "body,stars"))
    test = filled(folder, data=str(folder / "odd.csv"))
    assert list(test.selectbox(key="new-text-column").options) == ["body", "stars"]
    assert "Column" in errors(test) or "column" in errors(test)
    test.selectbox(key="new-text-column").set_value("body")
    test.selectbox(key="new-label-column").set_value("stars")
    test.run()
    assert errors(test) == ""
    assert ready(test)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"base": "./nowhere"}, "nowhere does not exist; correct the path"),
        ({"checkpoints": "nowhere-*"}, "No directory matches nowhere-*"),
        ({"data": "nowhere.csv"}, "nowhere.csv does not exist"),
        ({"name": "a/b"}, "is not a valid study name"),
        ({"name": "taken"}, "already exists"),
        ({"words": "one, two, three"}, "give one word per value"),
        ({"words": "negative, negative"}, "repeats a word"),
        ({"words": "nonsense, rubbish"}, "cannot be told apart"),
        ({"template": "no place"}, "has no {text}"),
        ({"template": "{text} {text}"}, "more than once"),
        ({"base": "~nobody-there/x"}, "is not a valid path"),
    ],
)
def test_a_wrong_field_gets_one_sentence_and_nothing_typed_is_lost(
    folder: Path, world: World, changes: Fields, said: str
):
    (world.folder / "studies" / "taken").mkdir(parents=True)
    test = filled(folder, **changes)
    assert said in errors(test)
    assert len(test.error) == 1
    assert not ready(test)
    for key, value in changes.items():
        widget = test.text_area(key="new-checkpoints") if key == "checkpoints" else test.text_input(key=f"new-{key}")
        assert widget.value == value
    assert sorted(place.name for place in (world.folder / "studies").iterdir()) == ["taken"]


def test_one_class_or_too_few_texts_get_one_sentence(folder: Path):
    (folder / "one.csv").write_text("text,label\nfine,1\ngood,1\n")
    assert "has 1 distinct value; use 2 to 20 classes" in errors(filled(folder, data=str(folder / "one.csv")))
    test = filled(folder)
    test.number_input(key="new-sample").set_value(41).run()
    assert "is not divisible by 2 classes" in errors(test)
    test.number_input(key="new-sample").set_value(400).run()
    assert "fewer than the 200" in errors(test)
    test.number_input(key="new-sample").set_value(20).run()
    assert errors(test) == ""


def test_several_classes_take_a_word_each(folder: Path, world: World):
    (folder / "three.csv").write_text(table(3))
    test = filled(folder, data=str(folder / "three.csv"), words="negative, positive, mixed")
    assert test.text_input(key="new-words").label.endswith("0, 1, 2")
    add(test)
    assert load_study(world.folder / "studies" / "mine").prompt.label_words == ("negative", "positive", "mixed")


@pytest.mark.parametrize(
    ("kind", "chat"), [*itertools.product(("contrast", "texts"), (False, True)), ("ordered", False)]
)
def test_kinds_and_chats_are_asked_for_and_written(folder: Path, world: World, kind: str, chat: bool):
    rows = table(2).splitlines()
    stars = "\n".join([rows[0] + ",stars", *(f"{row},{1 + place % 5}" for place, row in enumerate(rows[1:]))])
    (folder / "reviews.csv").write_text(stars)
    test = filled(folder)
    assert test.radio(key="new-kind").value == "answers" and test.radio(key="new-form").value == "template"
    test.radio(key="new-kind").set_value(kind).run()
    assert not any(one.key == "new-words" for one in test.text_input)
    assert any(one.key == "new-label-column" for one in test.selectbox) == (kind != "texts")
    if kind == "ordered":
        test.selectbox(key="new-label-column").set_value("stars").run()
    if chat:
        test.radio(key="new-form").set_value("chat").run()
        test.text_input(key="new-template").set_value("{text} Really?").run()
        test.text_input(key="new-system").set_value("I went in knowing nothing.").run()
    assert errors(test) == ""
    assert len(test.code) == 3
    assert all(("knowing nothing" in one.value) for one in test.code) or not chat
    add(test)
    study = load_study(world.folder / "studies" / "mine")
    assert study.kind == kind
    assert [message.role for message in study.prompt.messages] == (["system", "user"] if chat else [])
    assert study.prompt.template == ("" if chat else "{text}")
    assert study.dataset.label == {"contrast": "label", "texts": None, "ordered": "stars"}[kind]


def test_a_chat_without_the_text_is_one_sentence(folder: Path):
    test = filled(folder)
    test.radio(key="new-form").set_value("chat").run()
    test.text_input(key="new-template").set_value("Judge it.").run()
    assert "has no {text}; put {text} where the text" in errors(test)
    assert not ready(test)


def test_a_second_column_makes_pairs_with_a_template_of_both(folder: Path, world: World):
    (folder / "pairs.csv").write_text(table(2, "premise,label").replace("premise,label", "premise,label,hypothesis", 1))
    rows = (folder / "pairs.csv").read_text().splitlines()
    (folder / "pairs.csv").write_text("\n".join([rows[0], *(f"{row},The score" for row in rows[1:])]))
    test = filled(folder, data=str(folder / "pairs.csv"))
    test.selectbox(key="new-text-column").set_value("premise").run()
    assert test.selectbox(key="new-second-column").options == ["label", "hypothesis"]
    test.selectbox(key="new-second-column").set_value("hypothesis").run()
    assert test.text_input(key="new-template").value == "{premise}\n{hypothesis}\nAnswer:"
    assert errors(test) == ""
    assert all(" score" in one.value for one in test.code)
    test.text_input(key="new-template").set_value("{premise} Then").run()
    assert "has no {hypothesis}" in errors(test)
    test.text_input(key="new-template").set_value("{premise} Then {hypothesis}?").run()
    add(test)
    study = load_study(world.folder / "studies" / "mine")
    assert study.dataset.text == ("premise", "hypothesis")
    assert study.prompt.template == "{premise} Then {hypothesis}?"


def test_names_on_the_hub_wait_until_they_may_be_fetched(folder: Path, world: World):
    asked: list[str] = []
    facts = world.models.facts

    def noted(ref: CheckpointRef, base: CheckpointRef) -> object:
        asked.append(ref.place)
        return facts(ref, base)

    world.models.facts = noted  # type: ignore[method-assign]
    test = filled(folder, base="openai-community/gpt2")
    assert "openai-community/gpt2" in plainly([one.value for one in test.info])
    assert asked == []
    assert not ready(test)
    test.toggle(key="new-fetch").set_value(True).run()
    assert "openai-community/gpt2" in asked
    assert ready(test)


def test_a_dataset_on_the_hub_has_a_split_and_a_configuration(
    folder: Path, world: World, monkeypatch: pytest.MonkeyPatch
):
    read = set[tuple[str, str, str | None]]()

    def noted(repo: str, split: str, config: str | None = None) -> pd.DataFrame:
        read.add((repo, split, config))
        return pd.read_csv(folder / "reviews.csv")

    monkeypatch.setattr("backend.study.dataset.read_hub", noted)
    test = filled(folder, data="a/two")
    test.text_input(key="new-split").set_value("validation")
    test.text_input(key="new-config").set_value("other").run()
    assert not read
    test.toggle(key="new-fetch").set_value(True).run()
    add(test)
    assert read == {("a/two", "validation", "other")}
    written = load_study(world.folder / "studies" / "mine").dataset
    assert (written.repo, written.split, written.config) == ("a/two", "validation", "other")


def test_weights_that_cannot_be_read_leave_nothing_behind(folder: Path, world: World):
    test = filled(folder)

    def truncated(ref: CheckpointRef, base: CheckpointRef) -> str:
        raise CheckpointError("model.safetensors is truncated; copy it again.")

    world.models.fingerprint = truncated  # type: ignore[method-assign]
    assert "truncated; copy it again" in errors(add(test))
    assert test.text_input(key="new-name").value == "mine"
    assert not (world.folder / "studies" / "mine").exists()


def test_a_studies_folder_that_cannot_be_written_is_one_sentence(folder: Path, world: World):
    (world.folder / "studies").write_text("a file")
    assert "is not writable; set LAYERSHIFT_STUDIES to another folder" in errors(filled(folder))


@pytest.mark.parametrize("broken", [False, True])
def test_the_page_needs_no_study(folder: Path, world: World, broken: bool):
    world.studies.clear()
    if broken:
        world.studies["film"] = StudyError("studies/film/study.toml: [base] is missing; add it.")
    test = filled(folder)
    assert not test.error
    add(test)
    assert (world.folder / "studies" / "mine" / "study.toml").is_file()


@pytest.mark.parametrize("key", ["base", "checkpoints", "data", "folder"])
def test_a_path_outside_the_open_folders_is_refused_unread(
    key: str, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.csv").write_text("secret column,label\na,b\n")
    place = str(outside / "secret.csv") if key == "data" else str(outside)
    test = filled(folder, **{key: place})
    assert f'"{place}" is outside the folders that this server opens' in errors(test)
    assert "secret column" not in str(test.main)
    assert key == "folder" or not ready(test)
    monkeypatch.setenv("LAYERSHIFT_PATHS", os.pathsep.join((str(folder), str(outside))))
    assert "outside the folders" not in errors(test.run())


def test_the_name_of_a_study_leads_nowhere_else(folder: Path, world: World):
    assert "is not a valid study name" in errors(filled(folder, name="../mine"))
    test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    test.query_params["study"] = f"../{world.folder.name}/made"
    test.switch_page("pages/overview.py").run()
    assert any("The address asks for study" in one.value for one in test.warning)


@pytest.mark.parametrize("key", ["name", "title", "base", "data", "folder", "template", "words", "checkpoints"])
def test_a_field_that_is_too_long_gets_one_sentence(key: str, folder: Path):
    test = filled(folder, **{key: "x" * 4001})
    assert "This field has 4,001 characters, and this server takes 4,000; shorten it." in errors(test)
