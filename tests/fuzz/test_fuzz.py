"""A seeded sample of the fuzzing that `make fuzz` does at length: broken input gets a sentence, never a traceback."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from tests.fuzz import addresses
from tests.fuzz.targets import PATIENT, targets, tried

NAMES = ("study files", "data files", "configs", "headers", "typed names")
BRIEFLY = settings(max_examples=150, deadline=None, database=None, suppress_health_check=PATIENT)


@pytest.mark.parametrize("name", NAMES)
def test_broken_input_gets_a_sentence(name: str, tmp_path: Path):
    target, results = targets(tmp_path)[name], Counter[str]()

    @seed(0)
    @BRIEFLY
    @given(target.cases)
    def fuzz(case: Any) -> None:
        results[tried(target, case)] += 1

    fuzz()
    assert results.total() >= 150
    assert name == "typed names" or len(results) >= 2, "some of it must be read, and some refused"


def test_every_target_is_tried(tmp_path: Path):
    assert tuple(targets(tmp_path)) == NAMES


def test_any_address_opens():
    @seed(0)
    @settings(BRIEFLY, max_examples=40)
    @given(st.one_of(addresses.CASES))
    def fuzz(case: dict[str, str]) -> None:
        addresses.run(case)

    fuzz()
