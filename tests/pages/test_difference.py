"""The Difference page on fakes: the answer first, what follows the address, and what is undefined."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from backend.lab.differences import Merging
from backend.study.config import DifferenceSpec, Study
from tests.pages.conftest import Opens, World, charts, settle


def test_the_answer_stands_above_the_picture(opens: Opens):
    test = opens("difference")
    assert test.title[0].value == "Difference: base and epoch 3"
    assert any(
        one.value.startswith("On neutral sentences, all positions, **epoch 3** moved most") for one in test.markdown
    )
    shown = charts(test)
    assert shown.keys() == {"activation-overview", "activation-curve", "activation-tokens"}
    heat = json.loads(shown["activation-overview"])["data"][0]
    assert heat["y"] == ["epoch 1", "epoch 2", "epoch 3"]
    assert not test.error


def test_one_part_stands_below_the_first_picture(opens: Opens):
    shown = charts(opens("difference", show="predictions"))
    assert {"activation-overview", "logit-likelier", "logit-rarer", "logit-text"} == shown.keys()
    assert "difference-weights" in charts(opens("difference", show="weights"))


def test_texts_place_and_layer_follow_the_address(opens: Opens):
    test = opens("difference", texts="sample", place="1", at="2", epoch="epoch 1", passage="4")
    assert any(one.value.startswith("On the study's texts, position 1, **epoch 1**") for one in test.markdown)
    assert "position 1" in json.loads(charts(test)["activation-overview"])["layout"]["title"]["text"]
    assert "layer 2" in json.loads(charts(test)["activation-tokens"])["layout"]["title"]["text"]


def test_the_reference_has_an_overview_only(opens: Opens):
    test = opens("difference", epoch="base")
    assert charts(test).keys() == {"activation-overview"}


def test_three_classes_and_another_reference(opens: Opens, world: World):
    world.add("three", classes=3)
    test = opens("difference", study="three", reference="epoch 1", way="rarer")
    heat = json.loads(charts(test)["activation-overview"])["data"][0]
    assert heat["y"] == ["base", "epoch 2", "epoch 3"] and not test.error


def test_an_encoder_has_residuals_only(opens: Opens, world: World):
    world.make_encoder()
    test = opens("difference")
    assert "activation-curve" in charts(test)
    test = opens("difference", show="predictions")
    assert "logit-likelier" not in charts(test)
    assert any("predicts no tokens" in one.value for one in test.info) and not test.error


@pytest.mark.parametrize(("key", "value"), [("texts", "mine"), ("place", "9"), ("at", "99")])
def test_an_unknown_value_gets_a_sentence(opens: Opens, key: str, value: str):
    (warning,) = [one.value for one in opens("difference", **{key: value}).warning]
    assert key in warning and value in warning


def test_scaling_follows_its_part(opens: Opens):
    shown = charts(opens("difference", show="scaling"))
    assert {"scaling-gap", "scaling-perplexity", "scaling-kl"} <= shown.keys()
    test = opens("difference", show="scaling", part="mlp")
    offered = [button for button in test.button if button.label.startswith("Scale the change")]
    heat = json.loads(charts(settle(offered[0].click().run()) if offered else test)["scaling-gap"])["data"][0]
    assert heat["type"] == "heatmap" and len(heat["z"]) == 9 and len(heat["z"][0]) == 4


@pytest.mark.parametrize("how", ["weights", "logits", "steer"])
def test_what_is_written_follows_alpha(opens: Opens, how: str):
    test = opens("difference", show="written", how=how, alpha="1.5", begin="The script")
    table = test.table[-1].value
    assert any("1.5" in name for name in table["model"]) and "greedy" in table.columns
    before = table["greedy"].tolist()
    settle(test.select_slider(key="alpha").set_value("2").run())
    assert test.table[-1].value["greedy"].tolist()[-1] != before[-1]


def test_gain_and_price_by_checkpoint_and_block(opens: Opens):
    test = opens("difference", show="price")
    offered = [button for button in test.button if button.label.startswith("Measure every block")]
    shown = charts(settle(offered[0].click().run()) if offered else test)
    assert {"price-checkpoints", "price-blocks", "price-sets"} <= shown.keys()
    assert any("keeps" in one.value and "of the gain" in one.value for one in test.markdown)


def test_an_adapter_is_compared_with_itself_unmerged(opens: Opens, world: World, monkeypatch: pytest.MonkeyPatch):
    facts = world.models.facts
    world.models.facts = lambda ref, base: replace(facts(ref, base), adapter=ref.label != "base")
    test = opens("difference", show="weights")
    assert "difference-merging" in charts(test) and not test.warning
    assert any("**epoch 3** equals the unmerged adapter" in one.value for one in test.markdown)
    error = np.full(5, 0.3, np.float32)
    monkeypatch.setattr(world.models, "merging", lambda *_: Merging(error, error, 2.0, 2.0, 10.0, 30))
    test = opens("difference", show="weights", epoch="epoch 2")
    assert any("differs from the unmerged adapter" in one.value for one in test.warning)


def changed(world: World, **changes: object) -> None:
    study = world.studies["film"]
    assert isinstance(study, Study)
    world.studies["film"] = study.model_copy(update=changes)


def test_own_texts_stand_beside_the_other_two(opens: Opens, world: World):
    assert "own" not in opens("difference").button_group(key="texts").options
    (world.folder / "film" / "mine.txt").write_text("The script.\nThe score is loud.\nThe cast.\n")
    changed(world, difference=DifferenceSpec(texts="mine.txt"))
    test = opens("difference", texts="own", show="predictions", passage="2")
    assert any(one.value.startswith("On your own texts, all positions, **epoch 3**") for one in test.markdown)
    assert test.selectbox(key="passage").format_func("2") == "3: The cast."
    assert "logit-text" in charts(test) and not test.warning
    (world.folder / "film" / "mine.txt").write_text("")
    test = opens("difference")
    assert any("(difference.texts) has no texts" in one.value for one in test.error)


def test_a_second_seed_is_a_floor(opens: Opens, world: World):
    hint = "The effect of the seed alone was not measured"
    assert any(hint in one.value for one in opens("difference").caption)
    study = world.studies["film"]
    assert isinstance(study, Study)
    repeat = study.checkpoints[2].model_copy(update={"seed_of": "epoch 2"})
    changed(world, checkpoints=(*study.checkpoints[:2], repeat))
    test = opens("difference")
    names = [trace.get("name") for trace in json.loads(charts(test)["activation-curve"])["data"]]
    assert "floor: epoch 3 and epoch 2, two seeds" in names
    said = "went further than a mere change of seed does: that of **epoch 2** to **epoch 3**."
    assert any(one.value.endswith(said) for one in test.markdown)
    assert not any(hint in one.value for one in test.caption)
    test = opens("difference", show="predictions")
    assert any("moves predictions by" in one.value for one in test.markdown)
    assert json.loads(charts(test)["logit-likelier"])["layout"]["shapes"]
    test = opens("difference", show="price")
    texts = [trace.get("text") for trace in json.loads(charts(test)["price-checkpoints"])["data"]]
    assert ["floor: epoch 3 and epoch 2, two seeds"] in texts
    assert any("A mere change of seed" in one.value and "nats of gap" in one.value for one in test.markdown)
