"""Pictures of one epoch hold those of the other epochs whose results are known, and no more."""

from __future__ import annotations

import json
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from backend.figures import single_swaps as single_figures
from backend.study.config import Study
from pages.frame import film
from tests.pages.conftest import Opens, World, charts, filmed, settle

EVERY = ["epoch 1", "epoch 2"]


@pytest.mark.parametrize(
    ("page", "keys", "pictures"),
    [
        ("overview", {"more": "weights"}, {"weight-changes"}),
        ("layers", {"show": "similarity", "similarity": "grid"}, {"cka-grid"}),
        ("layers", {"show": "map", "layer": "3"}, {"map-chosen"}),
        ("probes", {"show": "parts"}, {"parts-gap-first", "parts-gap-chosen"}),
        ("probes", {"show": "reviews"}, {"flips-chosen"}),
        ("probes", {"show": "linear"}, {"linear-curves"}),
        ("tokens", {}, {"token-words"}),
        ("tokens", {"show": "groups"}, {"token-groups"}),
        ("tokens", {"show": "output"}, {"output-masses", "output-likelier", "output-unlikelier"}),
        ("swaps", {}, {"single-balanced_accuracy", "single-fraction_recovered"}),
        ("swaps", {"mode": "freeze"}, {"freeze"}),
        ("swaps", {"mode": "steering"}, {"coefficients-mean_logit_diff", "coefficients-flips"}),
        ("difference", {"show": "change"}, {"activation-curve", "activation-tokens"}),
        ("difference", {"show": "weights"}, {"difference-weights"}),
    ],
)
def test_pictures_hold_the_epochs_that_were_visited(opens: Opens, page: str, keys: dict[str, str], pictures: set[str]):
    alone = filmed(opens(page, **keys))
    assert pictures <= alone.keys()
    for epoch in EVERY:
        opens(page, epoch=epoch, **keys)
    held = filmed(opens(page, **keys))
    assert {key: held[key] for key in pictures} == dict.fromkeys(pictures, EVERY)


def test_nothing_is_computed_for_epochs_that_nobody_chose(opens: Opens, world: World):
    test = opens("layers", show="similarity", similarity="grid")
    assert filmed(test)["cka-grid"] == []
    settle(test.run())
    assert filmed(test)["cka-grid"] == []


def test_a_picture_that_no_epoch_changes_holds_none(opens: Opens):
    keys = {"host": "epoch 2", "donor": "base"}
    for epoch in EVERY:
        opens("swaps", epoch=epoch, **keys)
    assert "single-balanced_accuracy" in charts(test := opens("swaps", **keys))
    assert filmed(test) == {}


@pytest.fixture
def lasting(world: World) -> World:
    """A world whose files are known not to change, so that all sessions have one study."""
    world.models.state = lambda ref: ref.place  # pyright: ignore[reportAttributeAccessIssue]
    return world


def test_a_finished_picture_is_drawn_once_for_all_sessions(
    opens: Opens, lasting: World, monkeypatch: pytest.MonkeyPatch
):
    drawn: list[str] = []
    parts = single_figures.parts

    def counted(*given: Any) -> Any:
        drawn.append("")
        return parts(*given)

    for epoch in EVERY:
        opens("swaps", epoch=epoch)
    every_spec(opens("swaps"))
    first = every_spec(opens("swaps"))
    monkeypatch.setattr(single_figures, "parts", counted)
    assert every_spec(opens("swaps")) == first
    alone = len(drawn)  # a session draws the first picture of its page before the others are asked for
    film._finished.clear()
    assert every_spec(opens("swaps")) == first
    assert len(drawn) > 3 * alone


@pytest.mark.parametrize(
    ("page", "keys", "others"),
    [
        ("swaps", {}, {"measure": "auc"}),
        ("tokens", {"show": "groups"}, {"matrix": "output"}),
        ("difference", {"show": "change"}, {"reference": "epoch 1"}),
    ],
)
@pytest.mark.usefixtures("lasting")
def test_kept_pictures_are_those_drawn_afresh(opens: Opens, page: str, keys: dict[str, str], others: dict[str, str]):
    both = (keys | {"epoch": "epoch 2"}, keys | others | {"epoch": "epoch 2"})
    for epoch in (*EVERY, *EVERY):
        for one in both:
            opens(page, **one | {"epoch": epoch})
    kept = [every_spec(opens(page, **one)) for one in both]
    film._finished.clear()
    afresh = [every_spec(opens(page, **one)) for one in both]
    assert kept == afresh
    assert kept[0] != kept[1]


def test_a_study_that_changed_is_drawn_again(opens: Opens, lasting: World):
    before = every_spec(opens("swaps"))
    study = lasting.studies["film"]
    assert isinstance(study, Study)
    renamed = study.checkpoints[-1].model_copy(update={"label": "the last"})
    lasting.studies["film"] = study.model_copy(update={"checkpoints": (*study.checkpoints[:-1], renamed)})
    after = json.dumps(every_spec(opens("swaps")))
    assert "the last" in after
    assert "the last" not in json.dumps(before)


@pytest.mark.usefixtures("lasting")
def test_a_zoomed_picture_leaves_the_kept_one_as_it_is(opens: Opens):
    for epoch in EVERY:
        opens("layers", show="map", layer="3", epoch=epoch)
    test = opens("layers", show="map", layer="3")
    plain = every_spec(test)
    test.session_state["_zooms"] = {"map-chosen": {"revision": None, "ranges": [0, 1, 2, 3]}}
    assert every_spec(test.run())["map-chosen"]["layout"]["xaxis"]["range"] == [0, 1]
    assert every_spec(opens("layers", show="map", layer="3")) == plain


def every_spec(test: AppTest) -> dict[str, Any]:
    """The plots on the page by key, with what they hold of other epochs."""
    return {one.proto.id.split("-", 2)[2]: json.loads(one.proto.spec) for one in test.get("plotly_chart")}
