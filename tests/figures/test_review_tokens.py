"""A typed text in lines, with its layers under each token and its words highlighted."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.analyses import review
from backend.figures import review_tokens as figures
from backend.figures.style import theme, token_bands
from backend.study.facts import Facts
from backend.study.typed_texts import Typed, leave_out, read_typed
from tests.figures.conftest import Shown
from tests.figures.heatmaps import heats, matrix

TEXT = "The camera work in the harbour scenes drags, <b>loudly</b> & the script is funny, humane {text}. " * 2
CONFIG = tomllib.loads((Path(__file__).parents[2] / ".streamlit" / "config.toml").read_text())


@pytest.fixture
def typed(shown: Shown) -> Typed:
    return read_typed(shown.study.readers, TEXT)


@pytest.fixture
def pair(shown: Shown, typed: Typed) -> list[review.Tokens]:
    return [
        review.tokens(
            review.Query(shown.study.checkpoints[k], shown.study.base, typed.prompts, shown.study.prompts), shown.lab
        )
        for k in (0, 2)
    ]


@pytest.mark.parametrize("heat", list(figures.HEATS))
def test_every_token_has_its_layers_of_both_and_the_difference(
    shown: Shown, typed: Typed, pair: list[review.Tokens], heat: figures.Heat
):
    at = len(shown.words) - 2
    picture = figures.tokens(pair, ["base", "epoch 2"], typed.pieces, heat, shown.words, at)
    fields = {
        "logit_diff": "logit_diff",
        "projection": "place",
        "next": "next_probability",
        "norm": "norm",
        "relative": "relative",
    }
    base, epoch = (np.asarray(getattr(one, fields[heat]), dtype=float) for one in pair)
    if heat != "next":
        base, epoch = base[..., at] if base.ndim > 2 else base, epoch[..., at] if epoch.ndim > 2 else epoch
    shownrows = matrix(heats(picture, "coloraxis"))
    layers = base.shape[1]
    np.testing.assert_allclose(shownrows[:layers], base.T[::-1], atol=6e-5)
    assert np.isnan(shownrows[layers]).all(), "a gap between the two"
    np.testing.assert_allclose(shownrows[layers + 1 :], epoch.T[::-1], atol=6e-5)
    np.testing.assert_allclose(matrix(heats(picture, "coloraxis2")), (epoch - base).T[::-1], atol=6e-5)


def test_the_tokens_read_as_the_text(shown: Shown, typed: Typed, pair: list[review.Tokens]):
    picture = figures.tokens(pair, ["base", "epoch 2"], typed.pieces, "logit_diff", shown.words)
    (text,) = [trace for trace in picture.data if trace.type == "scatter"]
    assert list(text.text)[:4] == ["Review", ":", "The", "camera"]
    assert "&lt;" in text.text
    assert all("<" not in word for word in text.text)
    order = sorted(zip(text.y, text.x, text.text, strict=True))
    assert [word for _, _, word in order] == list(text.text), "line by line, from left to right"
    assert len(set(text.y)) > 1
    for trace in picture.data[:-1]:
        assert list(trace.x) == sorted(set(trace.x)) and trace.x[-1] <= token_bands.LINE
        assert len(trace.y) == len(trace.z) + 1 and list(trace.y) == sorted(set(trace.y))


def test_hovering_says_the_five_likeliest_next_tokens(shown: Shown, typed: Typed, pair: list[review.Tokens]):
    picture = figures.tokens(pair[1:], ["epoch 2"], typed.pieces, "next", shown.words)
    first = heats(picture, "coloraxis")[0]
    said = first.text[0][2]  # the last layer is on top
    best = pair[1].top[2, -1]
    assert said.startswith("The, layer 12<br>")
    named = [pair[1].words[w].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") for w in best]
    shares = [f"{round(100 * float(p))} %" for p in pair[1].top_probability[2, -1]]
    assert [part.rsplit(" ", 2) for part in said.partition("<br>")[2].split(", ")] != []
    for name, share in zip(named, shares, strict=True):
        assert f"{name.replace('␣', ' ').strip()} {share}" in said
    assert heats(picture, "coloraxis2") == [], "one checkpoint has no difference"


def test_the_scales_are_symmetric_and_shared(shown: Shown, typed: Typed, pair: list[review.Tokens]):
    def ends(heat: figures.Heat) -> tuple[float, float]:
        axis = figures.tokens(pair, ["base", "epoch 2"], typed.pieces, heat, shown.words).layout.coloraxis
        return axis.cmin, axis.cmax

    assert sum(ends("logit_diff")) == pytest.approx(0)
    assert sum(ends("projection")) == pytest.approx(1)
    assert ends("next")[0] == 0 < ends("next")[1] <= 1
    assert sum(ends("relative")) == pytest.approx(2)
    assert ends("norm")[0] == 0 < ends("norm")[1]


def test_what_cannot_be_shown_is_one_sentence():
    causal = Facts("GPT2LMHeadModel", 1, 8, 20, 1)
    encoder = replace(causal, kind="encoder", answers=2)
    headless, classifier = replace(encoder, has_head=False), replace(causal, answers=2)
    assert "predict no next token" in figures.undefined("next", [encoder, classifier])
    assert "there is no logit difference" in figures.undefined("logit_diff", [headless, causal.body])
    shown: list[tuple[figures.Heat, list[Facts]]] = [
        ("next", [causal, causal.body]),
        ("logit_diff", [headless, encoder]),
        ("norm", [headless]),
    ]
    assert [figures.undefined(*one) for one in shown] == ["", "", ""]


def test_words_are_highlighted_by_what_they_add(shown: Shown, typed: Typed):
    texts, words = leave_out(shown.study.readers, typed.parts, 100)
    pair = [review.parts(review.PartsQuery(shown.study.checkpoints[k], texts), shown.lab) for k in (0, 2)]
    pictures = figures.parts(pair, ["base", "epoch 2"], words, 7, shown.words)
    for picture, result in zip(pictures, pair, strict=True):
        np.testing.assert_allclose(matrix(heats(picture, "coloraxis"))[0], result.effect[:, 7, 0], atol=6e-5)
        (text,) = [trace for trace in picture.data if trace.type == "scatter"]
        assert len(text.text) == len(words)
        assert text.text[8] == "&lt;b&gt;loudly&lt;/b&gt;"
        assert "most at layer" in picture.data[0].text[0][0]
    reach = max(np.abs(one.effect[:, 7, 0]).max() for one in pair)
    assert [one.layout.coloraxis.cmax for one in pictures] == pytest.approx([reach, reach])


def luminance(colour: tuple[float, ...]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (part / 255 for part in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def rgb(hexed: str) -> tuple[float, ...]:
    return tuple(int(hexed[i : i + 2], 16) for i in (1, 3, 5))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("colour", [theme.NEGATIVE, theme.POSITIVE])
def test_text_on_the_strongest_highlight_has_the_contrast_of_wcag_aa(theme: str, colour: str):
    text, behind = rgb(CONFIG["theme"][theme]["textColor"]), rgb(CONFIG["theme"][theme]["backgroundColor"])
    mixed = tuple(figures.HIGHLIGHT * c + (1 - figures.HIGHLIGHT) * b for c, b in zip(rgb(colour), behind, strict=True))
    light, dark = sorted((luminance(text), luminance(mixed)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_a_text_of_256_tokens_and_48_layers_stays_in_bounds():
    tokens, layers = 256, 49
    generator = np.random.default_rng(0)
    result = review.Tokens(
        generator.normal(size=(tokens, layers, 1)),
        generator.normal(size=(tokens, layers, 1)),
        np.ones((tokens, layers)),
        np.full((tokens, layers), np.nan, np.float32),
        np.zeros((tokens, layers, 5), np.int64),
        np.zeros((tokens, layers, 5), np.float32),
        ("word",),
    )
    picture = figures.tokens([result, result], ["base", "epoch 3"], [" words"] * tokens, "next", ("a", "b"))
    assert picture.layout.height < 15_000
    assert np.isnan(matrix(heats(picture, "coloraxis"))).all()


def test_the_guide_says_when_several_words_go_at_once():
    assert figures.grouped(("one", "two")) == ""
    assert "3 words in a row are ablated at a time" in figures.grouped(("a b c", "d"))
