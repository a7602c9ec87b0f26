"""The Difference page on fakes: the answer first, what follows the address, and what is undefined."""

from __future__ import annotations

import json

import pytest

from tests.pages.conftest import Opens, World, charts


def test_the_answer_stands_above_the_picture(opens: Opens):
    test = opens("difference")
    assert test.title[0].value == "Difference: base and epoch 3"
    assert any(one.value.startswith("On neutral sentences, **epoch 3** moved most at") for one in test.markdown)
    shown = charts(test)
    assert {
        "activation-overview",
        "activation-curve",
        "activation-tokens",
        "logit-likelier",
        "logit-rarer",
    } <= shown.keys()
    assert "logit-text" in shown
    heat = json.loads(shown["activation-overview"])["data"][0]
    assert heat["y"] == ["epoch 1", "epoch 2", "epoch 3"]
    assert not test.error


def test_texts_place_and_layer_follow_the_address(opens: Opens):
    test = opens("difference", texts="sample", place="1", at="2", epoch="epoch 1", passage="4")
    assert any(one.value.startswith("On the study's texts, **epoch 1**") for one in test.markdown)
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
    assert "activation-curve" in charts(test) and "logit-likelier" not in charts(test)
    assert any("predicts no tokens" in one.value for one in test.info) and not test.error


@pytest.mark.parametrize(("key", "value"), [("texts", "mine"), ("place", "9"), ("at", "99")])
def test_an_unknown_value_gets_a_sentence(opens: Opens, key: str, value: str):
    (warning,) = [one.value for one in opens("difference", **{key: value}).warning]
    assert key in warning and value in warning
