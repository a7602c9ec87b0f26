"""The table, the picture and the words about models without their direction."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.analyses import ablation, steering
from backend.figures import ablation as figures
from tests.figures.conftest import Shown

Both = tuple[list[steering.Result], list[ablation.Result]]


@pytest.fixture(scope="module")
def both(shown: Shown) -> Both:
    pair, prompts = shown.study.checkpoints[:2], shown.study.prompts
    answers = [steering.recipe(steering.ablated(one, one, prompts, 8, 0), shown.lab) for one in pair]
    return answers, [ablation.recipe(ablation.query(shown.study, one, one, 8), shown.lab) for one in pair]


def test_a_row_says_before_after_interval_and_what_permuted_directions_do(both: Both):
    rows = figures.table(*both, ["base", "epoch 1"])
    answer, cost = both[0][1], both[1][1]
    assert rows[1]["model"] == "epoch 1"
    assert rows[1]["gap (logits)"].startswith(f"{answer.plain[0]:.2f} → {answer.measures.value[0, 0, 0]:.2f} (")
    null = answer.null[steering.MEASURES.index("balanced_accuracy"), :, 0, 0]
    assert rows[1]["balanced accuracy (%), permuted"] == f"{100 * null.min():.1f} to {100 * null.max():.1f}"
    assert rows[1]["neutral perplexity"].startswith(f"{cost.plain:.1f} → {cost.measures.value[0]:.1f} (")
    assert "neutral perplexity" not in figures.table(both[0], [None, None], ["base", "epoch 1"])[0]


def test_costs_are_drawn_over_those_of_permuted_directions(both: Both):
    null, real = figures.draw(both[1], ["<b>", "epoch 1"], 8).data
    np.testing.assert_allclose(real.y, [one.measures.value[1] for one in both[1]], rtol=1e-6)
    np.testing.assert_allclose(real.y + real.error_y.array, [one.measures.high[1] for one in both[1]], rtol=1e-6)
    assert len(null.y) == 40 and real.x[0] == "&lt;b&gt;"


def test_words(both: Both):
    said = figures.in_words(both[0][0], both[1][0], "base")
    assert said.startswith(f"Without its direction base keeps a gap of {both[0][0].measures.value[0, 0, 0]:.2f} of ")
    assert "nats per token" in said and "nats" not in figures.in_words(both[0][0], None, "base")
    both[0][0].measures.value.flags.writeable = False
    nothing = replace(both[0][0], measures=both[0][0].measures.map(lambda end: end * np.nan))
    assert "there is no direction to take out" in figures.in_words(nothing, None, "base")
    assert figures.table([nothing], [None], ["base"])[0]["gap (logits)"] == "no direction there"
