"""The page that adds a study: opened, filled in, and read."""

from __future__ import annotations

from pathlib import Path

from streamlit.testing.v1 import AppTest

from tests.fake_texts import fake_sample
from tests.pages.conftest import ROOT


def table(classes: int, columns: str = "text,label") -> str:
    sample = fake_sample(40, classes)
    rows = [f'"{text}",{label}' for text, label in zip(sample.text, sample.label, strict=True)]
    return "\n".join([columns, *rows])


def opened() -> AppTest:
    test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    return test.switch_page("pages/add.py").run()


def filled(folder: Path, /, **changes: str) -> AppTest:
    """The form, filled with what is right, but for the changes."""
    right = {
        "name": "mine",
        "base": str(folder / "base"),
        "checkpoints": str(folder / "run-*"),
        "data": str(folder / "reviews.csv"),
    }
    test = opened()
    for key, value in (right | changes).items():
        if key == "checkpoints":
            test.text_area(key="new-checkpoints").set_value(value)
        else:
            test.text_input(key=f"new-{key}").set_value(value)
    test.run()
    assert [one.value for one in test.exception] == []
    return test


def add(test: AppTest) -> AppTest:
    test.button(key="new-add").click().run()
    assert [one.value for one in test.exception] == []
    return test


def ready(test: AppTest) -> bool:
    return not test.button(key="new-add").disabled


def plainly(texts: list[str]) -> str:
    return "\n".join(texts).replace("\\", "")


def errors(test: AppTest) -> str:
    return plainly([one.value for one in test.error])
