"""What is shipped beside the code: Streamlit's settings, the theme, and studies that read."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from streamlit import config

from backend.study.config import find_studies, parse_study
from tests.contrast import ROOT, SETTINGS, contrast, mixed

FADED = 0.6
"""How much of the text's colour Streamlit gives to captions."""


def options(table: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from options(value, f"{prefix}{key}.")
        else:
            yield prefix + key


def test_contrast_is_that_of_the_standard():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("option", list(options(SETTINGS)))
def test_streamlit_knows_the_option(option: str):
    config.get_option(option)  # raises where there is no such option


def test_nothing_is_reported_and_no_traceback_is_shown():
    assert SETTINGS["browser"]["gatherUsageStats"] is False
    assert SETTINGS["client"]["showErrorDetails"] == "none"
    assert SETTINGS["server"]["address"] == "127.0.0.1"


def test_other_sites_send_nothing_and_uploads_are_bounded():
    assert SETTINGS["server"]["enableXsrfProtection"] is True
    assert SETTINGS["server"]["enableCORS"] is True
    assert SETTINGS["server"]["enableStaticServing"] is False
    assert SETTINGS["server"]["maxUploadSize"] <= 100


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_the_theme_reads_well(mode: str):
    theme = SETTINGS["theme"][mode]
    sidebar = theme["sidebar"]
    for ground in (theme["backgroundColor"], theme["secondaryBackgroundColor"], *sidebar.values()):
        assert contrast(theme["textColor"], ground) >= 7
        assert contrast(theme["linkColor"], ground) >= 4.5
    assert contrast(theme["codeTextColor"], theme["codeBackgroundColor"]) >= 4.5
    for ground in (theme["backgroundColor"], sidebar["backgroundColor"], sidebar["secondaryBackgroundColor"]):
        assert contrast(theme["primaryColor"], ground) >= 4.5  # what is chosen is written in it
        assert contrast(mixed(theme["textColor"], ground, FADED), ground) >= 4.5


def test_the_theme_fetches_no_font():
    assert not [option for option in options(SETTINGS["theme"]) if "http" in str(config.get_option(f"theme.{option}"))]


def test_shipped_studies_read():
    found = find_studies(ROOT / "studies")
    assert {"demo", "gpt2-imdb"} <= set(found)
    assert {name: str(study) for name, study in found.items() if isinstance(study, Exception)} == {}


def test_the_study_in_the_readme_reads():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```toml\n(.*?)```", readme, re.DOTALL)
    assert parse_study(tomllib.loads(block), ROOT / "studies" / "mine").classes == 2
