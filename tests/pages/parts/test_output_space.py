"""The output space on the Tokens page, on fakes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from backend.analyses.output_space import MEASURES
from backend.study.config import Study
from tests.pages.conftest import Opens, World, charts


def test_every_measure_and_the_drill_down_are_shown(opens: Opens):
    test = opens("tokens", show="output", epoch="epoch 2")
    found = charts(test)
    drill_down = {"output-masses", "output-likelier", "output-unlikelier"}
    assert set(found) == {f"output-{measure}" for measure in MEASURES} | drill_down
    entropy = json.loads(found["output-entropy"])
    assert [trace["name"] for trace in entropy["data"]] == ["neutral sentences", "the study's prompts"]
    assert list(entropy["layout"]["xaxis"]["ticktext"]) == ["base", "epoch 1", "epoch 2", "epoch 3"]
    said = " ".join(one.value for one in test.markdown)
    assert "the token-weighted perplexity is" in said and "on the study's prompts: " in said
    assert not test.error


def test_the_drill_down_follows_the_address(opens: Opens):
    test = opens("tokens", show="output", texts="sample")
    title = json.loads(charts(test)["output-likelier"])["layout"]["title"]["text"]
    assert title == "epoch 3: likelier after the study's prompts"


def test_an_encoder_gets_one_sentence(opens: Opens, world: World, monkeypatch: pytest.MonkeyPatch):
    facts = world.models.facts
    monkeypatch.setattr(world.models, "facts", lambda *given: replace(facts(*given), kind="encoder"))
    film = world.studies["film"]
    assert isinstance(film, Study)
    world.studies["film"] = film.model_copy(update={"family": "encoder"})
    test = opens("tokens", show="output")
    assert [one.value.partition(",")[0] for one in test.info] == ["base predicts no tokens"]
    assert not charts(test)
