"""The Probes page on fakes: every part, its controls and what the address says."""

from __future__ import annotations

import json

import pytest

from backend.lab.pinning import pin
from tests.pages.conftest import Opens, World, charts, settle


def title(spec: str) -> str:
    return json.loads(spec)["layout"]["title"]["text"]


def test_base_and_last_epoch_are_read_at_every_layer(opens: Opens):
    test = opens("probes")
    assert test.title[0].value == "Probes: base and epoch 3"
    shown = charts(test)
    assert shown.keys() == {"probe-curves", "probe-readings", "probe-heat"}
    assert title(shown["probe-curves"]).endswith("AUC of the logit difference")
    assert any("chance" in one.value for one in test.markdown)


def test_head_norm_and_measure_are_in_the_address(opens: Opens):
    test = opens("probes", head="base", norm="none", measure="recall", **{"class": "negative"})
    assert test.segmented_control(key="head").value == "base"
    assert "recall" in title(charts(test)["probe-curves"])
    assert title(charts(test)["probe-heat"]).endswith("of negative")
    published = charts(settle(test.segmented_control(key="norm").set_value("published").run()))
    assert test.query_params["norm"] in ("published", ["published"])
    assert published["probe-curves"] != charts(opens("probes", head="own", norm="own"))["probe-curves"]


def test_reviews_that_flip_and_the_chosen_one_in_full(opens: Opens, world: World):
    sample = pin(world.studies["film"], world.lab).sample  # type: ignore[arg-type]
    test = opens("probes", show="reviews", review=str(sample.index[5]))
    shown = charts(test)
    assert {"flips-reference", "flips-chosen", "flip-curve"} == shown.keys()
    assert "chosen text" in shown["flips-reference"]
    assert sample.text[5] in [one.value for one in test.text]
    assert "flip-curve" not in charts(opens("probes", show="reviews"))


@pytest.mark.parametrize(
    ("show", "keys"),
    [
        ("linear", {"linear-curves", "linear-heat"}),
        ("inherited", {"inherited-shares", "inherited-norms"}),
        ("parts", {"parts-gap-first", "parts-gap-chosen"}),
    ],
)
def test_every_part_of_the_page(opens: Opens, show: str, keys: set[str]):
    assert charts(opens("probes", show=show, epoch="epoch 2")).keys() == keys


def test_the_change_of_heads_and_mlps_is_one_picture(opens: Opens):
    test = opens("probes", show="parts", parts="change", epoch="epoch 1")
    assert charts(test).keys() == {"parts-change-chosen"}
    assert any("change of the gap" in one.value for one in test.markdown)


def test_the_base_has_no_change_of_its_own(opens: Opens):
    test = opens("probes", show="inherited", epoch="base")
    assert charts(test) == {}
    assert any("Choose another epoch" in one.value for one in test.info)


def test_an_unknown_value_gets_a_sentence(opens: Opens):
    (warning,) = [one.value for one in opens("probes", norm="mine").warning]
    assert "norm" in warning and "mine" in warning


def test_three_classes_choose_whose_bias(opens: Opens, world: World):
    world.add("three", classes=3)
    test = opens("probes", study="three", measure="mean_logit_diff", **{"class": "mixed"})
    assert test.selectbox(key="class").value == "mixed"
    assert title(charts(test)["probe-heat"]).endswith("of mixed")


def test_the_blocks_of_an_encoder_are_compared_and_its_logits_are_no_sum(opens: Opens, world: World):
    world.make_encoder(headless=("base",))
    assert charts(opens("probes", show="inherited")).keys() == {"inherited-shares", "inherited-norms"}
    test = opens("probes", show="parts")
    assert ["not a sum over its parts" in one.value for one in test.info] == [True]
    assert not charts(test)


@pytest.mark.parametrize("show", ["curves", "reviews"])
def test_an_encoder_without_a_head_lends_none_and_says_so(opens: Opens, world: World, show: str):
    world.make_encoder(headless=("base",))
    test = opens("probes", show=show, head="base")
    assert not charts(test) and not test.error
    (said,) = [one.value for one in test.info]
    assert said.startswith("base is an encoder without a classification head") and "Compared with" in said
    own = opens("probes", show=show)
    assert charts(own) and not own.info
    (said,) = [one.value for one in opens("probes", show=show, epoch="base").info]
    assert said.startswith("base is an encoder without a classification head") and "Choose an epoch with a head" in said


def test_encoders_that_have_a_head_are_read_and_have_no_norm_to_choose(opens: Opens, world: World):
    world.make_encoder(headless=("base",))
    test = opens("probes", reference="epoch 1")
    assert charts(test).keys() == {"probe-curves", "probe-heat"} and not test.info
    assert "norm" not in [one.key for one in test.segmented_control]
    assert "base" not in charts(test)["probe-heat"]
    left_out = opens("probes", reference="epoch 1", epoch="base", show="reviews")
    assert charts(left_out).keys() == {"flips-reference"}
    assert [one.value for one in left_out.caption if "left out" in one.value]


def test_linear_probes_say_how_many_reviews_are_copies(opens: Opens, world: World):
    table = world.folder / "film" / "reviews.csv"
    assert not [one.value for one in opens("probes", show="linear").markdown if "repeat" in one.value]
    header, *rows = table.read_text().splitlines()
    half = [row for c in "01" for row in [row for row in rows if row.endswith(c)][:10]]
    table.write_text("\n".join([header, *half, *map(str.upper, half)]))
    test = opens("probes", show="linear")
    (said,) = [one.value for one in test.markdown if "repeat an earlier one" in one.value]
    repeated = int(said.split(" ", 1)[0])
    assert 16 <= repeated <= 18 and "of 36 texts" in said
    assert charts(test).keys() == {"linear-curves", "linear-heat"}
