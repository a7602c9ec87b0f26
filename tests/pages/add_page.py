"""The page that adds a study: opened, filled in, and read."""

from __future__ import annotations

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
