"""Pictures of one epoch hold those of the other epochs whose results are known, and no more."""

from __future__ import annotations

import pytest

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
