"""Who gets in: everybody without a provider, else nobody without a log-in, and nothing is computed before."""

from __future__ import annotations

from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from pages.frame.entry import _is_user
from tests.pages.conftest import ROOT, World

PAGES = sorted(file.stem for file in (ROOT / "pages").glob("*.py"))


def visit(page: str, user: dict[str, Any], secrets: dict[str, Any] | None = None) -> AppTest:
    test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    test.user = user
    test.secrets = secrets or {"auth": {"client_id": "a"}}
    test.switch_page(f"pages/{page}.py").run()
    assert [one.value for one in test.exception] == []
    return test


@pytest.mark.parametrize("page", PAGES)
def test_without_a_log_in_nothing_is_shown_or_computed(page: str, world: World, monkeypatch: pytest.MonkeyPatch):
    touched: list[str] = []
    for name in ("studies", "open_lab", "jobs"):
        monkeypatch.setattr(f"backend.wiring.{name}", lambda name=name: touched.append(name))
    test = visit(page, {"is_logged_in": False})
    assert touched == []
    assert [one.value for one in test.title] == ["Layershift"]
    assert [one.label for one in test.button] == ["Log in"]
    assert len(test.markdown) == 1 and not test.sidebar.children
    assert not (test.get("plotly_chart") or test.get("page_link") or test.selectbox or test.text_input)


def test_every_provider_has_a_button(world: World):
    auth = {"redirect_uri": "x", "cookie_secret": "y", "one": {"client_id": "a"}, "t*wo*": {"client_id": "b"}}
    test = visit("overview", {"is_logged_in": False}, {"auth": auth})
    assert [one.label.replace("\\", "") for one in test.button] == ["Log in with one", "Log in with t*wo*"]


def test_who_is_logged_in_sees_the_page_and_can_log_out(world: World):
    test = visit("overview", {"is_logged_in": True, "email": "me@example.org"})
    assert "Layershift" not in [one.value for one in test.title]
    assert "Log out" in [one.label for one in test.sidebar.button]


def test_only_known_addresses_get_in(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LAYERSHIFT_USERS", "me@example.org, @films.example")
    test = visit("overview", {"is_logged_in": True, "email": "you@example.org"})
    assert "may not use this server" in test.error[0].value
    assert [one.label for one in test.button] == ["Log out"] and not test.sidebar.children
    assert not visit("overview", {"is_logged_in": True, "email": "Me@Example.org"}).error


@pytest.mark.parametrize(
    ("email", "verified", "admitted"),
    [
        ("me@example.org", True, True),
        ("me@example.org", None, True),
        ("me@example.org", False, False),
        ("a@films.example", True, True),
        ("a@films.example@evil.example", True, False),
        ("films.example", True, False),
        ("", None, False),
    ],
)
def test_addresses(email: str, verified: bool | None, admitted: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LAYERSHIFT_USERS", "me@example.org,@films.example")
    assert _is_user(email, verified) is admitted
    monkeypatch.delenv("LAYERSHIFT_USERS")
    assert _is_user(email, verified)


def test_without_a_provider_everybody_gets_in(world: World):
    test = visit("overview", {})
    assert not [one for one in test.button if one.label in ("Log in", "Log out")]
    assert test.title
