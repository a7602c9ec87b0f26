"""The form that adds a study, given a trainer's output folder: what it fills in, what stays, what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from backend import wiring
from backend.caching.cache import Cache
from backend.lab.lab import Lab
from backend.models.local import LocalModels
from backend.new_study import data, inputs
from backend.study.config import load_study
from backend.training.local_autoencoders import LocalAutoencoders
from tests.pages.add_page import add, errors, opened, plainly, ready, table
from tests.pages.conftest import World
from tests.trainers import Parts, card, causal_classifier, classifier, make_parts, save, trainer, trainer_best


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    return make_parts(tmp_path_factory.mktemp("parts"))


@pytest.fixture
def out(world: World, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a trainer writes, beside an empty folder for studies; models are real."""
    cache = Cache(world.folder / "cache")
    models = LocalModels(cache)
    monkeypatch.setattr(wiring, "open_lab", lambda: Lab(cache, models, LocalAutoencoders(models)))
    monkeypatch.setattr(wiring, "studies_folder", lambda: world.folder / "studies")
    monkeypatch.setenv("LAYERSHIFT_PATHS", "/")
    data._read.cache_clear()
    return world.folder / "work" / "out"


def given(folder: Path | str, **more: str) -> AppTest:
    """The form with a trainer's folder, and what is typed after it."""
    test = opened()
    test.text_input(key="new-folder").set_value(str(folder)).run()
    return typed(test, **more)


def typed(test: AppTest, **more: str) -> AppTest:
    for key, value in more.items():
        widget = test.text_area(key="new-checkpoints") if key == "checkpoints" else test.text_input(key=f"new-{key}")
        widget.set_value(value)
    test.run()
    assert [one.value for one in test.exception] == []
    assert [one.value for one in test.warning] == []
    return test


def held(test: AppTest, key: str) -> str:
    widget = test.text_area(key="new-checkpoints") if key == "checkpoints" else test.text_input(key=f"new-{key}")
    return str(widget.value)


def captions(test: AppTest) -> str:
    return plainly([one.value for one in test.caption])


def test_a_folder_fills_in_base_and_checkpoints(out: Path, parts: Parts, world: World):
    trainer(parts, out)
    test = given(out, name="mine", data=str(parts.data))
    assert errors(test) == ""
    assert held(test, "base") == str(parts.base)
    assert held(test, "checkpoints").splitlines() == [str(out / "checkpoint-10"), str(out / "checkpoint-100")]
    assert (held(test, "template"), held(test, "words")) == (inputs.TEMPLATE, "")
    said = captions(test)
    assert f"Base {parts.base}, named by README.md; checkpoints in this order: epoch 1, epoch 10." in said
    assert "Left out final: it has the weights of epoch 10." in said
    assert "2 found, in this order: epoch 1, epoch 10" in said
    assert f"64, because {parts.base} reads at most 64 tokens." in said
    add(test)
    study = load_study(world.folder / "studies" / "mine")
    assert [one.label for one in study.checkpoints] == ["epoch 1", "epoch 10"]
    assert (study.base.path, study.family) == (str(parts.base), "causal")
    assert study.prompt.max_tokens == 64


def test_a_head_fills_in_family_template_and_words(out: Path, parts: Parts):
    classifier(parts, out)
    test = given(out)
    assert test.button_group(key="new-family").value == "encoder"
    assert held(test, "template") == "{text}"
    causal_classifier(parts, out.parent / "other")
    test = given(out.parent / "other", name="mine", data=str(parts.data))
    assert test.button_group(key="new-family").value == "causal"
    assert (held(test, "template"), held(test, "words")) == ("{text}", "bad, good")
    assert errors(test) == ""
    test = typed(test, words="", template="A {text}")
    assert (held(test, "template"), held(test, "words")) == ("A {text}", ""), "what the user changes stays"


def test_words_are_filled_in_for_the_numbers_of_the_rows_only(out: Path, parts: Parts):
    causal_classifier(parts, out)
    (out.parent / "named.csv").write_text(table(2).replace(",0\n", ",no\n").replace(",1\n", ",yes\n"))
    assert held(given(out, data=str(out.parent / "named.csv")), "words") == ""


def test_every_field_can_be_edited(out: Path, parts: Parts):
    trainer_best(parts, out)
    test = given(out, data=str(parts.data))
    first, second, third = held(test, "checkpoints").splitlines()
    test = typed(test, checkpoints=f"{third}\n{first}")
    assert held(test, "checkpoints").splitlines() == [third, first]
    assert "2 found, in this order: step 100, step 5" in captions(test)
    test = typed(test, checkpoints=f"{out}/checkpoint-*0\n{second}")
    assert "2 found, in this order: checkpoint-10, checkpoint-100" in captions(test)
    test = typed(test, base=str(parts.folder / "full-3"))
    assert (held(test, "base"), held(test, "checkpoints").splitlines()[1]) == (str(parts.folder / "full-3"), second)


def test_what_was_typed_before_stays_and_what_was_filled_in_follows_the_folder(out: Path, parts: Parts):
    trainer(parts, out)
    other = out.parent / "other"
    save(parts, "full-3", other, 10)
    card(other, parts.base)
    test = typed(opened(), template="Text: {text} It is", base=str(parts.base))
    test = typed(test, folder=str(out))
    assert held(test, "template") == "Text: {text} It is"
    assert held(test, "checkpoints").splitlines() == [str(out / "checkpoint-10"), str(out / "checkpoint-100")]
    test = typed(test, folder=str(other))
    assert held(test, "checkpoints") == str(other / "checkpoint-10")
    assert (held(test, "template"), held(test, "base")) == ("Text: {text} It is", str(parts.base))
    assert held(typed(test, folder=""), "checkpoints") == str(other / "checkpoint-10")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda _, out: out, "does not exist; name the output folder of a training."),
        (lambda _, out: out.mkdir(parents=True), "is empty; name the output folder of a training."),
        (lambda _, out: (out.parent.mkdir(), out.write_text("")), "is a file; name the output folder of a training."),
        (
            lambda parts, out: (save(parts, "full-1", out / "a", 5), save(parts, "full-2", out / "b", 5)),
            "several train",
        ),
        (lambda parts, out: save(parts, "full-1", out, 5), "name the base below"),
        (lambda parts, out: (save(parts, "full-1", out, 5), card(out, out.parent / "gone")), "below"),
    ],
)
def test_what_is_amiss_with_a_folder_is_one_sentence_beside_it(out: Path, parts: Parts, make: object, said: str):
    make(parts, out)  # type: ignore[operator]
    test = given(out)
    (sentence,) = [one.value for one in test.error]
    assert said in plainly([sentence])
    assert "--" not in sentence
    assert sentence.endswith(".")
    assert (held(test, "folder"), held(test, "base"), held(test, "checkpoints")) == (str(out), "", "")
    assert not ready(test)


def test_a_base_that_the_folder_does_not_name_can_be_typed(out: Path, parts: Parts):
    save(parts, "full-1", out, 5)
    test = given(out)
    assert "name the base below" in errors(test)
    test = typed(test, base=str(parts.base / "gone"))
    assert errors(test).count("does not exist") == 1
    test = typed(test, base=str(parts.base))
    assert errors(test) == ""
    assert held(test, "checkpoints") == str(out / "checkpoint-5")


def test_a_base_on_the_hub_waits_until_it_may_be_fetched(out: Path, parts: Parts, monkeypatch: pytest.MonkeyPatch):
    for step, model in ((10, "full-1"), (20, "full-2"), (30, "full-3")):
        save(parts, model, out, step)
    card(out, "somebody/on-the-hub")
    monkeypatch.setattr("backend.models.files.downloads.snapshot", lambda *_: pytest.fail("the hub was asked"))
    test = given(out)
    assert errors(test) == ""
    assert held(test, "base") == "somebody/on-the-hub"
    assert len(held(test, "checkpoints").splitlines()) == 3
    assert not ready(test)
