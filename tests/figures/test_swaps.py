"""Curves, triangle, table and the sentences about swaps."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.analyses import swaps
from backend.figures import swaps as figures
from backend.figures.style import theme
from backend.stats.estimate import Estimate, alone, undefined
from tests.figures.conftest import Shown


def result(shown: Shown, part: swaps.Part = "block", mode: swaps.Mode = "single", back: bool = False) -> swaps.Result:
    host, donor = shown.study.base, shown.study.checkpoints[-1]
    if back:
        host, donor = donor, host
    return swaps.recipe(swaps.Query(host, donor, shown.study.prompts, part, mode, draws=50), shown.lab)


@pytest.mark.parametrize("measure", figures.SHOWN)
def test_a_curve_stands_between_host_and_donor(shown: Shown, measure: figures.Measure):
    single = result(shown)
    picture = figures.curves({"single": single}, "block", measure, "base", "epoch 2")
    band, curve, host, donor = picture.data
    scale = 100 if measure == "balanced_accuracy" else 1
    np.testing.assert_allclose(curve.y, scale * getattr(single, measure).value, rtol=1e-5)
    np.testing.assert_allclose(curve.customdata[:, 1], scale * getattr(single, measure).high, rtol=1e-5)
    assert band.fill == "toself"
    assert list(curve.x) == list(range(12))
    assert (host.name, donor.name) == ("host as it is: base", "donor as it is: epoch 2")
    ends = (0, 1) if measure == "fraction_recovered" else scale * single.levels[:, swaps.MEASURES.index(measure)]
    np.testing.assert_allclose([host.y[0], donor.y[0]], ends)
    assert picture.layout.yaxis.title.text == figures.UNITS[measure]


def test_cumulative_curves_run_over_the_block_that_moves(shown: Shown):
    both = {"up_to": result(shown, mode="up_to"), "from": result(shown, mode="from")}
    curves = [
        trace for trace in figures.curves(both, "block", "fraction_recovered", "base", "epoch 2").data if trace.name
    ]
    assert [trace.name for trace in curves[:2]] == ["blocks 0 to b", "blocks b to the last"]
    assert curves[0].y[-1] == pytest.approx(1) == curves[1].y[0]
    assert list(curves[1].x) == list(range(12))
    attention = figures.curves({"single": result(shown, "attn")}, "attn", "gap", "base", "epoch 2")
    assert attention.data[1].name == "attention of block b alone"


@pytest.mark.parametrize("back", [False, True])
def test_the_triangle_holds_every_range_at_its_ends(shown: Shown, back: bool):
    ranges = result(shown, mode="range", back=back)
    heat = figures.triangle(ranges, "block", "gap", "base", "epoch 2").data[0]
    for first, last, gap in zip(ranges.first, ranges.last, ranges.gap.value, strict=True):
        assert heat.z[last][first] == pytest.approx(gap, abs=6e-5)
    assert sum(value is not None for row in heat.z for value in row) == 78
    assert heat.z[0][1] is None
    host, donor = ranges.levels[:, swaps.MEASURES.index("gap")]
    towards = heat.colorscale if donor > host else heat.colorscale[::-1]
    assert towards[-1][1] == theme.PAIR[0]  # violet is like the donor, olive like the host
    assert heat.zmin <= min(host, donor) < max(host, donor) <= heat.zmax


def test_an_undefined_share_is_an_empty_cell(shown: Shown):
    single = result(shown)
    nothing = replace(single, fraction_recovered=undefined(12))
    picture = figures.curves({"single": nothing}, "block", "fraction_recovered", "base", "epoch 2")
    assert np.isnan(picture.data[0].y).all()


def test_advice_names_prefix_loss_and_interval(shown: Shown):
    up_to = result(shown, mode="up_to", back=True)
    lost = np.array([0.0, 0.0, 0.01, 0.02, 0.008, *[0.3] * 7])
    sure = replace(up_to, lost=Estimate(lost, lost - 0.02, lost + 0.001))
    said = figures.advice(sure, "epoch 2", "base")
    assert said == (
        "Blocks 0 to 4 of epoch 2 can be put back to base at a loss of 0.8 points of balanced accuracy (-1.2 to 0.9): "
        "the upper 7 of 12 blocks carry what training changed, and the others might as well have stayed frozen."
    )
    assert "More texts would tell" in figures.advice(
        replace(sure, lost=replace(sure.lost, high=lost + 0.05)), "epoch 2", "base"
    )
    none = figures.advice(replace(sure, lost=Estimate(lost + 0.05, lost, lost + 0.1)), "epoch 2", "base")
    assert none.startswith("No prefix can be put back: already block 0 of base costs epoch 2 5.0 points")
    everything = figures.advice(replace(sure, lost=alone(0 * lost)), "epoch 2", "base")
    assert "Blocks 0 to 11 of epoch 2" in everything and "embeddings and head carry" in everything


def test_losses_are_in_points_and_the_deepest_cheap_prefix_is_ringed(shown: Shown):
    up_to = result(shown, mode="up_to", back=True)
    lost = np.array([0.0, 0.03, 0.01, *[0.2] * 9])
    picture = figures.losses(replace(up_to, lost=Estimate(lost, lost - 0.01, lost + 0.02)), "epoch 2", "base")
    _, curve, level, ring = picture.data
    np.testing.assert_allclose(curve.y, 100 * lost, rtol=1e-6)
    assert level.y[0] == 1
    assert (ring.x[0], ring.y[0]) == (2, pytest.approx(1))
    assert len(figures.losses(replace(up_to, lost=Estimate(lost + 0.5, lost, lost + 1)), "epoch 2", "base").data) == 3


def test_labels_are_text_not_html(shown: Shown):
    drawn = [
        figures.curves({"single": result(shown)}, "block", "auc", "<b>a", "d&e"),
        figures.triangle(result(shown, mode="range"), "block", "auc", "<b>a", "d&e"),
        figures.losses(result(shown, mode="up_to"), "<b>a", "d&e"),
    ]
    for picture in drawn:
        assert "&lt;b&gt;a" in picture.layout.title.text and "d&amp;e" in picture.layout.title.text


def test_a_donor_without_a_head_has_no_level(shown: Shown):
    single = replace(
        result(shown),
        levels=np.array([result(shown).levels[0], [np.nan] * 3]),
        fraction_recovered=undefined(12),
    )
    picture = figures.curves({"single": single}, "block", "gap", "epoch 2", "base")
    assert [trace.name for trace in picture.data if trace.name][1:] == ["host as it is: epoch 2"]
    ranges = result(shown, mode="range")
    heat = figures.triangle(replace(ranges, levels=single.levels), "block", "gap", "epoch 2", "base").data[0]
    assert heat.zmin < single.levels[0, 2] < heat.zmax
    assert (heat.zmin + heat.zmax) / 2 == pytest.approx(single.levels[0, 2])
