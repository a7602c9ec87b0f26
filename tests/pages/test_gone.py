"""A study, its data or its weights that vanish while a page shows them: one sentence, and back when they are back."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from backend.errors import CheckpointError
from backend.study.config import Study
from tests.pages.conftest import Opens, World, charts, settle

PAGES = ["overview", "layers", "tokens", "probes", "swaps", "features", "difference", "review"]


def said(test: AppTest) -> str:
    assert [one.value for one in test.exception] == []
    return "\n".join(str(one.value) for one in [*test.error, *test.warning]).replace("\\", "")


@pytest.mark.parametrize("page", PAGES)
def test_a_study_deleted_while_it_is_shown(page: str, opens: Opens, world: World):
    test = opens(page, study="film")
    before = charts(test)
    kept = world.studies.pop("film")
    assert "There is no study in" in said(test.run())
    world.studies["film"] = kept
    assert said(settle(test.run())) == ""
    now = charts(test)
    assert before.items() <= now.items()


def test_another_study_is_shown_instead(opens: Opens, world: World):
    world.add("other")
    test = opens("overview", study="film")
    world.studies.pop("film")
    test.query_params["study"] = "film"
    assert "The address asks for study “film”: there is other; showing other instead." in said(test.run())


def test_data_deleted_while_it_is_shown(opens: Opens, world: World):
    test = opens("layers")
    study = world.studies["film"]
    assert isinstance(study, Study)
    table = study.folder / "reviews.csv"
    content = table.read_bytes()
    table.unlink()
    assert "reviews.csv" in said(test.run())
    table.write_bytes(content)
    assert said(settle(test.run())) == ""


def test_weights_deleted_while_they_are_shown(opens: Opens, world: World):
    test = opens("layers")
    before, fingerprint = charts(test), world.models.fingerprint

    def gone(ref, base):
        if ref.label == "epoch 3":
            raise CheckpointError("epoch-3 does not exist; copy the checkpoint there.")
        return fingerprint(ref, base)

    world.models.fingerprint = gone  # type: ignore[method-assign]
    assert "epoch-3 does not exist" in said(settle(test.run()))
    world.models.fingerprint = fingerprint  # type: ignore[method-assign]
    assert said(settle(test.run())) == ""
    assert charts(test).keys() == before.keys()
