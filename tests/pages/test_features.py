"""The Features page on fakes: nothing starts by itself, what is trained is shown, and what cannot be is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from backend.derived.feature_activations import find
from backend.lab.autoencoders import About
from backend.lab.pinning import pin
from tests.pages.conftest import Opens, World, charts, settle


def offer(test: AppTest) -> list[str]:
    return [button.label for button in test.button if button.label.startswith(("Train", "Read"))]


def press(test: AppTest) -> AppTest:
    (button,) = [button for button in test.button if button.label.startswith(("Train", "Read"))]
    return settle(button.click().run())


def test_nothing_is_trained_before_somebody_says_so(opens: Opens, world: World):
    test = opens("features")
    assert test.title[0].value == "Features: base and epoch 3"
    assert charts(test) == {} and world.lab.autoencoders.trained == []  # type: ignore[attr-defined]
    (label,) = offer(test)
    assert label.startswith("Train the autoencoder (about ")
    shown = charts(press(test))
    assert shown.keys() == {"features-scatter"}
    assert charts(opens("features", more="quality")).keys() == {"features-scatter", "features-training"}
    more = {"features-scatter", "feature-histogram", "feature-promotes"}
    assert charts(opens("features", more="activations")).keys() == more
    again = opens("features")  # it is in the cache now
    assert offer(again) == [] and charts(again).keys() == shown.keys()
    assert any("are shared by" in one.value for one in again.markdown)


def test_the_autoencoder_is_the_one_that_the_address_names(opens: Opens, world: World):
    press(opens("features", layer="3", on="reference", factor="2", k="8", seed="4"))
    (spec,) = world.lab.autoencoders.trained  # type: ignore[attr-defined]
    assert (spec.layer, spec.features, spec.k, spec.seed) == (3, 24, 8, 4)


def test_the_chosen_feature_is_shown_and_an_unknown_one_gets_a_sentence(opens: Opens):
    press(opens("features"))
    test = opens("features", feature="7")
    assert any(one.value == "Feature 7" for one in test.subheader)
    (warning,) = [one.value for one in opens("features", feature="4800").warning]
    assert "4800" in warning
    nothing = opens("features", search="no token is like this")
    assert any("No firing feature" in one.value for one in nothing.info)


def test_one_model_alone_has_no_other(opens: Opens):
    test = press(opens("features", epoch="base"))
    shown = charts(test)
    said = [one.proto.body for one in test.get("html")]
    assert [text for text in said if "fires" in text and "in base" in text]
    assert not [text for text in said if "in epoch 3" in text]
    assert "AUC in base" in json.loads(shown["features-scatter"])["layout"]["yaxis"]["title"]["text"]


def test_turnover_waits_for_the_button_too(opens: Opens):
    test = opens("features", show="turnover", size="2")
    assert charts(test) == {}
    (label,) = offer(test)
    assert label.startswith("Train 15 autoencoders")
    shown = charts(press(test))
    assert shown.keys() == {"turnover-curves", "turnover-heat"}


def test_three_classes_choose_whom_a_feature_tells(opens: Opens, world: World):
    world.add("three", classes=3)
    test = press(opens("features", study="three", **{"class": "mixed"}))
    axis = json.loads(charts(test)["features-scatter"])["layout"]["coloraxis"]
    assert axis["colorbar"]["title"]["text"] == "AUC for<br>mixed"


def test_files_are_opened_and_wrong_ones_get_a_sentence(opens: Opens, world: World, tmp_path: Path):
    from backend.analyses import features

    study = pin(world.studies["film"], world.lab)  # type: ignore[arg-type]
    folder = tmp_path / "sae"
    world.lab.autoencoders.write(
        find(features.queries(study)[0].source, world.lab), folder, About("base", 4, 96, "reviews.csv")
    )
    test = opens("features", open=str(folder), more="quality")
    assert offer(test)[0].startswith("Read its features")
    assert "features-training" not in charts(press(test))
    (error,) = [one.value for one in opens("features", open=str(tmp_path / "nowhere")).error]
    assert "cfg.json" in error
    (error,) = [one.value for one in opens("features", open="/etc").error]
    assert "is outside the folders that this server opens" in error


@pytest.mark.parametrize("number", ["²", "٣", "9999999", "-1", "1e3"])
def test_a_feature_that_is_no_number_gets_a_sentence_or_is_read_as_one(opens: Opens, number: str):
    press(opens("features"))
    test = opens("features", feature=number)
    assert bool(test.warning) == (number != "٣")


@pytest.mark.parametrize(("key", "value"), [("layer", "99"), ("on", "all"), ("k", "0")])
def test_an_unknown_value_gets_a_sentence(opens: Opens, key: str, value: str):
    (warning,) = [one.value for one in opens("features", **{key: value}).warning]
    assert key in warning and value in warning


def test_a_feature_is_read_in_a_typed_text(opens: Opens):
    address = {"text": "The script is funny.", "heat": "feature", "layer": "2", "feature": "3"}
    test = opens("review", **address)
    assert "review-feature" not in charts(test)  # nothing is trained by itself
    shown = charts(press(test))
    assert "Feature 3" in json.loads(shown["review-feature"])["layout"]["title"]["text"]
    assert "review-feature" in charts(opens("review", **address))
