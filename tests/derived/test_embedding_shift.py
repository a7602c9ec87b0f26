"""How far rows moved: by hand, and what must not change it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.derived import embedding_shift


def test_by_hand() -> None:
    before = np.array([[3.0, 4.0], [1.0, 0.0], [0.0, 2.0], [0.0, 0.0]], dtype=np.float32)
    after = np.array([[6.0, 8.0], [0.0, 1.0], [0.0, -2.0], [1.0, 1.0], [9.0, 9.0]], dtype=np.float32)
    found = embedding_shift.moved(before, after)
    np.testing.assert_allclose(found.l2, [5.0, np.sqrt(2), 4.0, np.sqrt(2)])
    np.testing.assert_allclose(found.cosine_distance, [0.0, 1.0, 2.0, np.nan], atol=1e-15)
    mean = np.array([(3 - 1 + 0 + 1) / 4, (4 + 1 - 4 + 1) / 4])
    np.testing.assert_allclose(found.l2_centred[0], np.hypot(*(np.array([3.0, 4.0]) - mean)))
    assert found.common == pytest.approx(np.hypot(*mean))


@given(st.integers(0, 2**32 - 1))
def test_a_common_drift_is_no_centred_shift(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, drift = rng.normal(size=(30, 5)), rng.normal(size=5)
    found = embedding_shift.moved(rows, rows + drift)
    np.testing.assert_allclose(found.l2, np.linalg.norm(drift))
    np.testing.assert_allclose(found.l2_centred, 0, atol=1e-12)
    turned = embedding_shift.moved(rows, 3 * rows)
    np.testing.assert_allclose(turned.cosine_distance, 0, atol=1e-15)
    assert (found.cosine_distance <= 2 + 1e-12).all()


def test_chunks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    before, after = rng.normal(size=(2, 23, 4)).astype(np.float32)
    whole = embedding_shift.moved(before, after)
    monkeypatch.setattr(embedding_shift, "CHUNK", 5)
    for name, value in vars(embedding_shift.moved(before, after)).items():
        np.testing.assert_allclose(value, getattr(whole, name), rtol=1e-12)


def test_a_tiny_turn_keeps_its_digits() -> None:
    before = np.array([[1.0, 0.0]], dtype=np.float32)
    after = np.array([[1.0, 1e-6]], dtype=np.float32)
    assert embedding_shift.moved(before, after).cosine_distance[0] == pytest.approx(0.5e-12, rel=1e-6)
