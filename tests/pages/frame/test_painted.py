"""The first picture of a session goes first; the others follow when the browser has painted it."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from pages.frame import painted
from tests.pages.conftest import ROOT, Opens, World, charts, components, settle

FIRST = {"overview": "separation", "layers": "direction-heat", "probes": "probe-curves"}


@pytest.mark.parametrize("page", FIRST)
def test_a_new_session_gets_one_picture_and_then_the_others(page: str, opens: Opens, world: World):
    settled = opens(page)
    every = [*charts(settled)]
    test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    test.switch_page(f"pages/{page}.py").run()
    assert [*charts(test)] == every[:1]
    assert FIRST[page] in every[0]
    assert len(every) > 1
    assert not test.sidebar.select_slider, "what stands around a picture waits too"
    test.run()
    assert [*charts(test)] == every[:1], "a run alone does not mean that it is painted"
    assert [*charts(settle(test))] == every
    assert [one.label for one in test.sidebar.select_slider] == ["Epoch"]


def test_a_later_page_of_the_session_waits_for_nothing(opens: Opens):
    test = opens("overview")
    test.switch_page("pages/layers.py").run()
    assert test.session_state[painted.STATE]
    assert len(charts(test)) > 1


@pytest.mark.parametrize(("epochs", "waits"), [(1, True), (0, False)])
def test_a_page_without_a_picture_waits_for_none(world: World, epochs: int, waits: bool):
    world.add("texts", 1, "texts", epochs)
    test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    test.query_params["study"] = "texts"
    test.run()
    while any(button.label == "Cancel" for button in test.button):
        test.run()
    assert components(test)["painted"]["picture"] == waits
