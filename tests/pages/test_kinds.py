"""Studies without answers, without labels, of three classes and of pairs: every page at every view."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from pages import features, probes, review, swaps, tokens
from pages.parts import layer_details, similarity
from tests.pages.conftest import Opens, World

VIEWS = [
    ("overview", {}),
    ("layers", {"epoch": "epoch 2"}),
    *(("layers", {"show": show}) for show in layer_details.SHOWN),
    *(("layers", {"show": "similarity", "similarity": part}) for part in similarity.PARTS),
    *(("probes", {"show": show}) for show in probes.SHOWN),
    *(("swaps", {"mode": mode}) for mode in swaps.MODES),
    *(("tokens", {"show": show}) for show in tokens.SHOWN),
    *(("features", {"show": show}) for show in features.SHOWN),
    *(("review", {"text": "The script drags.", "show": show}) for show in review.SHOWN),
    *(("review", {"text": "The script drags.", "heat": heat}) for heat in review.HEATS),
]


def said(test: AppTest) -> str:
    return "\n".join(one.value for one in (*test.info, *test.caption, *test.markdown, *test.warning))


@pytest.mark.parametrize("page", sorted({page for page, _ in VIEWS}))
@pytest.mark.parametrize(("kind", "classes"), [("contrast", 2), ("contrast", 3), ("texts", 1), ("answers", 3)])
def test_every_view_is_drawn_or_says_what_to_add(world: World, opens: Opens, page: str, kind, classes: int):
    world.add("other", classes, kind)
    for at, address in VIEWS:
        if at == page:
            test = opens(page, study="other", **address)
            assert not [one.value for one in test.error], (page, address)
