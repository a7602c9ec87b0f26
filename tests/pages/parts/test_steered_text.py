"""The steering slider of the Review page, on fakes."""

from __future__ import annotations

import json
import logging

import pytest

from tests.pages.conftest import Opens, World, charts, settle

TEXT = "The camera work drags, and the script is funny and humane."


def test_the_slider_steers_the_text_and_the_models_write(opens: Opens):
    test = opens("review", text=TEXT, show="steered")
    title = json.loads(charts(test)["steered-text"])["layout"]["title"]["text"]
    assert title == "Logit difference of positive over the coefficient, direction at layer 3 (nats)"
    alpha = test.select_slider(key="alpha").value  # derived from the text
    assert alpha in ("-8", "-4", "-2", "-1", "1", "2", "4", "8") and "alpha" not in test.query_params
    assert sum("as it is," in one.value and f"at α = {alpha}" in one.value for one in test.markdown) == 2
    written = test.table[-1].value
    assert list(written["model"]) == ["base", "base", "epoch 3", "epoch 3"]
    assert list(written["coefficient"]) == ["as it is", f"α = {alpha}"] * 2
    assert {"greedy", "drawn at 0.7, seed 0"} <= set(written.columns)
    before = written["greedy"].tolist()
    other = "-4" if alpha != "-4" else "4"
    settle(test.select_slider(key="alpha").set_value(other).run())
    after = test.table[-1].value["greedy"].tolist()
    assert after[::2] == before[::2] and after[1] != before[1]
    assert any(f"at α = {other}" in one.value for one in test.markdown)


def test_seed_temperature_source_and_layer_follow_the_address(opens: Opens):
    test = opens("review", text=TEXT, show="steered", seed="3", temperature="1.5", source="epoch 2", at="4")
    assert "drawn at 1.5, seed 3" in test.table[-1].value.columns
    assert "layer 4" in charts(test)["steered-text"]
    test = opens("review", text=TEXT, show="steered", alpha="0", positions="readout")
    assert list(test.table[-1].value["coefficient"]) == ["as it is", "as it is"]


def test_more_than_two_classes(opens: Opens, world: World):
    world.add("three", classes=3)
    test = opens("review", study="three", text=TEXT, show="steered")
    assert "steered-text" in charts(test) and not test.error


@pytest.mark.usefixtures("world")
def test_nothing_typed_is_logged(opens: Opens, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.DEBUG):
        opens("review", text="zebrafish opera", show="steered")
    assert "zebrafish" not in caplog.text
