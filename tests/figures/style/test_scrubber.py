"""Positions as 16-bit integers, on one scale per layer, and a page that opens without a server."""

from __future__ import annotations

import base64
import json
import re
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.figures.style import scrubber, theme


def positions(seed: int, spread: float = 3.0) -> np.ndarray:
    """Three checkpoints, four layers (the first without points), ten reviews."""
    rng = np.random.default_rng(seed)
    xy = rng.normal(size=(3, 4, 10, 2)) * spread * np.arange(1, 5)[:, None, None] + rng.normal(size=(4, 1, 2)) * 50
    xy[:, 0] = np.nan
    return xy


def unpacked(text: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype="<i2").reshape(shape).astype(np.float64)


@settings(max_examples=50)
@given(st.integers(0, 2**31), st.floats(1e-4, 1e4))
def test_a_round_trip_is_off_by_at_most_half_a_step(seed: int, spread: float) -> None:
    xy = positions(seed, spread)
    centre, half = scrubber.scaled(xy)
    whole = unpacked(scrubber.text(scrubber.quantized(xy, centre, half)), xy.shape)
    assert (whole[:, 0] == scrubber.MISSING).all()
    assert np.abs(whole[:, 1:]).max() <= scrubber.FULL
    back = centre[1:, None] + whole[:, 1:] / scrubber.FULL * half[1:, None, None]
    bound = half[1:, None, None] / scrubber.FULL / 2
    assert (np.abs(back - xy[:, 1:]) <= bound * (1 + 1e-6) + 1e-12).all()


@settings(max_examples=25)
@given(st.integers(0, 2**31))
def test_a_layer_has_one_scale_for_all_checkpoints_and_both_axes(seed: int) -> None:
    xy = positions(seed)
    centre, half = scrubber.scaled(xy)
    whole = scrubber.quantized(xy, centre, half).astype(np.float64)
    moved = xy[2, 3] - xy[0, 3]
    np.testing.assert_allclose(
        (whole[2, 3] - whole[0, 3]) * half[3] / scrubber.FULL, moved, atol=2 * half[3] / scrubber.FULL
    )
    assert np.abs(whole[:, 3]).max() == scrubber.FULL, "the widest axis fills the panel"


def test_arrows_are_packed_with_their_ends() -> None:
    centre, half = np.array([[1.0, 2.0]]), np.array([4.0])
    ends = np.array([[[[[1.0, 2.0], [5.0, -2.0]]]]])  # [checkpoints, layers, directions, ends, 2]
    assert scrubber.quantized(ends, centre, half).ravel().tolist() == [0, 0, scrubber.FULL, -scrubber.FULL]


def test_a_single_place_and_no_place_at_all() -> None:
    xy = np.ones((2, 2, 3, 2))
    xy[:, 1] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        centre, half = scrubber.scaled(xy)
        whole = scrubber.quantized(xy, centre, half)
    assert half[0] == 1
    assert np.isnan(half[1])
    assert (whole[:, 0] == 0).all()
    assert (whole[:, 1] == scrubber.MISSING).all()


def test_a_checkpoint_without_points_leaves_the_scale_to_the_others() -> None:
    xy = positions(1)
    alone = scrubber.scaled(xy[1:])
    xy[0, 2, 5] = np.nan
    centre, half = scrubber.scaled(xy)
    np.testing.assert_array_equal(half[2], alone[1][2])
    np.testing.assert_array_equal(centre[2], alone[0][2])


def test_a_long_review_is_shown_by_its_beginning() -> None:
    assert scrubber.begins("one\n two") == "one two"
    assert len(scrubber.begins("word " * 100)) <= 100
    assert scrubber.begins("word " * 100).endswith("…")


def test_the_page_opens_without_a_network_and_no_text_can_close_its_script() -> None:
    hostile = {"texts": ["</script><script>alert(1)</script>"], "key": "pca"}
    page = scrubber.standalone(hostile, {"epoch": "<b>"}, "A & B", "How <to> read")
    assert "alert(1)</script>" not in page
    assert "A &amp; B" in page
    assert "How &lt;to&gt; read" in page
    assert not re.search(r"(src|href)=|url\(|@import|https?://(?!www\.w3\.org/2000/svg)", page)
    (inside,) = re.findall(r'<script type="application/json">(.*?)</script>', page)
    assert json.loads(inside) == {**hostile, "view": {"epoch": "<b>"}}
    assert "export default" not in page


@pytest.mark.parametrize("word", ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("])
def test_words_of_users_never_become_markup(word: str) -> None:
    assert word not in scrubber.SCRIPT


def test_the_shape_changes_only_with_the_elements() -> None:
    assert scrubber.shape(["a"], (3, 2)) == scrubber.shape(["a"], (3, 2))
    assert scrubber.shape(["a"], (3, 2)) != scrubber.shape(["b"], (3, 2))


@pytest.mark.parametrize("classes", [2, 3, 8])
def test_classes_differ_in_colour_and_in_shape(classes: int) -> None:
    found = scrubber.classes([f"word {c}" for c in range(classes)])
    assert len({one["colour"] for one in found}) == len({one["symbol"] for one in found}) == classes
    for one in found:
        assert re.fullmatch("#[0-9a-f]{6}", one["colour"])
        assert f"{one['symbol']}" in scrubber.SCRIPT


def test_values_have_colours_in_order() -> None:
    steps, at = scrubber.value_classes((3.0, 1.0, 5.0, 3.0))
    assert [one["word"] for one in steps] == ["1", "3", "5"] and at.tolist() == [1, 0, 2, 1]
    assert [one["colour"] for one in steps] == list(theme.VALUES)
    many, at = scrubber.value_classes(tuple(np.linspace(0, 9, 40).tolist()))
    assert len(many) == scrubber.STEPS and (np.diff(at) >= 0).all() and set(at) == set(range(scrubber.STEPS))
    assert many[0]["word"] == "0 to 1"
