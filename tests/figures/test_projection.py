"""Small multiples: all checkpoints' points on one scale per layer, arrows between the class means, words for panels."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from backend.analyses import projection
from backend.figures import projection as figures
from tests.figures.conftest import Shown


@pytest.fixture
def results(shown: Shown) -> list[projection.Result]:
    queries = projection.of_all(shown.study, shown.study.base, "shared")
    return [projection.recipe(query, shown.lab) for query in queries]


def packed(shown: Shown, results: list[projection.Result | None]) -> dict:
    sample = shown.study.sample
    labels = shown.study.prompts.labels
    return figures.pack(results, shown.names, shown.names, labels, sample.text, sample.index.tolist(), shown.words)


def whole(text: str, *shape: int) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype="<i2").reshape(*shape).astype(np.float64)


def units(numbers: np.ndarray, data: dict, layer: int) -> np.ndarray:
    """Residual units of packed positions of a layer."""
    return np.array(data["centre"][layer]) + numbers / 32767 * data["half"][layer]


def test_every_review_is_where_it_was_projected(shown: Shown, results: list[projection.Result]):
    data = packed(shown, [*results])
    checkpoints, layers, reviews = len(results), *results[0].xy.shape[:2]
    xy = whole(data["xy"], checkpoints, layers, reviews, 2)
    assert (xy[:, 0] == -32768).all(), "the first layer holds no text"
    for layer in range(1, layers):
        expected = np.stack([result.xy[layer] for result in results])
        np.testing.assert_allclose(units(xy[:, layer], data, layer), expected, atol=1e-4 * data["half"][layer])
    assert data["labels"] == shown.study.prompts.labels.tolist()
    assert data["index"] == shown.study.sample.index.tolist()
    assert len(data["texts"]) == reviews


def test_arrows_lead_from_class_mean_to_class_mean(shown: Shown, results: list[projection.Result]):
    data, labels, classes = packed(shown, [*results]), shown.study.prompts.labels, len(shown.words)
    layers, directions = results[0].arrow.shape[:2]
    arrows = whole(data["arrows"], len(results), layers, directions, 2, 2)
    for k, result in enumerate(results):
        means = np.stack([result.xy[12, labels == c].mean(axis=0) for c in range(classes)])
        tail, head = units(arrows[k, 12], data, 12).swapaxes(0, 1)
        if classes == 2:
            np.testing.assert_allclose([tail[0], head[0]], means, atol=1e-3)
        else:
            others = np.stack([np.delete(means, c, axis=0).mean(axis=0) for c in range(classes)])
            np.testing.assert_allclose(head, means, atol=1e-3)
            np.testing.assert_allclose(tail, others, atol=1e-3)


def test_panels_have_the_explained_variance_and_the_distance_of_the_class_means(
    shown: Shown, results: list[projection.Result]
):
    data = packed(shown, [*results])
    assert data["shares"][0][0] == [None, None]
    np.testing.assert_allclose(data["shares"][2][12], results[2].explained[12], rtol=1e-3)
    np.testing.assert_allclose(data["apart"][2][12], np.linalg.norm(results[2].arrow[12], axis=1), rtol=1e-5)
    assert len(data["directions"]) == len(results[0].arrow[0])


def test_what_is_still_computed_is_left_out_until_it_is_there(shown: Shown, results: list[projection.Result]):
    data = packed(shown, [results[0], None, results[2]])
    assert data["there"] == [0, 2]
    assert data["names"] == shown.names
    assert data["shape"] == packed(shown, [*results])["shape"], "the elements stay when the rest arrives"
    assert len(base64.b64decode(data["xy"])) == 2 * results[0].xy.size * 2


def test_the_data_are_compact_and_the_same_when_asked_again(shown: Shown, results: list[projection.Result]):
    one, two = (json.dumps(packed(shown, [*results])) for _ in range(2))
    assert one == two
    points = sum(result.xy.size // 2 for result in results)
    assert len(packed(shown, [*results])["xy"]) <= 4 * points * 4 / 3 + 4


def test_the_guide_warns_that_places_between_checkpoints_are_drawn():
    assert "not measured" in figures.guide(2).more
    assert figures.guide(3).more != figures.guide(2).more
