"""The Layers page on fakes: every part, every key of the address, and what is said when something is missing."""

from __future__ import annotations

import base64
import json
import re
import threading
import time

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from backend.caching.progress import Progress
from backend.errors import CheckpointError
from backend.figures.direction import UNITS
from backend.lab.pinning import pin
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.config import CheckpointRef
from backend.study.token_ids import Prompts
from pages.frame import painted
from tests.pages.conftest import ROOT, Opens, World, charts, components, settle


def title(spec: str) -> str:
    return json.loads(spec)["layout"]["title"]["text"]


def points(test: AppTest) -> np.ndarray:
    """The positions that the browser gets, [checkpoints, layers, reviews, 2]."""
    data = components(test)["scrubber-pca"]
    numbers = np.frombuffer(base64.b64decode(data["xy"]), dtype="<i2")
    return numbers.reshape(len(data["there"]), data["layers"], len(data["labels"]), 2)


def test_the_browser_gets_all_checkpoints_at_once_and_shows_the_last(opens: Opens):
    test = opens("layers")
    assert test.title[0].value == "Layers: base and epoch 3"
    shown = components(test)
    assert shown["scrubber-pca"]["names"] == ["base", "epoch 1", "epoch 2", "epoch 3"]
    assert shown["scrubber-pca"]["there"] == shown["scrubber-pca"]["plays"] == [0, 1, 2, 3]
    assert shown["chosen-of-pca"]["epoch"] == "epoch 3"
    assert shown["chosen-of-pca"]["reference"] == "base"
    assert shown["chosen-of-pca"]["review"] is None
    assert points(test).shape == (4, 5, 36, 2)
    assert {"direction-heat", "direction-curves"} <= charts(test).keys()


def test_the_slider_moves_the_epoch_and_the_address_but_sends_no_point_again(opens: Opens):
    test = opens("layers")
    before = components(test)
    settle(test.select_slider(key="epoch").set_value("epoch 1").run())
    after = components(test)
    assert test.query_params["epoch"] in ("epoch 1", ["epoch 1"])
    assert after["chosen-of-pca"]["epoch"] == "epoch 1"
    assert after["scrubber-pca"] == before["scrubber-pca"]


def test_points_move_in_axes_that_all_checkpoints_share_by_default(opens: Opens):
    test = opens("layers")
    assert test.segmented_control(key="basis").value == "shared"
    shared, own = points(test), points(opens("layers", basis="own"))
    assert (shared != own).any()


@pytest.mark.parametrize("basis", ["own", "base", "shared"])
def test_the_basis_is_in_the_address(opens: Opens, basis: str):
    test = opens("layers", basis=basis, epoch="epoch 2")
    assert test.segmented_control(key="basis").value == basis
    assert components(test)["chosen-of-pca"]["epoch"] == "epoch 2"


def test_the_base_beside_itself_can_be_dragged_to_an_epoch(opens: Opens):
    shown = components(opens("layers", epoch="base"))
    assert (shown["chosen-of-pca"]["epoch"], shown["chosen-of-pca"]["reference"]) == ("base", "base")
    assert shown["scrubber-pca"]["there"] == [0, 1, 2, 3]


def test_the_pair_is_there_before_the_other_epochs(opens: Opens, world: World, monkeypatch: pytest.MonkeyPatch):
    go, real = threading.Event(), world.models.readout

    def waits(checkpoint: PinnedCheckpoint, prompts: Prompts, progress: Progress) -> object:
        while checkpoint.label == "epoch 1" and not go.wait(0.05):
            progress(0.3, "Reading.")
        return real(checkpoint, prompts, progress)

    world.models.readout = waits  # type: ignore[method-assign]
    test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    test.query_params["basis"] = "own"
    test.switch_page("pages/layers.py").run()
    end = time.monotonic() + 60
    while "scrubber-pca" not in components(test):
        assert time.monotonic() < end
        time.sleep(0.2)
        test.run()
    first = components(test)["scrubber-pca"]
    assert {0, 3} <= set(first["there"]) <= {0, 2, 3}
    assert len(first["names"]) == 4
    go.set()
    assert components(settle(test))["scrubber-pca"]["there"] == [0, 1, 2, 3]


def test_the_chosen_review_leads_to_its_tokens(opens: Opens, world: World):
    sample = pin(world.studies["film"], world.lab).sample  # type: ignore[arg-type]
    test = opens("layers", review=str(sample.index[2]), epoch="epoch 1")
    test.button(key="to-review").click().run()
    assert test.title[0].value == "Review: your text in base and epoch 1"
    assert test.text_area(key="text").value == sample.text[2]
    assert test.query_params["epoch"] in ("epoch 1", ["epoch 1"])


def test_a_review_in_the_address_is_shown_in_full_with_its_numbers(opens: Opens, world: World):
    sample = pin(world.studies["film"], world.lab).sample  # type: ignore[arg-type]
    chosen = 5
    test = opens("layers", review=str(sample.index[chosen]))
    assert sample.text[chosen] in [one.value for one in test.text]
    assert "review-curve" in charts(test)
    assert components(test)["chosen-of-pca"]["review"] == chosen


@pytest.mark.parametrize("scale", ["raw", "unbiased", "relative", "separation"])
def test_every_scale_of_the_direction(opens: Opens, scale: str):
    assert UNITS[scale] in title(charts(opens("layers", scale=scale))["direction-curves"])  # type: ignore[index]


def test_cosines_between_checkpoints_and_layers(opens: Opens):
    shown = charts(opens("layers", show="cosines", layer="2"))
    assert {"cosine-curves", "cosine-layers-0", "cosine-layers-1", "cosine-checkpoints"} <= shown.keys()
    assert title(shown["cosine-checkpoints"]).startswith("Layer 2")


@pytest.mark.parametrize("method", ["tsne", "umap"])
def test_the_map_of_one_layer_says_its_drift_and_its_noise_floor(opens: Opens, method: str):
    test = opens("layers", show="map", method=method, layer="3", epoch="epoch 2")
    assert [title(charts(test)[key]) for key in ("map-reference", "map-chosen")] == [
        "base, layer 3",
        "epoch 2, layer 3",
    ]
    assert any("noise floor" in one.value for one in test.markdown)


def test_the_sample_card(opens: Opens):
    test = opens("layers", show="sample")
    assert {"quartiles", "sameness"} <= charts(test).keys()
    assert any("Length alone" in one.value for one in test.markdown)


def test_more_than_two_classes_choose_a_direction(opens: Opens, world: World):
    world.add("three", classes=3)
    test = opens("layers", study="three", **{"class": "mixed"})
    assert test.selectbox(key="class").value == "mixed"
    data = components(test)["scrubber-pca"]
    assert len(data["directions"]) == 3
    assert len({(one["colour"], one["symbol"]) for one in data["classes"]}) == 3


@pytest.mark.parametrize(
    ("key", "value"),
    [("epoch", "epoch 9"), ("basis", "mine"), ("layer", "77"), ("review", "-4"), ("show", "x"), ("massive", "maybe")],
)
def test_an_unknown_value_gets_a_sentence_and_leaves_the_address(opens: Opens, key: str, value: str):
    test = opens("layers", **{key: value})
    (warning,) = [one.value for one in test.warning]
    assert key in warning
    assert value in warning
    assert key not in test.query_params


def test_another_checkpoint_can_be_the_reference(opens: Opens):
    shown = components(opens("layers", reference="epoch 1", epoch="epoch 2"))["chosen-of-pca"]
    assert (shown["reference"], shown["epoch"]) == ("epoch 1", "epoch 2")


def test_without_the_three_largest_dimensions_the_pictures_change(opens: Opens):
    with_all = points(opens("layers"))
    test = opens("layers", massive="without")
    assert test.toggle(key="massive").value is True
    assert (points(test) != with_all).any()
    settle(test.toggle(key="massive").set_value(False).run())
    assert (points(test) == with_all).all()


def test_missing_checkpoints_say_what_to_run(opens: Opens, world: World):
    fingerprint = world.models.fingerprint

    def missing(ref: CheckpointRef, base: CheckpointRef) -> str:
        if ref.label == "epoch 2":
            raise CheckpointError("epoch 2 is not there; run `python -m backend finetune film`.")
        return fingerprint(ref, base)

    world.models.fingerprint = missing  # type: ignore[method-assign]
    test = opens("layers", epoch="epoch 2")
    said = [one.value for one in test.warning]
    assert len(said) == 2
    assert all("python -m backend finetune film" in one for one in said)


def test_work_that_fails_is_one_sentence_and_can_be_tried_again(opens: Opens, world: World):
    readout = world.models.readout
    broken = [True]

    def fails(checkpoint: object, prompts: Prompts, progress: object = None) -> object:
        if broken[0]:
            raise CheckpointError("The weights are cut off; copy them again.")
        return readout(checkpoint, prompts, progress)  # type: ignore[arg-type]

    world.models.readout = fails  # type: ignore[method-assign]
    test = opens("layers")
    assert "The weights are cut off; copy them again." in [one.value for one in test.error]
    broken[0] = False
    for _ in range(12):
        again = [button for button in test.button if button.label == "Try again"]
        if not again:
            break
        settle(again[0].click().run())
    assert "scrubber-pca" in components(test)


def test_a_bug_is_one_sentence_that_points_to_the_log(opens: Opens, world: World, caplog: pytest.LogCaptureFixture):
    def fails(*_: object) -> object:
        raise ZeroDivisionError("a bug")

    world.models.readout = fails  # type: ignore[method-assign]
    test = opens("layers")
    assert any("server's log" in one.value for one in test.error)
    assert not any("ZeroDivision" in one.value for one in test.error)


def test_work_under_way_tells_what_is_left_and_can_be_cancelled_and_asked_for_again(opens: Opens, world: World):
    go = threading.Event()

    def waits(checkpoint: object, prompts: Prompts, progress: Progress) -> object:
        while not go.wait(0.05):
            progress(0.3, "Reading.")
        raise AssertionError("not cancelled")

    world.models.readout = waits  # type: ignore[method-assign]
    test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    test.switch_page("pages/layers.py").run()
    assert test.get("progress")
    test.session_state[painted.STATE] = True
    test.run()
    said = [one.proto.text for one in test.get("progress")]
    assert all(re.search(r"about \d+ (s|min) left\)?$", text) for text in said), said
    for _ in range(12):
        cancel = [button for button in test.button if button.label == "Cancel"]
        if not cancel:
            break
        cancel[0].click().run()
    settle(test)
    assert any("cancelled" in one.value for one in test.info)
    assert any(button.label == "Try again" for button in test.button)


def test_the_reference_itself_is_compared_with_nothing_and_says_so(opens: Opens):
    test = opens("layers", epoch="base")
    assert test.title[0].value == "Layers: base alone"
    assert any("nothing is compared" in one.value for one in test.sidebar.caption)
