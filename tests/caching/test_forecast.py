"""When jobs end: shared parts once, one part at a time on the device."""

from __future__ import annotations

import pytest

from backend.caching.forecast import Part, ends, rest, union


def test_shared_parts_count_once():
    assert union([Part("a", 2.0), Part("b", 3.0), Part("a", 2.0)]) == 5.0
    assert isinstance(union([]), float)


def test_the_rest_of_a_job_are_its_last_parts():
    parts = [Part("a", 2.0), Part("b", 3.0)]
    assert rest(parts, 4.0) == [Part("a", 1.0), Part("b", 3.0)]
    assert rest(parts, 1.0) == [Part("b", 1.0)]
    assert rest(parts, 7.0) == [Part("a", 2.0), Part("b", 5.0)], "slower than expected"
    assert rest(parts, 0.0) == []


@pytest.mark.parametrize(("workers", "expected"), [(1, [4.0, 5.0, 8.0]), (2, [4.0, 1.0, 4.0])])
def test_jobs_run_side_by_side(workers: int, expected: list[float]):
    assert ends([[Part("a", 4.0)], [Part("b", 1.0)], [Part("c", 3.0)]], workers) == expected


def test_the_device_takes_one_part_at_a_time():
    assert ends([[Part("a", 4.0, True)], [Part("b", 1.0, True)]], 2) == [4.0, 5.0]


def test_a_job_waits_for_what_another_computes():
    assert ends([[Part("read", 4.0, True), Part("a", 1.0)], [Part("read", 4.0, True), Part("b", 2.0)]], 2) == [5.0, 6.0]
