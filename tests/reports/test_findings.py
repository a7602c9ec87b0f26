"""Findings: said where the truth is known and the numbers support it, and not said where they do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.analyses import accuracy, confounds, swaps
from backend.reports import findings
from backend.reports.evidence import Finding, accuracy_requests
from backend.stats.estimate import Estimate
from backend.stats.splits import half_splits
from backend.study.comparison import Comparison, compared
from backend.study.pinned import PinnedStudy
from backend.study.token_ids import Prompts
from tests.fake_readouts import fake_residuals
from tests.fakes import FakeModels, fake_lab, fake_study
from tests.reports.conftest import case_of, said

NAN = float("nan")


def answers(case: Comparison, shares: Sequence[Sequence[float]], seed: int = 0) -> list[accuracy.Result]:
    """Accuracy of checkpoints that answer each class right with these probabilities, by common luck."""
    rng = np.random.default_rng(seed)
    labels, classes = case.study.prompts.labels, case.study.prompts.classes
    luck, wrong = rng.random(len(labels)), rng.integers(1, classes, len(labels))
    found = []
    for share in shares:
        chosen = np.where(luck < np.array(share)[labels], labels, (labels + wrong) % classes)
        found.append(accuracy.accuracy(np.eye(classes)[chosen] + 0.01 * rng.random((len(labels), 1)), labels, draws=2))
    return found


def card(case: Comparison, results: Sequence[accuracy.Result], **more: Any) -> confounds.Result:
    """A sample card on which nothing stands out but what is asked for; the best checkpoint is that of the results."""
    labels, classes = case.study.prompts.labels, case.study.prompts.classes
    chosen = confounds.choose(np.stack([one.prediction for one in results]), labels, classes)
    values: dict[str, Any] = {
        name: np.zeros(0) if "ndarray" in str(kind) else 0
        for name, kind in confounds.Result.__annotations__.items()
        if name not in ("quartile_accuracy", "held_half_accuracy")
    }
    nothing = np.zeros((len(results), 4))
    values |= {
        "quartile_accuracy": Estimate(nothing, nothing, nothing),
        "length_auc": Estimate(0.52, 0.45, 0.59),
        "truncated_share": 0.0,
        "naive_best_accuracy": chosen.naive_accuracy,
        "best_on_half": chosen.chosen,
        "best_on_half_accuracy": chosen.chosen_accuracy,
        "held_half_accuracy": chosen.held,
        "training_note": "",
        "quartile_edges": np.zeros(5),
        "quartile_n": np.zeros(4, dtype=np.int64),
        "in_training_indices": np.zeros(0, dtype=np.int64),
        "rating_indices": np.zeros(0, dtype=np.int64),
        "review_cosine": np.zeros((len(results), 2)),
        "text_free": np.zeros((len(results), 2), dtype=bool),
    }
    return confounds.Result(**values | more)


def best(case: Comparison, shares: Sequence[Sequence[float]], seed: int = 0) -> Finding | None:
    found = answers(case, shares, seed)
    return said(findings.best_checkpoint, case, [card(case, found), *found])


# The best checkpoint


def test_a_better_checkpoint_is_named_with_its_gain_on_the_other_half() -> None:
    case = case_of()
    shares = [(0.5, 0.5), (0.6, 0.6), (0.9, 0.9), (0.7, 0.7)]
    finding = best(case, shares)
    assert finding is not None
    assert finding.sentence.startswith("Epoch 2, chosen on half of the texts, answers ")
    assert "more than base" in finding.sentence
    assert finding.keys == {"epoch": "epoch 2", "show": "sample"}
    labels = case.study.prompts.labels
    held = ~half_splits(labels, 2, 1, 0)[0]
    found = answers(case, shares)
    expected = [np.mean([(one.prediction == labels)[held & (labels == c)].mean() for c in (0, 1)]) for one in found]
    assert finding.value == pytest.approx(expected[2] - expected[0])
    assert f"{100 * expected[2]:.1f} %" in finding.sentence
    assert f"{100 * finding.value:.1f} points more" in finding.sentence
    assert finding.low is not None and finding.high is not None
    assert 0 < finding.low < finding.value < finding.high
    assert f"({100 * finding.low:.1f} to {100 * finding.high:.1f})" in finding.sentence


def test_any_checkpoint_can_be_the_reference() -> None:
    shares = [(0.5, 0.5), (0.6, 0.6), (0.95, 0.95), (0.7, 0.7)]
    finding = best(case_of(reference="epoch 3"), shares)
    assert finding is not None
    assert "more than epoch 3" in finding.sentence
    assert best(case_of(reference="epoch 2"), shares) is None, "nothing is better than itself"


def test_nothing_is_better_than_a_reference_without_a_head() -> None:
    case = case_of()
    headless = replace(case.study.base, facts=replace(case.study.base.facts, kind="encoder", has_head=False))
    study = replace(case.study, checkpoints=(headless, *case.study.checkpoints[1:]))
    shares = [(0.0, 0.0), (0.9, 0.9), (0.5, 0.5), (0.5, 0.5)]
    assert best(case, shares) is not None
    assert best(compared(study, headless), shares) is None


def test_checkpoints_that_are_alike_are_hardly_ever_called_better() -> None:
    """Equal in truth and apart by luck; the choice among four must not flatter."""
    case, rng = case_of(reviews=100), np.random.default_rng(1)
    labels = case.study.prompts.labels
    named = 0
    for _ in range(60):
        found = []
        for _ in case.names:
            logits = rng.normal(size=(len(labels), 2))
            found.append(accuracy.accuracy(logits, labels, draws=2))
        named += said(findings.best_checkpoint, case, [card(case, found), *found]) is not None
    assert named <= 5, "2.5 % of studies, with room for luck"


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.floats(0.3, 0.9), st.floats(0.0, 0.6))
def test_whatever_is_said_is_above_zero_and_inside_its_interval(seed: int, share: float, gain: float) -> None:
    finding = best(case_of(reviews=60), [(share,) * 2, (share,) * 2, (share,) * 2, (min(1.0, share + gain),) * 2], seed)
    if finding is not None:
        assert finding.low is not None and finding.high is not None
        assert 0 < finding.low <= finding.value <= finding.high <= 1


def test_a_class_too_small_to_be_halved() -> None:
    case = case_of()
    found = answers(case, [(0.1, 0.1), (0.9, 0.9), (0.9, 0.9), (0.9, 0.9)])
    assert said(findings.best_checkpoint, case, [card(case, found, best_on_half=-1), *found]) is None


# Confounds


@pytest.mark.parametrize(("low", "high", "says"), [(0.45, 0.6, False), (0.51, 0.7, True), (0.2, 0.49, True)])
def test_length_that_gives_the_class_away_is_a_warning(low: float, high: float, says: bool) -> None:
    case = case_of()
    middle = (low + high) / 2
    found = card(case, answers(case, [(0.5, 0.5)] * 4), length_auc=Estimate(middle, low, high))
    finding = said(findings.length, case, [found])
    assert (finding is not None) == says
    if finding:
        assert finding.warning
        assert f"{middle:.2f} ({low:.2f} to {high:.2f}" in finding.sentence


@pytest.mark.parametrize(("count", "says"), [(-1, False), (0, False), (3, True)])
def test_reviews_that_were_trained_on_are_a_warning(count: int, says: bool) -> None:
    case = case_of()
    finding = said(findings.seen_in_training, case, [card(case, answers(case, [(0.5, 0.5)] * 4), in_training=count)])
    assert (finding is not None) == says
    if finding:
        assert finding.sentence.startswith("3 of the 200 texts also occur in the training data")


def test_recalls_that_lie_far_apart_are_a_warning() -> None:
    case = case_of()
    finding = said(findings.leaning, case, answers(case, [(0.5, 0.5), (0.5, 0.5), (0.5, 0.5), (0.98, 0.3)]))
    assert finding is not None
    assert finding.warning
    assert finding.sentence.startswith("Epoch 3 answers 9")
    assert "of the negative texts correctly" in finding.sentence
    assert finding.low is not None and finding.low < finding.value < (finding.high or 0)
    of_base = said(findings.leaning, case, answers(case, [(0.1, 0.95), (0.5, 0.5), (0.98, 0.3), (0.9, 0.9)]))
    assert of_base is not None
    assert of_base.sentence.startswith("Base answers ")


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_equal_recalls_are_hardly_ever_called_unequal(classes: int) -> None:
    """With five classes of twelve reviews some two recalls are always far apart."""
    case = case_of(classes=classes, reviews=60, epochs=0)
    named = sum(said(findings.leaning, case, answers(case, [(0.6,) * classes], seed)) is not None for seed in range(80))
    assert named <= 8


def test_what_takes_runs_of_its_own_is_said_only_where_it_is_known(tmp_path: Path) -> None:
    lab = fake_lab(tmp_path, FakeModels(layers=4, width=12))
    study = fake_study(reviews=120)
    asked: list[Any] = []

    def ask(wanted: Sequence[Any]) -> list[Any]:
        asked.extend(request.recipe for request in wanted)
        return [request(lab) for request in wanted]

    found = findings.find(compared(study, study.base), ask, lambda _: None)
    assert found is not None
    assert swaps.recipe not in asked
    assert not any(one.page == "swaps" for one in found)


# All of them


def everything(study: PinnedStudy, folder: Path, models: FakeModels, reference: str = "base") -> tuple[Finding, ...]:
    lab = fake_lab(folder, models)
    case = compared(study, study.checkpoint(reference))

    def ask(wanted: Sequence[Any]) -> list[Any]:
        return [request(lab) for request in wanted]

    found = findings.find(case, ask, ask)
    assert found is not None
    return found


@pytest.mark.parametrize("reference", ["base", "epoch 2", "epoch 3"])
def test_a_study_with_signal_has_findings_that_lead_somewhere(tmp_path: Path, reference: str) -> None:
    study = fake_study(reviews=120)
    found = everything(study, tmp_path, FakeModels(layers=4, width=12), reference)
    assert 1 <= len(found) <= findings.MOST
    assert any("further apart than chance" in one.sentence for one in found)
    for one in found:
        assert one.page in ("", "layers", "swaps")
        assert one.keys.get("epoch", "base") in [checkpoint.label for checkpoint in study.checkpoints]
        assert "nan" not in one.sentence
        assert one.sentence.endswith(".")


def test_a_study_without_signal_has_none_about_classes(tmp_path: Path) -> None:
    def noise(epoch: int, prompts: Prompts, layers: int, width: int) -> np.ndarray:
        signal = fake_residuals(epoch, prompts, layers, width)
        return np.random.default_rng(epoch).normal(size=signal.shape).astype(np.float32)

    found = everything(fake_study(reviews=120), tmp_path, FakeModels(layers=4, width=12, residuals=noise))
    assert not [one for one in found if "apart than chance" in one.sentence or "direction" in one.keys.get("show", "")]


def test_each_result_is_asked_for_once_and_none_means_wait() -> None:
    asked: list[Any] = []

    def not_yet(wanted: Sequence[Any]) -> None:
        asked.extend(wanted)

    assert findings.find(case_of(), not_yet, not_yet) is None
    assert len({request.key for request in asked}) == len(asked) == 1 + 4 + 4 + 1 + 1


def test_answers_the_wrong_way_round_are_a_warning() -> None:
    case = case_of(reviews=120)
    right = answers(case, [(0.5, 0.5), (0.8, 0.8), (0.9, 0.9), (0.9, 0.9)])
    wrong = answers(case, [(0.5, 0.5), (0.8, 0.8), (0.9, 0.9), (0.05, 0.05)])
    for results, expected in ((right, ""), (wrong, "Epoch 3")):
        asked = findings.reversed_classes(case)
        assert next(asked) == accuracy_requests(case)
        with pytest.raises(StopIteration) as end:
            asked.send(results)
        found = end.value.value
        assert (found is None) == (not expected)
        if found is not None:
            assert found.warning and found.high is not None and found.high < 0.5
            assert found.sentence.startswith(f"{expected} orders the texts the wrong way round")
