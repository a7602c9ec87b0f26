"""Over training, on the Layers page: the picture, its axis and level in the address, checkpoints that appear."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backend.study.config import Study
from tests.pages.conftest import Opens, World, charts, settle


def with_steps(world: World, *steps: int) -> None:
    study = world.studies["film"]
    assert isinstance(study, Study)
    checkpoints = tuple(
        ref.model_copy(update={"step": step, "label": f"step {step}"})
        for ref, step in zip(study.checkpoints, steps, strict=False)
    )
    world.studies["film"] = study.model_copy(update={"checkpoints": checkpoints})


def heat(test: Any) -> dict[str, Any]:
    return json.loads(charts(test)["trajectory"])


def test_the_picture_has_the_steps_as_its_axis(opens: Opens, world: World):
    with_steps(world, 10, 100, 1000)
    test = opens("layers", show="training")
    axis = heat(test)["layout"]["xaxis"]
    assert axis["ticktext"] == ["0", "10", "100", "1,000"] and axis["title"]["text"].startswith("step (logarithmic")
    rows = test.table[-1].value
    assert list(rows["layer"]) == ["0", "1", "2", "3", "4", "answers"]
    assert any("step 1" in said for said in rows["direction leaves chance"])
    assert any(one.value == "Step 1,000 of 1,000. The slider is evenly spaced." for one in test.caption)
    even = opens("layers", show="training", axis="even", level="0.99")
    assert heat(even)["layout"]["xaxis"]["ticktext"] == ["base", "step 10", "step 100", "step 1000"]
    assert "CKA with base falls below 0.99" in even.table[-1].value


def test_without_known_steps_the_labels_are_evenly_spaced(opens: Opens):
    test = opens("layers", show="training")
    assert heat(test)["layout"]["xaxis"]["ticktext"] == ["base", "epoch 1", "epoch 2", "epoch 3"]
    assert "axis" not in [one.key for one in test.segmented_control]
    assert any("“log”" in one.value for one in opens("layers", show="training", axis="log").warning)


def test_a_class_can_be_chosen(opens: Opens, world: World):
    world.add("three", classes=3)
    pictures = [heat(opens("layers", study="three", show="training", **{"class": c})) for c in ("negative", "neutral")]
    one, other = pictures
    assert one["data"][0]["text"] != other["data"][0]["text"]


def test_a_single_checkpoint_is_no_training(opens: Opens, world: World):
    study = world.studies["film"]
    assert isinstance(study, Study)
    world.studies["film"] = study.model_copy(update={"checkpoints": ()})
    assert any("needs two checkpoints" in one.value for one in opens("layers", show="training").info)


def test_a_checkpoint_that_training_adds_is_there_at_the_next_run(opens: Opens, world: World):
    whole = world.studies["film"]
    assert isinstance(whole, Study)
    world.studies["film"] = whole.model_copy(update={"checkpoints": whole.checkpoints[:2]})
    test = opens("layers", show="training")
    assert test.title[0].value == "Layers: base and epoch 2"
    ran = len(world.models.ran)
    world.studies["film"] = whole
    settle(test.run())
    assert test.title[0].value == "Layers: base and epoch 3"
    assert len(heat(test)["data"][0]["z"][0]) == 4
    assert len(world.models.ran) == ran + 1, "only the new one reads the prompts"


@pytest.mark.parametrize("axis", ["log", "linear", "even"])
def test_the_accuracy_on_the_overview_has_the_same_axis(opens: Opens, world: World, axis: str):
    with_steps(world, 10, 100, 1000)
    found = json.loads(charts(opens(axis=axis))["accuracy"])["data"][0]
    assert found["text"] == ["base", "step 10", "step 100", "step 1000"]
