"""Swaps: which are made, what is measured, what costs no run twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.analyses import swaps
from backend.analyses.swaps import Query, frozen_prefix
from backend.derived.swap_logits import MODES, spans
from backend.errors import Cancelled, UndefinedError
from backend.lab.lab import Lab
from backend.lab.outputs import Swap
from backend.stats import metrics
from backend.stats.estimate import alone
from backend.study.pinned import PinnedStudy
from tests.analyses.conftest import LAYERS
from tests.fakes import FakeModels, run_seconds


def query(study: PinnedStudy, part: swaps.Part = "block", mode: swaps.Mode = "single") -> Query:
    return Query(study.base, study.checkpoints[-1], study.prompts, part, mode, draws=200)


def test_spans_by_hand():
    assert spans("block", "single", 3) == ((0, 0), (1, 1), (2, 2))
    assert spans("mlp", "up_to", 3) == ((0, 0), (0, 1), (0, 2))
    assert spans("attn", "from", 3) == ((0, 2), (1, 2), (2, 2))
    assert spans("block", "range", 3) == ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
    assert spans("head", "single", 3) == ((0, -1),)
    with pytest.raises(ValueError, match="A model has embed once"):
        spans("embed", "range", 3)


def test_every_number_is_that_of_the_swapped_models_logits(study: PinnedStudy, lab: Lab):
    result = swaps.recipe(query(study), lab)
    labels, classes = study.prompts.labels, study.prompts.classes
    plan = tuple(Swap("block", j, j) for j in range(LAYERS))
    swapped = lab.models.swaps(study.base, study.checkpoints[-1], plan, study.prompts, lab.progress)
    host, donor = (lab.readout(one, study.prompts).logits for one in (study.base, study.checkpoints[-1]))
    gaps = []
    for logits in (host, donor, *swapped):
        logit_diff = metrics.logit_diff(logits)
        parts = []
        for c in range(classes) if classes > 2 else [1]:
            own, rest = (
                logit_diff[labels == c, c if classes > 2 else 0],
                [logit_diff[labels == k, c if classes > 2 else 0].mean() for k in range(classes) if k != c],
            )
            parts.append(own.mean() - np.mean(rest))
        gaps.append(np.mean(parts))
    for j, logits in enumerate(swapped):
        predicted = logits.argmax(axis=1)
        accuracy = np.mean([np.mean(predicted[labels == c] == c) for c in range(classes)])
        before = np.mean([np.mean(host.argmax(axis=1)[labels == c] == c) for c in range(classes)])
        assert result.balanced_accuracy.value[j] == pytest.approx(accuracy)
        assert result.lost.value[j] == pytest.approx(before - accuracy)
        assert result.gap.value[j] == pytest.approx(gaps[2 + j])
        assert result.fraction_recovered.value[j] == pytest.approx((gaps[2 + j] - gaps[0]) / (gaps[1] - gaps[0]))
        np.testing.assert_allclose(result.mean_logit_diff[j], metrics.logit_diff(logits).mean(axis=0))
    for name in ("balanced_accuracy", "auc", "gap", "fraction_recovered", "lost"):
        value, low, high = getattr(result, name).ends
        assert (low <= value + 1e-12).all() and (value <= high + 1e-12).all(), name
    np.testing.assert_allclose(result.levels[:, 2], gaps[:2])
    assert list(result.first) == list(result.last) == [0, 1, 2, 3]


def test_the_way_back_recovers_too(study: PinnedStudy, lab: Lab):
    there = swaps.recipe(query(study, mode="up_to"), lab)
    back = swaps.recipe(replace(query(study, mode="up_to"), host=study.checkpoints[-1], donor=study.base), lab)
    assert there.fraction_recovered.value[-1] == pytest.approx(1)  # the fake's blocks hold everything
    assert back.fraction_recovered.value[-1] == pytest.approx(1)
    assert (np.diff(back.fraction_recovered.value) > 0).all()
    np.testing.assert_allclose(back.levels, there.levels[::-1])


def test_ranges_take_what_other_modes_have_found(study: PinnedStudy, lab: Lab, models: FakeModels, monkeypatch):
    plans: list[tuple[Swap, ...]] = []
    run = models.swaps

    def watched(host, donor, plan, prompts, *told):
        plans.append(plan)
        return run(host, donor, plan, prompts, *told)

    monkeypatch.setattr(models, "swaps", watched)
    singles = swaps.recipe(query(study), lab)
    ranges = swaps.recipe(query(study, mode="range"), lab)
    assert [len(plan) for plan in plans] == [4, 4, 4, 1]
    assert plans[-1] == (Swap("block", 1, 2),)
    every = run(
        study.base,
        study.checkpoints[-1],
        tuple(Swap("block", *s) for s in spans("block", "range", LAYERS)),
        study.prompts,
        lab.progress,
    )
    np.testing.assert_allclose(
        ranges.gap.value, [metrics.gap(metrics.logit_diff(one), study.prompts.labels) for one in every]
    )
    at = [spans("block", "range", LAYERS).index((j, j)) for j in range(LAYERS)]
    np.testing.assert_array_equal(ranges.balanced_accuracy.low[at], singles.balanced_accuracy.low)


@pytest.mark.parametrize(("part", "head", "norm"), [("head", 1, 0), ("final_norm", 0, 1)])
def test_head_and_final_norm_only_read_the_hosts_last_residual(study, lab, models, part, head, norm):
    pair = study.base, study.checkpoints[-1]
    last = lab.readout(study.base, study.prompts).residuals[:, -1]
    expected = models.label_logits(last, study.prompts.label_tokens, pair[head], pair[norm])
    result = swaps.recipe(query(study, part), lab)
    assert result.gap.value[0] == pytest.approx(metrics.gap(metrics.logit_diff(expected), study.prompts.labels))
    assert models.ran.count(study.base.fingerprint) == 1  # the readout, and no other run


def test_rows_have_the_contracts_columns(study: PinnedStudy, lab: Lab):
    of_class = [] if study.prompts.classes == 2 else ["class"]
    columns = ["host", "donor", "part", "mode", "first", "last", *of_class]
    for name in ("balanced_accuracy", "auc", "gap"):
        columns += [name, f"{name}_low", f"{name}_high"]
    columns += ["mean_logit_diff", "fraction_recovered", "fraction_recovered_low", "fraction_recovered_high"]
    counts: dict[swaps.Part, int] = {"block": LAYERS, "embed": 1}
    for part, count in counts.items():
        request = query(study, part)
        rows = list(swaps.recipe(request, lab).rows(request))
        assert all(list(row) == columns for row in rows)
        assert len(rows) == count * (1 if study.prompts.classes == 2 else study.prompts.classes)
        assert (rows[0]["host"], rows[0]["donor"], rows[0]["part"], rows[0]["mode"]) == (
            "base",
            "epoch 2",
            part,
            "single",
        )
        assert rows[-1]["last"] == (LAYERS - 1 if part == "block" else None)


def test_nothing_to_recover_is_an_empty_cell(study: PinnedStudy, lab: Lab):
    request = replace(query(study), donor=study.base)
    result = swaps.recipe(request, lab)
    assert np.isnan(result.fraction_recovered.value).all()
    assert next(iter(result.rows(request)))["fraction_recovered"] is None
    np.testing.assert_array_equal(result.lost.value, 0)


def test_the_deepest_prefix_that_costs_at_most_a_point(study: PinnedStudy, lab: Lab):
    result = swaps.recipe(query(study, mode="up_to"), lab)
    assert frozen_prefix(replace(result, lost=alone(np.array([0.0, 0.03, 0.01, 0.2])))) == 2
    assert frozen_prefix(replace(result, lost=alone(np.array([0.02, 0.03, 0.05, 0.2])))) is None
    assert frozen_prefix(replace(result, lost=alone(np.array([-0.1, 0.0, 0.0, 0.0])))) == 3
    assert frozen_prefix(replace(result, lost=alone(np.array([0.0, 0.005, 0.2, 0.3]))), spent=0.0) == 0


def test_resampling_reports_progress_and_can_be_cancelled(study: PinnedStudy, lab: Lab):
    reports: list[str] = []

    def listen(fraction: float, sentence: str) -> None:
        reports.append(sentence)
        if "Resampling swap 3" in sentence:
            raise Cancelled("no longer wanted")

    with pytest.raises(Cancelled):
        swaps.recipe(query(study), lab.watched(listen))
    assert [one for one in reports if "Resampling" in one][:2] == [
        "Resampling swap 1 of 4, 200 times.",
        "Resampling swap 2 of 4, 200 times.",
    ]


@pytest.mark.parametrize("mode", MODES)
def test_curves_of_the_reviews_that_are_done_are_there_before_the_last(study, lab, mode):
    request = query(study, mode=mode)
    seen: list[tuple[swaps.Result, int]] = []

    def look(_fraction: float, _sentence: str) -> None:
        results = swaps.under_way(request, lab)
        seen.extend([results] if results else [])

    assert swaps.under_way(request, lab) is None
    result = swaps.recipe(request, lab.watched(look))
    assert swaps.under_way(request, lab) is None
    reviews = len(study.prompts.labels)
    assert {done for _, done in seen} == {(reviews + 1) // 2, reviews}
    part, whole = seen[0][0], seen[-1][0]
    np.testing.assert_array_equal(part.last, result.last)
    labels, spans_there = study.prompts.labels[::2], result.first
    assert len(part.gap.value) == len(spans_there)
    readout = lab.readout(study.base, study.prompts)
    assert part.levels[0, 2] == pytest.approx(metrics.gap(metrics.logit_diff(readout.logits[::2]), labels))
    for name in ("balanced_accuracy", "auc", "gap", "fraction_recovered", "lost"):
        np.testing.assert_allclose(getattr(whole, name).value, getattr(result, name).value, atol=1e-6)
        assert np.isnan(getattr(whole, name).low).all()
    assert not np.allclose(part.gap.value, whole.gap.value)


def test_losses_have_rows_of_their_own(study: PinnedStudy, lab: Lab):
    request = query(study, mode="up_to")
    result = swaps.recipe(request, lab)
    rows = list(result.losses(request))
    assert [(row["first"], row["last"]) for row in rows] == [(0, block) for block in range(LAYERS)]
    np.testing.assert_array_equal([row["lost_high"] for row in rows], result.lost.high)


def test_queries_are_base_and_last_both_ways(study: PinnedStudy):
    queries = swaps.queries(study)
    assert {(q.host.label, q.donor.label) for q in queries} == {("base", "epoch 2"), ("epoch 2", "base")}
    by_part = [(q.part, q.mode) for q in queries if q.host.label == "base"]
    singles = [(part, "single") for part in ("attn", "mlp", "embed", "final_norm", "head")]
    assert by_part == [*(("block", mode) for mode in MODES), *singles]
    alone = replace(study, checkpoints=study.checkpoints[:1])
    assert swaps.queries(alone) == []


def as_encoder(study: PinnedStudy, headless_base: bool) -> PinnedStudy:
    kinds = [
        replace(one, facts=replace(one.facts, kind="encoder", has_head=bool(i) or not headless_base))
        for i, one in enumerate(study.checkpoints)
    ]
    return replace(study, checkpoints=tuple(kinds))


def test_an_encoder_is_asked_for_what_it_has(study: PinnedStudy, lab: Lab):
    encoders = as_encoder(study, headless_base=False)
    queries = swaps.queries(encoders)
    singles = [(part, "single") for part in ("attn", "mlp", "embed", "head")]
    assert [(q.part, q.mode) for q in queries if q.host.label == "base"] == [
        *(("block", mode) for mode in MODES),
        *singles,
    ]
    with pytest.raises(UndefinedError, match="normalizes inside its blocks, so there is no final norm"):
        swaps.recipe(query(encoders, "final_norm"), lab)
    pair = encoders.base, encoders.checkpoints[-1]
    last = lab.readout(pair[0], study.prompts).residuals[:, -1]
    expected = lab.models.label_logits(last, study.prompts.label_tokens, pair[1], None, lab.progress)
    result = swaps.recipe(query(encoders, "head"), lab)
    assert result.gap.value[0] == pytest.approx(metrics.gap(metrics.logit_diff(expected), study.prompts.labels))


def test_a_host_without_a_head_says_so_and_such_a_donor_has_nothing_to_recover(study: PinnedStudy, lab: Lab):
    encoders = as_encoder(study, headless_base=True)
    assert {(q.host.label, q.part) for q in swaps.queries(encoders)} == {
        ("epoch 2", part) for part in ("block", "attn", "mlp", "embed")
    }
    with pytest.raises(UndefinedError, match="base is an encoder without a classification head"):
        swaps.recipe(query(encoders), lab)
    back = replace(query(encoders, "head"), host=encoders.checkpoints[-1], donor=encoders.base)
    with pytest.raises(UndefinedError, match="no head to take from it"):
        swaps.recipe(back, lab)
    host = lab.readout(encoders.checkpoints[-1], study.prompts).logits
    result = swaps.swaps(0.5 * host[None], host, np.full_like(host, np.nan), study.prompts.labels, ((0, 0),), 20)
    assert np.isnan(result.levels[1]).all() and np.isnan(result.fraction_recovered.value).all()
    assert result.gap.value[0] == pytest.approx(metrics.gap(metrics.logit_diff(0.5 * host), study.prompts.labels))


def test_the_cost_of_swaps(study: PinnedStudy, lab: Lab):
    tokens = int(study.prompts.lengths.sum())
    one = run_seconds(lab, study.base, tokens)
    many = lab.models.reading(study.base, int(0.35 * LAYERS * tokens))
    assert lab.seconds(query(study)) == pytest.approx(2 * one + many, rel=0.1)


def test_a_class_without_reviews_is_an_error(study: PinnedStudy):
    logits = np.zeros((6, study.prompts.classes), dtype=np.float32)
    with pytest.raises(UndefinedError, match="needs texts"):
        swaps.swaps(logits[None], logits, logits, np.zeros(6, dtype=np.int64), ((0, 0),), 10)


def test_nothing_is_said_before_a_review_of_every_class_is_done(study, lab, monkeypatch: pytest.MonkeyPatch):
    request = query(study)
    swaps.recipe(request, lab)
    labels = study.prompts.labels
    for done, says in ((np.flatnonzero(labels == 0), False), (np.arange(len(labels)), True)):
        logits = np.random.default_rng(0).normal(size=(4, len(done), study.prompts.classes)).astype(np.float32)
        monkeypatch.setattr(swaps, "logits_so_far", lambda *_, partial=(done, logits): partial)
        assert (swaps.under_way(request, lab) is not None) is says
