"""Texts in the address: short ones travel, long ones stay in the session, Back finds both."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from streamlit.testing.v1 import AppTest

from pages.frame import address as address_module
from pages.frame.address import LONGEST

SCRIPT = """
import streamlit as st
from pages.frame import address

KEY = address.Text(most=20)
address.check("text", KEY)
address.text_box("Text", "text", KEY)
st.button("take", on_click=address.write_text, args=("text", KEY, "from the shelf"))
st.text("value: " + address.value("text", KEY))
"""


@pytest.fixture
def page() -> AppTest:
    return AppTest.from_string(SCRIPT, default_timeout=30).run()


def said(page: AppTest) -> str:
    assert [one.value for one in page.exception] == []
    return page.text[0].value.removeprefix("value:").strip()


def address(page: AppTest, key: str = "text") -> str | None:
    found = page.query_params.get(key)
    return found[0] if isinstance(found, list) else found


def test_a_short_text_is_in_the_address(page: AppTest):
    assert (said(page), address(page)) == ("", None)
    page.text_area(key="text").set_value("slow & <b>fine</b>").run()
    assert said(page) == address(page) == "slow & <b>fine</b>"
    page.text_area(key="text").set_value("").run()
    assert (said(page), address(page)) == ("", None)


def test_a_text_in_the_address_is_in_the_box(page: AppTest):
    page.query_params["text"] = "a link"
    page.run()
    assert said(page) == page.text_area(key="text").value == "a link"


def test_a_long_text_stays_in_the_session_and_back_finds_it(page: AppTest):
    page.text_area(key="text").set_value("short").run()
    long = "more than twenty characters"
    page.text_area(key="text").set_value(long).run()
    assert said(page) == long
    stand_in = address(page)
    assert stand_in is not None and stand_in.startswith("long-") and long[:4] not in stand_in
    page.query_params["text"] = "short"  # Back
    assert said(page.run()) == page.text_area(key="text").value == "short"
    page.query_params["text"] = stand_in  # Forward
    assert said(page.run()) == page.text_area(key="text").value == long


def test_a_long_text_of_another_session_gets_a_sentence(page: AppTest):
    page.query_params["text"] = "long-0123456789abcdef"
    page.run()
    (warning,) = [one.value for one in page.warning]
    assert "paste it again" in warning
    assert (said(page), address(page)) == ("", None)
    page.run()
    assert len(page.warning) == 1, "the sentence outlives the next rerun"
    page.text_area(key="text").set_value("another").run()
    assert len(page.warning) == 0


def test_a_link_with_too_long_a_text_gets_a_sentence(page: AppTest):
    page.query_params["text"] = "x" * 21
    page.run()
    assert "more than 20 characters" in page.warning[0].value
    assert (said(page), address(page)) == ("", None)


def test_a_text_that_looks_like_a_stand_in_is_a_text(page: AppTest):
    page.text_area(key="text").set_value("long-0123456789abcdef").run()
    assert said(page) == "long-0123456789abcdef"
    assert address(page) != "long-0123456789abcdef"
    assert len(page.warning) == 0


def test_the_shelf_writes_the_box(page: AppTest):
    page.button[0].click().run()
    assert said(page) == page.text_area(key="text").value == address(page) == "from the shelf"


def test_only_the_newest_long_texts_are_held(page: AppTest):
    first = None
    for i in range(18):
        page.text_area(key="text").set_value(f"a text of some length, {i}").run()
        first = first or address(page)
    page.query_params["text"] = first
    page.run()
    assert "paste it again" in page.warning[0].value


FORMER = """
import streamlit as st
from pages.frame import address

EFFECT = address.Choice(["mean_logit_diff", "gap"], "gap")
COEFFICIENT = address.Choice(["1", "4"], "1")
address.check("effect", EFFECT)
address.check("coefficient", COEFFICIENT)
st.text(address.value("effect", EFFECT) + " " + address.value("coefficient", COEFFICIENT))
"""


def test_permalinks_of_earlier_versions_still_open():
    page = AppTest.from_string(FORMER)
    page.query_params["effect"], page.query_params["dose"] = "mean_lens", "4"
    page.run()
    assert page.text[0].value == "mean_logit_diff 4" and not page.warning
    assert page.query_params["effect"] == "mean_logit_diff" and "dose" not in page.query_params


def test_a_text_beyond_the_limit_is_refused_in_one_sentence(page: AppTest):
    page.text_area(key="text").set_value("short").run()
    page.text_area(key="text").set_value("x" * (LONGEST + 1)).run()
    assert said(page) == address(page) == page.text_area(key="text").value == "short"
    assert page.warning[0].value == "The text has 200,001 characters, and this server takes 200,000; shorten it."
    page.text_area(key="text").set_value("y" * LONGEST).run()
    assert not page.warning
    assert said(page) == "y" * LONGEST


WIDGETS = """
import streamlit as st
from pages.frame import address

EPOCH = address.Choice(["base", "epoch 1", "epoch 2"], "epoch 2")
address.widget(st.select_slider, "Epoch", "epoch", EPOCH, name="near")
address.widget(st.select_slider, "Epoch", "epoch", EPOCH)
address.switch("Without", "massive", address.Choice(["with", "without"], "with"))
st.button("again")
with st.container():
    @st.fragment
    def part():
        address.widget(st.segmented_control, "Axes", "axes", address.Choice(["own", "shared"], "own"))
        st.button("there")
    part()
"""


@pytest.fixture
def widgets() -> AppTest:
    page = AppTest.from_string(WIDGETS, default_timeout=30).run()
    assert [one.value for one in page.exception] == []
    return page


def orders(page: AppTest) -> list[bool]:
    """Whether the browser is told what each widget holds."""
    sliders = [page.select_slider(key=key).proto.set_value for key in ("near", "epoch")]
    return [*sliders, page.toggle(key="massive").proto.set_value, page.button_group(key="axes").proto.set_value]


def test_a_run_under_way_does_not_undo_what_is_chosen_meanwhile(widgets: AppTest):
    assert all(orders(widgets))
    widgets.button[0].click().run()
    assert not any(orders(widgets))
    widgets.select_slider(key="near").set_value("epoch 1").run()
    assert orders(widgets) == [False, True, False, False]
    assert widgets.select_slider(key="epoch").value == "epoch 1"


def test_a_browser_that_skips_a_run_starts_at_the_address_too(widgets: AppTest):
    widgets.query_params.update(epoch="epoch 1", massive="without", axes="shared")
    widgets.run()
    assert all(orders(widgets))
    widgets.button[0].click().run()
    assert not any(orders(widgets))
    assert [list(widgets.select_slider(key=key).proto.default) for key in ("near", "epoch")] == [[1], [1]]
    assert widgets.toggle(key="massive").proto.default
    assert list(widgets.button_group(key="axes").proto.default) == [1]
    assert not widgets.warning


def test_a_widget_that_was_set_for_another_and_has_not_heard_is_not_believed(widgets: AppTest):
    widgets.select_slider(key="near").set_value("epoch 1").run()
    widgets.select_slider(key="near").set_value("base")
    widgets.select_slider(key="epoch").set_value("epoch 2").run()  # what the browser still showed there
    assert address(widgets, "epoch") == "base"
    assert [widgets.select_slider(key=key).value for key in ("near", "epoch")] == ["base", "base"]
    for chosen in ("epoch 2", "base", "epoch 1", "epoch 2"):
        widgets.select_slider(key="epoch").set_value(chosen).run()
        assert address(widgets, "epoch") == chosen and widgets.select_slider(key="near").value == chosen


RUNS = [{"is_history_navigation": True}, {"fragment_ids_this_run": ["the bar of a job"]}]


@pytest.mark.parametrize("run", RUNS, ids=["back", "timer"])
def test_back_and_timers_carry_no_choice(widgets: AppTest, monkeypatch: pytest.MonkeyPatch, run: dict[str, object]):
    widgets.toggle(key="massive").set_value(True).run()
    widgets.button_group(key="axes").select("shared").run()
    assert (address(widgets, "massive"), address(widgets, "axes")) == ("without", "shared")
    widgets.query_params.clear()  # Back, twice
    widgets.run()
    with monkeypatch.context() as patched:
        context = {"is_history_navigation": False, "fragment_ids_this_run": None} | run
        patched.setattr(address_module, "get_script_run_ctx", lambda: SimpleNamespace(**context))
        widgets.toggle(key="massive").set_value(True)  # as the browser still shows them
        widgets.button_group(key="axes").select("shared").run()
    assert not widgets.query_params
    assert (widgets.toggle(key="massive").value, widgets.button_group(key="axes").value) == (False, "own")
    widgets.toggle(key="massive").set_value(True).run()
    assert address(widgets, "massive") == "without"
