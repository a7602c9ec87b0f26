"""Analyses that ask nothing of a study: each names its reason, and no reason is given where there are queries."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from backend.analyses import discover
from backend.reports.export import Viewpoint, without_values
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.facts import Facts
from backend.study.kinds import Kind
from backend.study.pinned import PinnedStudy
from tests.fakes import FakeModels, fake_study


def of(study: PinnedStudy, **changes: object) -> PinnedStudy:
    """The study with other facts of all its checkpoints."""

    def changed(one: PinnedCheckpoint) -> PinnedCheckpoint:
        facts: Facts = replace(one.facts, **changes)
        return replace(one, facts=facts)

    return replace(study, checkpoints=tuple(map(changed, study.checkpoints)))


def reasons(study: PinnedStudy, reference: str = "base") -> dict[str, str]:
    """By analysis without queries: the reason."""
    analyses = list(discover().values())
    lines = [line.removeprefix("left out ").partition(": ") for line in without_values(study, analyses, Viewpoint())]
    named = {name: reason for names, _, reason in lines for name in names.split(", ")}
    assert named.keys() == {one.name for one in analyses if not one.queries(study, reference)}
    return named


@pytest.fixture
def study() -> PinnedStudy:
    return fake_study(epochs=2, models=FakeModels(layers=4, width=12))


def test_without_an_adapter_merging_says_so(study: PinnedStudy):
    said = "This compares an adapter with its merged weights, and no checkpoint of this study is an adapter."
    assert reasons(study)["merging"] == said
    assert "merging" not in reasons(of(study, adapter=True))


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_kind_of_study_names_its_reasons(kind: Kind):
    found = reasons(fake_study(epochs=2, models=FakeModels(layers=4, width=12), kind=kind))
    assert not any("undefined for the models" in reason for reason in found.values()), found
    assert all(reason.endswith(".") and len(reason.split()) <= 40 for reason in found.values())


def test_models_without_next_tokens_or_heads_are_named(study: PinnedStudy):
    found = reasons(of(study, kind="encoder", answers=2))
    for name in ("ablation", "logit_differences", "output_space", "unembedding"):
        assert found[name] == "This needs next tokens, and base predicts none; use a causal language model."
    assert "sum over parts" in found["attribution"]
    bare = reasons(of(study, has_head=False))
    for name in ("accuracy", "calibration", "probes", "steering", "scaling", "side_effects"):
        assert "no checkpoint has a head" in bare[name]
    assert not any("undefined for the models" in reason for reason in (*found.values(), *bare.values()))


def test_a_base_alone_and_too_few_texts(study: PinnedStudy):
    alone = reasons(replace(study, checkpoints=study.checkpoints[:1]))
    for name in ("weights", "swaps", "similarity", "trajectory", "scaling", "token_shift"):
        assert alone[name] == "This compares checkpoints of one training, and base is the only one."
    assert not any("undefined for the models" in reason for reason in alone.values())
    few = reasons(fake_study(epochs=1, reviews=6, models=FakeModels(layers=4, width=12)))
    assert "A linear probe needs 4 different texts of each class and one has 3" in few["linear_probes"]
