"""The Swaps page on fakes."""

from __future__ import annotations

import json
import threading
import time

import pytest
from streamlit.testing.v1 import AppTest

from backend.lab.outputs import Swapped
from backend.lab.pinning import pin
from tests.pages.conftest import ROOT, Opens, World, charts, settle


def titles(found: dict[str, str]) -> dict[str, str]:
    return {key: json.loads(spec)["layout"]["title"]["text"] for key, spec in found.items()}


def test_the_chosen_epoch_runs_with_single_parts_of_the_reference(opens: Opens):
    test = opens("swaps", epoch="epoch 2")
    assert test.title[0].value == "Swaps: epoch 2 with parts of base"
    assert titles(charts(test)) == {
        "single-fraction_recovered": "epoch 2 with parts of base: fraction recovered of the gap",
        "single-balanced_accuracy": "epoch 2 with parts of base: balanced accuracy (%)",
    }
    answer = next(one.value for one in test.markdown if "of the gap" in one.value)
    assert answer.startswith("Putting **") and "back to base undoes" in answer and "Balanced accuracy goes" in answer
    assert list(test.table[0].value["part"]) == ["embeddings", "final norm", "head"]


def test_into_the_reference_it_says_what_a_part_adds(opens: Opens):
    test = opens("swaps", host="base", donor="epoch 2")
    assert any("of epoch 2 alone adds" in one.value for one in test.markdown)


def test_any_two_checkpoints_in_either_direction(opens: Opens):
    test = opens("swaps", host="epoch 3", donor="epoch 1", measure="gap", part="mlp")
    assert test.title[0].value == "Swaps: epoch 3 with parts of epoch 1"
    assert "single-gap" in charts(test)
    settle(test.selectbox(key="donor").set_value("base").run())
    assert test.title[0].value == "Swaps: epoch 3 with parts of base"
    assert test.query_params["donor"] == "base"


def test_a_curve_of_the_reviews_that_are_done_stands_under_the_bar(opens: Opens, world: World):
    go = threading.Event()
    swaps = world.models.swaps

    def waits(host, donor, plan, prompts, progress, watch):
        found = swaps(host, donor, plan, prompts)
        watch(Swapped(tuple(range(10, 30)), found[:, 10:30]))
        while not go.wait(0.02):
            progress(0.5, "Swapping.")
        return found

    world.models.swaps = waits  # type: ignore[method-assign]
    test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    test.query_params["measure"] = "gap"
    test.switch_page("pages/swaps.py").run()
    for _ in range(100):
        if "so-far-single" in charts(test):
            break
        time.sleep(0.05)
        test.run()
    assert set(charts(test)) == {"so-far-single"}
    reviews = len(pin(world.studies["film"], world.lab).sample.text)  # type: ignore[arg-type]
    said = f"20 of {reviews} texts so far; intervals follow at the end."
    assert said in [one.value for one in test.caption]
    go.set()
    settle(test)
    assert set(charts(test)) == {"single-gap", "single-fraction_recovered"}


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("cumulative", {"cumulative-auc", "cumulative-fraction_recovered"}), ("range", {"range"}), ("freeze", {"freeze"})],
)
def test_every_mode_has_its_picture(opens: Opens, mode: str, expected: set[str]):
    test = opens("swaps", mode=mode, measure="auc")
    assert set(charts(test)) == expected
    assert not test.error


def test_freezing_always_puts_the_later_one_back_to_the_earlier(opens: Opens):
    for address in ({"host": "base", "donor": "epoch 2"}, {"host": "epoch 2", "donor": "base"}):
        test = opens("swaps", mode="freeze", **address)
        assert any(
            "of epoch 2 can be put back to base" in one.value or "of base costs" in one.value for one in test.markdown
        )


def test_a_model_is_not_swapped_with_itself(opens: Opens):
    test = opens("swaps", host="epoch 1", donor="epoch 1")
    assert "Choose two different ones" in test.info[0].value
    assert not charts(test)


def test_an_unknown_model_or_part_is_one_sentence(opens: Opens):
    test = opens("swaps", donor="epoch 9", part="head")
    said = " ".join(one.value for one in test.warning)
    assert "“epoch 9”" in said and "“head”" in said
    assert "single-balanced_accuracy" in charts(test)


def test_three_classes(opens: Opens, world: World):
    world.add("three", classes=3)
    test = opens("swaps", study="three", mode="range")
    assert set(charts(test)) == {"range"}


def test_an_encoder_has_no_final_norm(opens: Opens, world: World):
    world.make_encoder()
    test = opens("swaps")
    assert list(test.table[0].value["part"]) == ["embeddings", "head"]
    assert [one.value for one in test.caption if "no final norm" in one.value]
    assert "single-balanced_accuracy" in charts(test)


def test_a_host_without_a_head_is_one_sentence(opens: Opens, world: World):
    world.make_encoder(headless=("base",))
    for address in ({}, {"mode": "range"}):
        test = opens("swaps", host="base", donor="epoch 2", **address)
        assert ["base is an encoder without a classification head" in one.value for one in test.info] == [True]
        assert not charts(test)
    back = opens("swaps", host="epoch 3", donor="base")
    assert set(charts(back)) == {"single-balanced_accuracy"}
    assert list(back.table[0].value["part"]) == ["embeddings"]
    assert set(charts(opens("swaps", mode="freeze"))) == {"freeze"}
    ranges = opens("swaps", host="epoch 3", donor="base", mode="range")
    assert sum("Grey is like the " in one.value for one in ranges.markdown) == 1


def test_one_review_is_patched_both_ways(opens: Opens, world: World):
    sample = pin(world.studies["film"], world.lab).sample  # type: ignore[arg-type]
    row = str(sample.index[3])
    test = opens("swaps", mode="patching", review=row, epoch="epoch 2")
    assert test.selectbox(key="review").value == row
    spec = json.loads(charts(test)["patching"])
    assert spec["layout"]["yaxis"]["ticktext"][:2] == ["base into epoch 2", "epoch 2 into base"]
    assert "share of the way" in spec["layout"]["title"]["text"]
    assert sum("half of the way is passed from layer" in one.value for one in test.markdown) == 2
    settle(test.segmented_control(key="patched").set_value("moved").run())
    assert "(nats)" in json.loads(charts(test)["patching"])["layout"]["title"]["text"]
    assert test.query_params["patched"] in ("moved", ["moved"])


def test_patching_that_takes_long_is_asked_for(opens: Opens, world: World):
    world.models.reading = lambda checkpoint, tokens: 50.0  # type: ignore[method-assign]
    test = opens("swaps", mode="patching")
    (offer,) = [button for button in test.button if button.label.startswith("Patch every residual (about")]
    assert not charts(test)
    settle(offer.click().run())
    assert "patching" in charts(test)


def test_only_a_model_with_a_head_is_patched(opens: Opens, world: World):
    world.make_encoder(headless=("base",))
    test = opens("swaps", mode="patching")
    assert json.loads(charts(test)["patching"])["layout"]["yaxis"]["ticktext"][0] == "base into epoch 3"


def test_three_classes_choose_whose_lens_is_patched(opens: Opens, world: World):
    world.add("three", classes=3)
    test = opens("swaps", study="three", mode="patching", **{"class": "mixed"})
    assert "mixed − the others" in json.loads(charts(test)["patching"])["layout"]["title"]["text"]
