"""Similarity on the Layers page, on fakes: every part, its keys in the address, seeds, and what cannot be compared."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from backend.study.config import Study
from tests.pages.conftest import Opens, World, charts


def title(spec: str) -> str:
    return json.loads(spec)["layout"]["title"]["text"]


def drawn(test: AppTest) -> set[str]:
    return {key for key in charts(test) if not key.startswith(("pca", "direction-heat"))}


def words(test: AppTest) -> str:
    return " ".join(one.value for one in test.markdown)


def film(world: World) -> Study:
    study = world.studies["film"]
    assert isinstance(study, Study)
    return study


@pytest.mark.parametrize("measure", ["cka", "procrustes", "cosine"])
def test_curves_and_when_layers_moved(opens: Opens, measure: str):
    test = opens("layers", show="similarity", measure=measure, level="0.95")
    assert drawn(test) == {f"similarity-{measure}", f"moved-{measure}"}
    assert "A layer has moved once its whole interval lies below 0.95." in words(test)
    assert any("seed_of" in one.value for one in test.caption), "how to have a floor"


def test_the_grid_of_any_two_checkpoints(opens: Opens):
    test = opens("layers", show="similarity", similarity="grid", epoch="epoch 2", reference="epoch 1")
    assert drawn(test) == {"cka-grid", "cka-grid-reference"}
    assert title(charts(test)["cka-grid"]) == "CKA: layers of epoch 2 with layers of epoch 1"
    alone = opens("layers", show="similarity", similarity="grid", epoch="base")
    assert drawn(alone) == {"cka-grid"}


def test_kinds_of_layers_with_their_rule(opens: Opens):
    test = opens("layers", show="similarity", similarity="roles", level="0.5")
    assert drawn(test) == {"roles"}
    assert "The rule: **general** if the whole interval of CKA is at least 0.5" in words(test)
    assert "The reading “early general, late task-specific”" in words(test)
    same = opens("layers", show="similarity", similarity="roles", epoch="base")
    assert drawn(same) == set()
    assert any("Choose another epoch" in one.value for one in same.info)


def test_distances_and_the_unembedding(opens: Opens):
    assert drawn(opens("layers", show="similarity", similarity="distances")) == {
        "rank-correlation",
        "gromov-wasserstein",
    }
    test = opens("layers", show="similarity", similarity="unembedding")
    assert drawn(test) == {"unembedding"}
    assert "of the squared difference is left" in words(test)


def test_an_encoder_has_no_unembedding(opens: Opens, world: World):
    study = film(world)
    world.models.facts = _as_encoder(world.models.facts)  # type: ignore[method-assign]
    world.studies["film"] = study.model_copy(update={"family": "encoder"})
    test = opens("layers", show="similarity", similarity="unembedding")
    assert any("has no unembedding to compare" in one.value for one in test.info)


def _as_encoder(facts: Any) -> Any:
    return lambda ref, base: replace(facts(ref, base), kind="encoder")


def test_a_second_seed_is_the_floor_and_none_of_the_epochs(opens: Opens, world: World):
    study = film(world)
    last = study.checkpoints[2].model_copy(update={"seed_of": "epoch 2"})
    checkpoints = (*study.checkpoints[:2], last)
    world.studies["film"] = study.model_copy(update={"checkpoints": checkpoints})
    test = opens("layers", show="similarity")
    assert test.title[0].value == "Layers: base and epoch 2"
    names = [trace.get("name") for trace in json.loads(charts(test)["similarity-cka"])["data"]]
    assert "floor: epoch 3 and epoch 2, two seeds" in names
    assert "epoch 3" not in names
    assert "a mere change of seed does: that of **epoch 2** to **epoch 3**" in words(test)
    chosen = opens("layers", show="similarity", epoch="epoch 3")
    names = [trace.get("name") for trace in json.loads(charts(chosen)["similarity-cka"])["data"]]
    assert "epoch 3" in names and "chance" in names


@pytest.mark.parametrize(("key", "value"), [("similarity", "x"), ("measure", "y"), ("level", "2")])
def test_an_unknown_value_gets_a_sentence(opens: Opens, key: str, value: str):
    test = opens("layers", show="similarity", **{key: value})
    (warning,) = [one.value for one in test.warning]
    assert value in warning and key not in test.query_params
