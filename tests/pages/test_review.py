"""The Review page on fakes: any text is safe, the address carries it, and nothing of it is kept."""

from __future__ import annotations

import json
import logging

import pytest
from streamlit.testing.v1 import AppTest

from backend.derived import example_reviews
from backend.figures.review_tokens import HEATS
from backend.lab.pinning import pin
from pages import review
from pages.review import SHOWN
from tests.pages.conftest import Opens, World, charts, settle

TEXT = "The camera work drags, and the script is funny and humane."
TEXTS = {
    "html": "<script>alert(1)</script><b onclick=x()>The script</b> <img src=x onerror=alert(1)> <a href=x>y</a>",
    "markdown": "# The script **drags** $x^2$ :red[loud] [link](http://x) `code` \n\n* one\n| a | b |",
    "emoji": "The script \U0001f469\u200d\U0001f467\U0001f600 is funny \U0001f1e9\U0001f1ea",
    "rtl": "\u05d4\u05e1\u05e8\u05d8 \u05de\u05e6\u05d5\u05d9\u05df \u202ethe script\u202c \u0631\u0627",
    "control": "The\x01script\x1b[31m is\x7f funny\r\n\tand humane\x0b",
    "nul": "The script\x00is funny\x00",
    "template": "{text} Review: {text} Sentiment: positive negative {0} %{x} %s",
    "one word": "positive",
    "one sign": ".",
    "no spaces": "funny" * 300,
}


def shown(test: AppTest, key: str = "review-tokens") -> str:
    return charts(test)[key]


def test_a_first_visit_starts_with_an_example_of_the_sample(opens: Opens, world: World):
    test = opens("review")
    assert test.text_area(key="text").value in pin(world.studies["film"], world.lab).sample.text  # type: ignore[arg-type]
    assert {"review-answers", "review-layers", "review-tokens"} <= charts(test).keys()
    shelf = [one.label for one in test.button if str(one.key).startswith("shelf-")]
    assert shelf[:4] == ["typical, negative", "typical, positive", "hardest, negative", "hardest, positive"]


@pytest.mark.parametrize("text", ["", " ", "\n\t ", "\u2003"])
def test_an_emptied_box_stays_empty(opens: Opens, text: str):
    test = opens("review", text=TEXT)
    settle(test.text_area(key="text").set_value(text).run())
    assert ["Type a text, or choose an example" in one.value for one in test.info] == [True]
    assert charts(test) == {}
    settle(test.text_area(key="text").set_value(f"{text} ").run())
    assert ["Type a text, or choose an example" in one.value for one in test.info] == [True]


def test_a_text_in_the_address_is_read(opens: Opens):
    test = opens("review", text=TEXT)
    assert test.text_area(key="text").value == TEXT
    assert {"review-logit-diff", "review-place", "review-answers", "review-tokens"} <= charts(test).keys()
    assert "camera" in shown(test)
    assert [one.value for one in (*test.error, *test.warning)] == []


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_any_text_is_safe(opens: Opens, text: str):
    test = opens("review", text=text)
    for show in SHOWN:
        settle(test.segmented_control(key="show").set_value(show).run())
        assert [one.value for one in (*test.error, *test.warning)] == []
        assert test.text_area(key="text").value == text
        assert {"review-layers", "review-answers"} <= charts(test).keys()
        for spec in charts(test).values():
            assert not any(mark in spec for mark in ("<script", "<img", "<a ", "<b "))
        for one in (*test.markdown, *test.caption, *test.info, *test.subheader, *test.title):
            assert "<script" not in one.value and "onerror" not in one.value


def test_half_characters_of_the_sample_are_replaced_on_their_way_into_the_box(
    opens: Opens, world: World, monkeypatch: pytest.MonkeyPatch
):
    test = opens("review")
    broken = [example_reviews.Example("typical", 0, 0)]
    monkeypatch.setattr(example_reviews, "examples", lambda *_: broken)
    sample = pin(world.studies["film"], world.lab).sample  # type: ignore[arg-type]
    monkeypatch.setitem(vars(sample), "text", ("a \ud800 b", *sample.text[1:]))
    settle(test.run().button(key="shelf-0").click().run())
    assert test.text_area(key="text").value == "a \ufffd b"
    assert "review-tokens" in charts(test)


def test_twenty_thousand_words_are_cut_and_the_cut_is_shown(opens: Opens):
    test = opens("review")
    settle(test.text_area(key="text").set_value("slow " * 10_000 + "funny " * 10_000).run())
    captions = " ".join(one.value for one in test.caption)
    assert "This text is longer, so only the downloads carry it" in captions
    assert "words are cut from the start" in captions
    assert "20,000" not in captions and "19,9" in captions
    (cut,) = [one.value for one in test.text if "characters …" in one.value]
    assert len(cut) < 4000
    assert "review-tokens" in charts(test)
    assert len(str(test.query_params["text"])) < 60


def test_a_typed_text_goes_into_the_address_and_back_brings_the_one_before(opens: Opens):
    test = opens("review", text=TEXT)
    before = charts(test)
    settle(test.text_area(key="text").set_value("Her second feature is tired.").run())
    assert test.query_params["text"] in ("Her second feature is tired.", ["Her second feature is tired."])
    assert charts(test)["review-logit-diff"] != before["review-logit-diff"]
    test.query_params["text"] = TEXT
    settle(test.run())
    assert charts(test)["review-logit-diff"] == before["review-logit-diff"]
    assert test.text_area(key="text").value == TEXT


def test_the_shelf_fills_the_box(opens: Opens, world: World):
    sample = pin(world.studies["film"], world.lab).sample  # type: ignore[arg-type]
    test = opens("review")
    settle(test.button(key="shelf-0").click().run())
    assert test.text_area(key="text").value in sample.text
    assert "review-tokens" in charts(test)


def test_the_epoch_slider_moves_the_curve(opens: Opens):
    test = opens("review", text=TEXT)
    before = charts(test)["review-logit-diff"]
    settle(test.select_slider(key="epoch").set_value("epoch 1").run())
    after = charts(test)["review-logit-diff"]
    assert "epoch 3: own head and norm" in before
    assert "epoch 1: own head and norm" in after and "epoch 3" not in after


@pytest.mark.parametrize("heat", list(HEATS))
def test_every_colouring(opens: Opens, heat: str):
    test = opens("review", text=TEXT, heat=heat)
    assert test.segmented_control(key="heat").value == heat
    data = json.loads(shown(test))["data"]
    assert {one.get("coloraxis") for one in data if one["type"] == "heatmap"} == {"coloraxis", "coloraxis2"}


def test_words_and_neighbours_follow_the_layer(opens: Opens):
    test = opens("review", text=TEXT, show="words", layer="2")
    assert "base, layer 2" in shown(test, "review-words-0")
    assert "epoch 3, layer 2" in shown(test, "review-words-1")
    test = opens("review", text=TEXT, show="nearest", layer="4")
    assert [len(one.value) for one in test.table] == [5, 5]
    test = opens("review", text=TEXT, show="nearest", layer="0")
    assert sum("holds no text" in one.value for one in test.info) == 2


def test_a_typed_text_is_patched_both_ways(opens: Opens):
    test = opens("review", text=TEXT, show="patching", epoch="epoch 1")
    ticks = json.loads(shown(test, "patching"))["layout"]["yaxis"]["ticktext"]
    assert ticks[:2] == ["epoch 1 into base", "base into epoch 1"]
    test = opens("review", text=TEXT, show="patching", epoch="base")
    assert any("two different models" in one.value for one in test.info)


def test_what_an_encoder_has_not_is_one_sentence(opens: Opens, world: World):
    world.make_encoder()
    test = opens("review", text=TEXT, heat="next")
    assert any("predict no next token" in one.value for one in test.info)
    assert "review-tokens" not in charts(test)
    assert "review-tokens" in charts(opens("review", text=TEXT, heat="norm"))


def test_an_encoder_without_a_head_is_left_out_where_answers_are_shown(opens: Opens, world: World):
    world.make_encoder(headless=("base",))
    test = opens("review", text=TEXT)
    named = list(json.loads(shown(test, "review-answers"))["data"][0]["y"])
    assert named == ["epoch 1", "epoch 2", "epoch 3"]
    assert "coloraxis2" not in shown(test)
    assert "base: own head" not in shown(test, "review-logit-diff")
    assert sum("base is an encoder without" in one.value for one in test.caption) == 2
    assert {key for key in charts(opens("review", text=TEXT, show="words")) if "words" in key} == {"review-words-0"}
    nobody = opens("review", text=TEXT, show="words", reference="base", epoch="base")
    assert not [key for key in charts(nobody) if "words" in key]


def test_where_no_model_answers_there_is_no_shelf(opens: Opens, world: World):
    world.make_encoder(headless=("base", "epoch 1", "epoch 2", "epoch 3"))
    test = opens("review", text=TEXT)
    assert not [one for one in test.button if str(one.key).startswith("shelf")]
    assert "review-answers" not in charts(test) and any(
        "there is no logit difference" in one.value for one in test.info
    )


def test_more_than_two_classes_choose_one(opens: Opens, world: World):
    world.add("three", classes=3)
    test = opens("review", study="three", text=TEXT, **{"class": "mixed"})
    assert test.selectbox(key="class").value == "mixed"
    for key in ("review-logit-diff", "review-tokens"):
        assert "mixed − the others" in json.loads(shown(test, key))["layout"]["title"]["text"]


def test_the_reference_alone_has_no_difference(opens: Opens):
    test = opens("review", text=TEXT, epoch="base")
    data = json.loads(shown(test))["data"]
    assert {one.get("coloraxis") for one in data if one["type"] == "heatmap"} == {"coloraxis"}


@pytest.mark.parametrize(("key", "value"), [("show", "x"), ("heat", "warm"), ("layer", "99"), ("class", "nobody")])
def test_an_unknown_value_gets_a_sentence(opens: Opens, key: str, value: str):
    test = opens("review", text=TEXT, **{key: value})
    (warning,) = [one.value for one in test.warning]
    assert key in warning and value in warning
    assert key not in test.query_params


def test_nothing_typed_is_kept_or_logged(
    opens: Opens, world: World, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
):
    secret = "zyzzyva quixotic"
    readout = world.models.readout
    with caplog.at_level(logging.DEBUG):
        for show in SHOWN:
            opens("review", text=f"The script is {secret}.", show=show)
        world.models.readout = lambda *_: 1 / 0  # type: ignore[method-assign]
        opens("review", text=f"The camera work is {secret}.")  # a bug's traceback has nothing of it either
        world.models.readout = readout  # type: ignore[method-assign]
    files = [file for file in world.folder.rglob("*") if file.is_file()]
    assert any("cache" in str(file) for file in files)
    for word in secret.split():
        assert [file for file in files if word.encode() in file.read_bytes()] == []
        assert word not in caplog.text
        out, err = capfd.readouterr()
        assert word not in out + err


def test_the_downloads_carry_the_text(opens: Opens, monkeypatch: pytest.MonkeyPatch):
    taken: dict[str, list[dict[str, object]]] = {}
    shown_before = review.picture.show

    def show(view: object, drawn: dict[str, object], guide: object, rows: object, analysis: object) -> None:
        taken[next(iter(drawn))] = list(rows())  # type: ignore[operator]
        shown_before(view, drawn, guide, rows, analysis)  # type: ignore[arg-type]

    monkeypatch.setattr(review.picture, "show", show)
    long = TEXT + " slow" * 500
    test = opens("review")
    settle(test.text_area(key="text").set_value(long).run())
    assert {row["text"] for row in taken["review-logit-diff"]} == {long}
    assert {row["checkpoint"] for row in taken["review-answers"]} == {"base", "epoch 1", "epoch 2", "epoch 3"}
    pieces = [str(row["token"]) for row in taken["review-tokens"] if row["layer"] == 0]
    assert "".join(pieces[: len(pieces) // 2]).startswith("Review:")
