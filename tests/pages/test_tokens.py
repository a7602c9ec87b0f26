"""The Tokens page on fakes: every part, the search, the address, and what is said where there is nothing to show."""

from __future__ import annotations

import json

import pytest
from streamlit.testing.v1 import AppTest

from backend.analyses import token_map
from backend.figures.token_map import SCOPES
from backend.figures.token_shift import UNITS
from tests.fakes import VOCABULARY
from tests.pages.conftest import Opens, World, charts, settle


def title(test: AppTest, key: str) -> str:
    return json.loads(charts(test)[key])["layout"]["title"]["text"]


def test_first_the_words_that_moved_most_for_their_frequency(opens: Opens):
    test = opens("tokens")
    drawn = json.loads(charts(test)["token-words"])
    words = drawn["data"][0]["y"]
    assert 2 <= len(words) <= 16 and all(word.isalpha() for word in words)
    table = test.table[0].value
    assert list(table["word"]) == words
    assert all(table["near before"].tolist()) and "␣" not in "".join(table["near after"])


def test_the_most_moved_tokens_with_their_table_and_neighbours(opens: Opens):
    test = opens("tokens", show="shift")
    assert test.title[0].value == "Tokens: from base to epoch 3"
    assert {"token-ranked", "token-frequency", "token-neighbours"} <= charts(test).keys()
    table = test.dataframe[0].value
    assert {"token", "l2", "group", "count", "neighbours kept", "nearest before"} <= set(table.columns)
    assert len(table) == 100
    moved = table["l2 without the common drift"].tolist()
    assert moved == sorted(moved, reverse=True)


@pytest.mark.parametrize("measure", list(UNITS))
@pytest.mark.parametrize("matrix", ["input", "output"])
def test_matrix_and_measure_are_in_the_address(opens: Opens, matrix: str, measure: str):
    test = opens("tokens", matrix=matrix, measure=measure, epoch="epoch 1", show="groups")
    drawn = json.loads(charts(test)["token-groups"])
    assert UNITS[measure] in drawn["layout"]["xaxis"]["title"]["text"]
    assert test.segmented_control(key="matrix").value == matrix


def test_a_search_is_in_the_address_and_finds_a_token(opens: Opens):
    test = opens("tokens", show="shift", search="script")
    assert test.dataframe[0].value["token"].tolist() == ["␣script"]
    settle(test.text_input(key="search").set_value("<u").run())
    assert test.query_params["search"] in ("<u", ["<u"])
    assert test.dataframe[0].value["token"].tolist() == ["<unk>"]


def test_a_search_that_finds_nothing_says_so_without_markup(opens: Opens):
    test = opens("tokens", show="shift", search="**zyz**")
    assert any(r"\*\*zyz\*\*" in one.value for one in test.info)


def test_groups_are_told_in_words(opens: Opens):
    said = [one.value for one in opens("tokens", show="groups").markdown]
    assert any("**positive**" in one and "matched in frequency" in one for one in said)


@pytest.mark.parametrize(("method", "scope"), [("tsne", "words"), ("pca", "words"), ("pca", "vocabulary")])
def test_maps_tell_their_drift(opens: Opens, method: str, scope: str):
    test = opens("tokens", show="map", method=method, scope=scope, epoch="epoch 2")
    assert title(test, "token-map") == f"epoch 2: {SCOPES[scope]}, arrows from base"
    assert any("of the map's radius" in one.value for one in test.markdown)


@pytest.mark.parametrize(("method", "asks"), [("tsne", True), ("umap", True), ("pca", False)])
def test_a_map_that_takes_minutes_is_asked_for(opens: Opens, monkeypatch: pytest.MonkeyPatch, method: str, asks: bool):
    monkeypatch.setattr(token_map, "FIT_SECONDS", {"tsne": 1.0, "umap": 1.0})
    test = opens("tokens", show="map", method=method, scope="vocabulary")
    offers = [button.label for button in test.button if button.label.startswith(f"Place {VOCABULARY:,} tokens (about ")]
    assert bool(offers) is asks
    assert ("token-map" in charts(test)) is not asks


def test_another_epoch_asks_for_the_same_zoom(opens: Opens):
    test = opens("tokens", show="map", method="pca")
    before = json.loads(charts(test)["token-map"])["layout"]
    settle(test.select_slider(key="epoch").set_value("epoch 1").run())
    after = json.loads(charts(test)["token-map"])["layout"]
    assert before["title"] != after["title"]
    assert before["uirevision"] == after["uirevision"]


def test_a_checkpoint_has_not_moved_from_itself(opens: Opens):
    test = opens("tokens", epoch="base")
    assert charts(test) == {}
    assert any("Choose another epoch" in one.value for one in test.info)


def test_a_studys_own_words_are_a_group(opens: Opens, world: World):
    study = world.studies["film"]
    world.studies["film"] = study.model_copy(update={"lexicon": {"craft": ("script", "camera")}})  # type: ignore[union-attr]
    assert any("**craft** (2 of 2 words" in one.value for one in opens("tokens", show="groups").markdown)


@pytest.mark.parametrize(("key", "value"), [("matrix", "x"), ("measure", "l3"), ("show", "y"), ("scope", "z")])
def test_an_unknown_value_gets_a_sentence(opens: Opens, key: str, value: str):
    (warning,) = [one.value for one in opens("tokens", **{key: value}).warning]
    assert key in warning
    assert value in warning
