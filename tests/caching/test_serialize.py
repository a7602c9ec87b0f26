"""Queries as canonical text and results as bytes: what counts, what comes back, and what is refused."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import save

from backend.caching.serialize import NOT_IN_KEY, ForeignEntry, canonical, decode, encode
from backend.stats.estimate import Estimate


@dataclass(frozen=True)
class Inner:
    digest: str
    label: str = field(default="", metadata=NOT_IN_KEY)


@dataclass(frozen=True)
class Query:
    value: Any = None
    inner: Inner = field(default_factory=lambda: Inner("a"))


@dataclass(frozen=True, eq=False)
class Result:
    value: Any = None
    more: Any = None


@dataclass(frozen=True, eq=False)
class Stranger:
    value: Any = None
    more: Any = None


class Colour(Enum):
    RED = 1


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
plain = st.recursive(scalars, lambda inside: st.lists(inside, max_size=3).map(tuple), max_leaves=8)
dtypes = (
    hnp.floating_dtypes(sizes=(16, 32, 64))
    | hnp.integer_dtypes()
    | hnp.unsigned_integer_dtypes()
    | hnp.boolean_dtypes()
)
arrays = hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))


def typed(value: Any) -> Any:
    """`value` so that 1, 1.0 and True differ, and 0.0 and -0.0."""
    return tuple(map(typed, value)) if isinstance(value, tuple) else (type(value).__name__, repr(value))


def test_canonical_by_hand():
    query = Query((1, 1.0, 0.1, True, None, "é"), Inner("abc", label="epoch 1"))
    assert canonical(query) == '{"inner":{"digest":"abc"},"value":[1,1.0,0.1,true,null,"\\u00e9"]}'


def test_a_field_that_is_not_in_the_key_does_not_count():
    assert canonical(Inner("a", "here")) == canonical(Inner("a", "there")) != canonical(Inner("b", "here"))


@given(plain, plain)
def test_two_queries_share_a_text_only_if_they_are_equal(one: Any, other: Any):
    assert (canonical(Query(one)) == canonical(Query(other))) == (typed(one) == typed(other))


@pytest.mark.parametrize(
    "value", [[1], {"a": 1}, {1}, np.zeros(2), np.float64(1), np.int64(1), b"a", Path("a"), Colour.RED, Inner, 1j]
)
def test_what_cannot_be_in_a_key_is_named(value: Any):
    with pytest.raises(TypeError, match=r"query\.value\[1\] is a .* cannot be part of a cache key"):
        canonical(Query((0, value)))


@given(arrays, plain)
def test_round_trip(array: np.ndarray, value: Any):
    back = decode(encode(Result(array, value)), Result)
    assert back.value.dtype == array.dtype.newbyteorder("=")
    assert back.value.shape == array.shape
    np.testing.assert_array_equal(back.value, array)
    assert not back.value.flags.writeable
    assert typed(back.more) == typed(value)


@given(hnp.arrays(np.float32, (4, 6)))
def test_a_strided_view_comes_back_as_itself(array: np.ndarray):
    for view in (array[::2, ::-1], array.T, array[:, 3], np.broadcast_to(array[0], (3, 6))):
        np.testing.assert_array_equal(decode(encode(Result(view)), Result).value, view)


def test_foreign_byte_order_becomes_the_machines():
    back = decode(encode(Result(np.array([1.5, -2.0], dtype=">f4"))), Result)
    assert back.value.tolist() == [1.5, -2.0]
    assert back.value.dtype == np.float32


def test_tuples_of_arrays_and_numpy_scalars():
    back = decode(
        encode(Result((np.arange(3), np.zeros((0, 2))), (np.float64(0.5), np.int64(3), np.bool_(True)))), Result
    )
    assert [one.tolist() for one in back.value] == [[0, 1, 2], []]
    assert typed(back.more) == typed((0.5, 3, True))


def test_nan_and_infinity_survive_as_scalars():
    back = decode(encode(Result(float("nan"), (float("inf"), float("-inf")))), Result)
    assert np.isnan(back.value)
    assert back.more == (float("inf"), float("-inf"))


def test_equal_results_give_equal_bytes():
    assert len({encode(Result(np.arange(5), (1, "a"))) for _ in range(5)}) == 1


@pytest.mark.parametrize(
    "value", [[1], {"a": 1}, b"raw", np.array(["text"]), np.array([object()]), np.array([1j]), Colour.RED, (1, [2])]
)
def test_what_cannot_be_kept_is_named(value: Any):
    with pytest.raises(TypeError, match=r"^value(\.1)? is an? .* the cache does not keep"):
        encode(Result(value))


@pytest.mark.parametrize("result", [3, "text", None, Result])
def test_only_a_dataclass_is_a_result(result: Any):
    with pytest.raises(TypeError, match="must be a dataclass"):
        encode(result)


def test_another_dataclass_is_foreign():
    with pytest.raises(ForeignEntry, match="Stranger"):
        decode(encode(Stranger(1, 2)), Result)


def test_other_fields_are_foreign():
    header = {"result": f"{__name__}.Result", "fields": {"value": 1}}
    with pytest.raises(ForeignEntry):
        decode(save({}, metadata={"header": json.dumps(header)}), Result)


@given(st.data())
def test_truncated_or_random_bytes_are_foreign(data: st.DataObject):
    whole = encode(Result(np.arange(6.0), "text"))
    damaged = data.draw(st.binary(max_size=64) | st.integers(0, len(whole) - 1).map(lambda end: whole[:end]))
    with pytest.raises(ForeignEntry):
        decode(damaged, Result)


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=8))
def test_overwritten_bytes_give_a_result_or_a_foreign_entry(start: int, patch: bytes):
    whole = encode(Result(np.arange(6.0), (1, "text")))
    start %= len(whole)
    damaged = whole[:start] + patch + whole[start + len(patch) :]
    with suppress(ForeignEntry):
        assert isinstance(decode(damaged, Result), Result)


@dataclass(frozen=True, eq=False)
class Nested:
    estimate: Estimate[np.ndarray]
    several: tuple[Estimate[float], ...] = ()
    maybe: Estimate[float] | None = None


def test_dataclasses_inside_results_survive():
    values = Estimate(np.arange(3.0), np.zeros(3), np.ones(3), np.full(3, 0.5))
    back = decode(encode(Nested(values, (Estimate(1.0, 0.0, float("nan")),), Estimate(2.0, 1.0, 3.0))), Nested)
    assert back.estimate.value.tolist() == [0, 1, 2] and back.estimate.chance is not None
    assert not back.estimate.low.flags.writeable
    assert back.several[0].value == 1 and np.isnan(back.several[0].high) and back.several[0].chance is None
    assert back.maybe is not None and back.maybe.ends == (2.0, 1.0, 3.0)
    assert decode(encode(Nested(values)), Nested).maybe is None


def test_only_dataclasses_of_the_annotation_are_made():
    data = encode(Nested(Estimate(np.zeros(1), np.zeros(1), np.zeros(1)))).replace(
        b"stats.estimate.Estimate", b"stats.estimate.Astimete"
    )
    with pytest.raises(ForeignEntry):
        decode(data, Nested)
    with pytest.raises(ForeignEntry):
        decode(encode(Result(Estimate(1.0, 0.0, 2.0))), Result)
