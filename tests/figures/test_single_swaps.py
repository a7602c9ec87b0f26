"""Single swaps: blocks beside the parts outside them, the table, and the strongest in words."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from backend.analyses import swaps
from backend.figures import single_swaps as figures
from backend.figures.swaps import PARTS
from backend.stats.estimate import undefined
from tests.figures.conftest import Shown


def result(shown: Shown, part: swaps.Part = "block", back: bool = False) -> swaps.Result:
    host, donor = shown.study.base, shown.study.checkpoints[-1]
    if back:
        host, donor = donor, host
    return swaps.recipe(swaps.Query(host, donor, shown.study.prompts, part, "single", draws=50), shown.lab)


def test_an_undefined_share_is_said(shown: Shown):
    nothing = replace(result(shown), fraction_recovered=undefined(12))
    assert figures.table({"head": nothing})[0]["fraction recovered"] == "undefined"
    assert "do not differ beyond chance" in figures.strongest({"block": nothing}, "base", "epoch 2", back=False)
    single = result(shown)
    headless = replace(nothing, levels=np.array([single.levels[0], [np.nan] * 3]))
    assert "has no head of its own" in figures.strongest({"block": headless}, "epoch 2", "base", back=True)


def test_the_strongest_part_is_named_with_gap_and_accuracy(shown: Shown):
    single, head = result(shown, "mlp", back=True), result(shown, "head", back=True)
    at = int(single.fraction_recovered.value.argmax())
    weak = replace(
        head, fraction_recovered=replace(head.fraction_recovered, value=single.fraction_recovered.value[:1] - 9)
    )
    said = figures.strongest({"mlp": single, "head": weak}, "epoch 2", "base", back=True)
    before, after = 100 * single.levels[0, 0], 100 * single.balanced_accuracy.value[at]
    assert said.startswith(
        f"Putting **the MLP of block {at}** back to base undoes **{100 * single.fraction_recovered.value[at]:.0f} %**"
    )
    assert f"Balanced accuracy goes from {before:.1f} to {after:.1f} %." in said
    strong = replace(head, fraction_recovered=replace(head.fraction_recovered, value=np.array([7.0])))
    said = figures.strongest({"mlp": single, "head": strong}, "base", "epoch 2", back=False)
    assert said.startswith("**The head** of epoch 2 alone adds **700 %** of the gap")
    unsure = replace(
        single, fraction_recovered=replace(single.fraction_recovered, low=single.fraction_recovered.low - 1)
    )
    assert "may lead by chance" in figures.strongest({"block": unsure}, "base", "epoch 2", back=False)


@pytest.mark.parametrize("names", [("embed", "final_norm", "head"), ("embed", "head"), ()])
def test_parts_outside_the_blocks_stand_beside_them(shown: Shown, names: tuple[swaps.Part, ...]):
    outside = {name: result(shown, name) for name in names}
    picture = figures.parts(result(shown), "block", outside, "gap", "base", "epoch 2")
    assert len(picture.data) == 5 if names else 4
    if names:
        points = picture.data[-1]
        assert list(points.text) == [PARTS[name] for name in names]
        np.testing.assert_allclose(points.y, [outside[name].gap.value[0] for name in names], rtol=1e-5)
        np.testing.assert_allclose(
            points.customdata, [[outside[name].gap.low[0], outside[name].gap.high[0]] for name in names], rtol=1e-5
        )
        ticks = dict(zip(picture.layout.xaxis.tickvals, picture.layout.xaxis.ticktext, strict=True))
        assert [ticks[x] for x in points.x] == [
            {"embed": "emb.", "final_norm": "norm"}.get(name, name) for name in names
        ]
        assert picture.layout.xaxis.range[0] < min(points.x) < max(points.x) < picture.layout.xaxis.range[1]


def test_parts_outside_the_blocks_stand_in_a_table(shown: Shown):
    found = {part: result(shown, part) for part in ("embed", "final_norm", "head")}
    rows = figures.table(found)
    assert [row["part"] for row in rows] == ["embeddings", "final norm", "head"]
    assert rows[0]["gap (logits)"].startswith(f"{found['embed'].gap.value[0]:.2f} (")
    assert set(PARTS) == set(get_args(swaps.Part))
