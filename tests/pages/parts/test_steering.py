"""Steering on the Swaps page, on fakes."""

from __future__ import annotations

import json

import pytest

from tests.pages.conftest import Opens, World, charts, settle


def titles(found: dict[str, str]) -> dict[str, str]:
    return {key: json.loads(spec)["layout"]["title"]["text"] for key, spec in found.items()}


def test_the_chosen_epoch_is_steered_by_its_own_direction(opens: Opens):
    test = opens("swaps", mode="steering", epoch="epoch 2")
    assert test.title[0].value == "Swaps: epoch 2 with its own direction"
    assert titles(charts(test)) == {
        "coefficients-mean_logit_diff": "epoch 2, its own direction at layer 3: mean logit difference (logits)",
        "coefficients-flips": "epoch 2: answers that change (% of all texts)",
    }
    assert any("permuted ones as far" in one.value for one in test.markdown)


def test_layer_coefficient_scale_and_model_follow_the_address(opens: Opens):
    test = opens("swaps", mode="steering", at="all", scale="unit", positions="all", effect="gap", runs="base")
    assert charts(test).keys() == {"coefficients-gap", "coefficients-flips"}
    assert "64" in charts(test)["coefficients-gap"] and "residual units" in charts(test)["coefficients-gap"]
    settle(test.select_slider(key="at").set_value("4").run())
    assert titles(charts(test))["coefficients-gap"] == "base, its own direction at layer 4: gap (logits)"
    settle(test.selectbox(key="source").set_value("epoch 3").run())
    assert titles(charts(test))["coefficients-gap"] == "base, epoch 3's direction of layer 4 at layer 4: gap (logits)"
    assert test.title[0].value == "Swaps: base with direction of epoch 3"


def test_every_layer_and_coefficient_in_one_picture(opens: Opens):
    test = opens("swaps", mode="steering", steer="layers", effect="balanced_accuracy")
    assert charts(test).keys() == {"layers-balanced_accuracy"}


def test_transfer_puts_the_epochs_directions_into_the_reference(opens: Opens):
    test = opens("swaps", mode="steering", steer="transfer", epoch="epoch 3", coefficient="2")
    assert test.title[0].value == "Swaps: base with direction of epoch 3"
    assert titles(charts(test)) == {
        "transfer-mean_logit_diff": "base with directions of epoch 3, α = 2: mean logit difference (logits)",
        "transfer-balanced_accuracy": "base with directions of epoch 3, α = 2: balanced accuracy (%)",
    }
    test = opens("swaps", mode="steering", steer="transfer", epoch="base")
    assert "Choose another epoch" in test.info[0].value


def test_models_without_their_direction_stand_in_a_table(opens: Opens):
    test = opens("swaps", mode="steering", steer="ablation", epoch="epoch 2")
    assert list(test.table[0].value["model"]) == ["base", "epoch 2"]
    assert "neutral perplexity" in test.table[0].value.columns
    assert charts(test).keys() == {"ablation-costs"}
    assert sum("Without its direction" in one.value for one in test.markdown) == 2
    test = opens("swaps", mode="steering", steer="ablation", at="all")
    assert "Choose the layer" in test.info[0].value
    test = opens("swaps", mode="steering", steer="ablation", at="0")
    assert "no direction there" in test.table[0].value["gap (logits)"].iloc[0]


@pytest.mark.parametrize("steer", ["coefficient", "layers", "transfer", "ablation"])
def test_three_classes(opens: Opens, world: World, steer: str):
    world.add("three", classes=3)
    test = opens("swaps", study="three", mode="steering", steer=steer, toward="negative")
    assert charts(test) and not test.error


def test_an_unknown_layer_or_model_is_one_sentence(opens: Opens):
    test = opens("swaps", mode="steering", at="9", runs="epoch 9")
    said = " ".join(one.value for one in test.warning)
    assert "“9”" in said and "“epoch 9”" in said
    assert "coefficients-mean_logit_diff" in charts(test)
