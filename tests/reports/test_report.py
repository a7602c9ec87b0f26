"""The report: one file that fetches nothing, holds every section, and in which no text of a user is more than text."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import backend.reports.report as reporting
from backend.analyses import accuracy, direction
from backend.errors import Cancelled, LayershiftError
from backend.figures import accuracy as accuracy_figures
from backend.lab.lab import Lab
from backend.reports.export import Viewpoint
from backend.reports.report import report, write_report
from backend.reports.sections import SECTIONS
from backend.study.pinned import Missing, PinnedStudy
from tests.fakes import FakeModels, fake_lab, fake_study
from tests.reports.conftest import Still, silently
from tests.reports.outline import Outline

EVIL = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">&**"
World = tuple[PinnedStudy, Lab]
NAMES = ["compared", "findings", "sample", "answers", "weights", "pca", "direction", "cosines", "similarity"]
NAMES += ["training-steps", "map", "probes", "swaps", "steering", "tokens", "output", "features", "difference"]


def evil(study: PinnedStudy) -> PinnedStudy:
    """The study with markup wherever a user writes: title, label, word, template, reviews, reasons."""
    prompt = study.study.prompt.model_copy(update={"label_words": (EVIL, "good"), "template": f"{EVIL} {{text}}"})
    checkpoints = (
        *study.checkpoints[:-1],
        replace(study.checkpoints[-1], ref=study.checkpoints[-1].ref.model_copy(update={"label": EVIL})),
    )
    definition = study.study.model_copy(update={"title": EVIL, "prompt": prompt})
    sample = replace(study.sample, text=tuple(f"{EVIL} {text}" for text in study.sample.text))
    missing = (Missing(EVIL, f"{EVIL} is not there."),)
    warnings = (f"{EVIL} reads another chat template.",)
    return replace(study, study=definition, checkpoints=checkpoints, sample=sample, missing=missing, warnings=warnings)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A fake study and its lab."""
    models = FakeModels(layers=3, width=10)
    return fake_study(models=models, epochs=2, reviews=24), fake_lab(tmp_path_factory.mktemp("lab"), models)


@pytest.fixture(scope="module")
def made(world: World) -> dict[str, Outline]:
    """Reports of the fake study: plain, from another reference, and full of markup."""
    study, lab = world
    views = {
        "plain": (study, Viewpoint()),
        "other": (study, Viewpoint("epoch 1", 2, 2)),
        "evil": (evil(study), Viewpoint()),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Still))  # the real one compiles for a minute
        return {key: Outline(report(one, lab, silently, view)) for key, (one, view) in views.items()}


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report of a single section besides the first."""
    monkeypatch.setattr(reporting, "SECTIONS", {"accuracy": SECTIONS["accuracy"]})


def test_every_section_is_there_with_pictures_and_a_guide(made: dict[str, Outline]):
    one = made["plain"]
    assert one.ids() == NAMES
    assert len(one.figures) == 1 + 2 + 2 + 8 + 1 + 3 + 6 + 1 + 4 + 2 + 2 + 2 + 2 + 2 + 1 + 4
    titles = [figure["layout"]["title"]["text"] for figure in one.figures]
    assert {"epoch 2, layer 3, UMAP", "Cosine with the direction of base"} <= set(titles)
    guides = [tag for tag, given in one.tags if given.get("class") == "guide"]
    assert guides.count("p") >= 9
    assert guides.count("details") >= 9, "the rest of each guide folds away"
    words = " ".join(one.words)
    assert accuracy_figures.GUIDE.short in words
    assert accuracy_figures.GUIDE.more in words
    assert "weights written" in words
    assert not re.search(r"\bago\b|just now", words), "a file is read later"


def test_nothing_is_fetched_and_plotly_stands_in_it_once(made: dict[str, Outline]):
    one = made["plain"]
    loads = [
        given
        for tag, given in one.tags
        if tag in ("script", "img", "link", "iframe") and given.keys() & {"src", "href"}
    ]
    assert loads == []
    code = [(kind, text) for kind, text in one.scripts if kind.get("type") != "application/json"]
    assert len(code) == 3
    (policy,) = [given["content"] for tag, given in one.tags if given.get("http-equiv") == "Content-Security-Policy"]
    assert str(policy).startswith("default-src 'none'; script-src 'nonce-")
    assert all(f"'nonce-{kind['nonce']}'" in str(policy) for kind, _ in code)


def test_the_reference_dimensions_and_layer_are_followed(made: dict[str, Outline]):
    one = made["other"]
    titles = [figure["layout"]["title"]["text"] for figure in one.figures]
    assert "Cosine with the direction of epoch 1" in titles
    assert "Layer 2: cosine between checkpoints" in titles
    assert "epoch 2, layer 2, t-SNE" in titles
    words = " ".join(one.words)
    assert "epoch 2 compared with epoch 1" in words
    assert "the 2 largest dimensions of epoch 1" in words
    assert "--reference 'epoch 1' --drop-largest 2 --layer 2" in words


def test_markup_of_a_user_is_text(made: dict[str, Outline]):
    one = made["evil"]
    assert one.ids() == NAMES, "no markup ends a section early"
    assert not [tag for tag, _ in one.tags if tag == "img"]
    scripts = [kind for kind, _ in one.scripts if kind.get("type") != "application/json"]
    assert len(scripts) == 3
    assert EVIL in "".join(one.words)
    assert f"{EVIL} reads another chat template." in "".join(one.words)
    for figure in one.figures:
        assert figure["data"]


def test_an_epoch_can_be_dragged_in_the_report(made: dict[str, Outline]):
    (moves,) = [one for one in made["plain"].data if "xy" in one]
    assert moves["names"] == ["base", "epoch 1", "epoch 2"]
    assert moves["there"] == moves["plays"] == [0, 1, 2]
    assert moves["view"] == {"epoch": "epoch 2", "reference": "base"}
    (other,) = [one for one in made["other"].data if "xy" in one]
    assert other["view"]["reference"] == "epoch 1"
    assert other["xy"] != moves["xy"]
    assert sum("mountScrubber({data" in text for _, text in made["plain"].scripts) == 1


def test_the_numbers_in_the_tables_are_those_of_the_results(world: World, made: dict[str, Outline]):
    study, lab = world
    words = "\n".join(made["plain"].words)
    query = direction.Query(study.checkpoints[2], study.base, study.prompts)
    rows = [row for row in direction.recipe(query, lab).rows(query) if row["separation"] is not None]
    assert len(rows) >= 3
    for row in rows:
        said = f"{row['separation']:.4g} ({row['separation_low']:.4g} to {row['separation_high']:.4g})"
        assert said in words
    result = accuracy.recipe(accuracy.Query(study.base, study.prompts), lab)
    assert f"{result.auc.value:.3f} ({result.auc.low:.3f} to {result.auc.high:.3f})" in words


def test_more_than_two_classes_and_a_base_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    models = FakeModels(layers=2, width=8)
    lab = fake_lab(tmp_path, models)
    quick = {name: make for name, make in SECTIONS.items() if name not in ("map", "training")}
    monkeypatch.setattr(reporting, "SECTIONS", quick)
    alone = Outline(report(fake_study(models=models, epochs=0, reviews=20), lab, silently, Viewpoint()))
    assert alone.ids() == [
        name
        for name in NAMES
        if name not in ("weights", "similarity", "training-steps", "map", "swaps", "tokens", "difference")
    ]
    three = Outline(report(fake_study(models=models, epochs=1, classes=3, reviews=24), lab, silently, Viewpoint()))
    assert three.ids() == [name for name in NAMES if name != "map"]
    assert len(three.figures) == 2 + 1 + 2 + 3 * 8 + 3 * (1 + 3) + 6 + 3 + 2 + 2 + 2 + 2 + 2 + 1 + 4


def test_the_log_of_another_trainer_is_shown_and_a_damaged_one_costs_no_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reporting, "SECTIONS", {name: SECTIONS[name] for name in ("accuracy", "training")})
    models = FakeModels(layers=2, width=8)
    study, lab = fake_study(tmp_path / "film", models=models, epochs=1, reviews=20), fake_lab(tmp_path, models)
    place = Path(str(study.study.checkpoints[-1].path))
    place.mkdir(parents=True)
    (place / "trainer_state.json").write_text('{"global_step": 9, "log_history": [{"step": 9, "loss": 2.0}]}')
    made = Outline(report(study, lab, silently, Viewpoint()))
    assert "Training loss (nats, logarithmic)" in [one["layout"]["title"]["text"] for one in made.figures]
    (place / "trainer_state.json").write_text("{")
    made = Outline(report(study, lab, silently, Viewpoint()))
    assert made.ids() == ["compared", "answers", "training"]
    assert "trainer_state.json is damaged" in " ".join(made.words)


def test_the_file_appears_complete_or_not_at_all(tmp_path: Path, short: None):
    models = FakeModels(layers=2, width=8)
    study, lab = fake_study(models=models, epochs=1, reviews=20), fake_lab(tmp_path, models)
    file = tmp_path / "new" / "report.html"

    @contextmanager
    def stopped(title: str) -> Iterator[Callable[[float, str], None]]:
        def cancelled(fraction: float, sentence: str) -> None:
            raise Cancelled("enough")

        yield cancelled

    with pytest.raises(Cancelled):
        write_report(study, lab, file, stopped, Viewpoint())
    assert not file.exists()
    assert write_report(study, lab, file, silently, Viewpoint()) == file
    assert file.read_text().startswith("<!doctype html>")
    assert [one.name for one in file.parent.iterdir()] == ["report.html"]


def test_what_cannot_be_written_is_one_sentence(tmp_path: Path, short: None):
    models = FakeModels(layers=2, width=8)
    study, lab = fake_study(models=models, epochs=1, reviews=20), fake_lab(tmp_path, models)
    (tmp_path / "file").write_text("")
    for out in (tmp_path, tmp_path / "file" / "report.html"):
        with pytest.raises(LayershiftError, match="choose another --out"):
            write_report(study, lab, out, silently, Viewpoint())
    with pytest.raises(LayershiftError, match="choose from base, epoch 1"):
        write_report(study, lab, tmp_path / "r.html", silently, Viewpoint("epoch 8"))


def test_a_copy_of_the_base_costs_no_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two checkpoints of equal content are one in every comparison."""
    models = FakeModels(layers=2, width=8)
    monkeypatch.setattr(reporting, "SECTIONS", {name: one for name, one in SECTIONS.items() if name != "map"})
    study = fake_study(models=models, epochs=1, reviews=20)
    copy = replace(study.base, ref=study.base.ref.model_copy(update={"label": "a copy"}))
    of_copy = replace(
        study,
        study=study.study.model_copy(update={"checkpoints": (copy.ref,)}),
        checkpoints=(study.base, copy),
    )
    made = Outline(report(of_copy, fake_lab(tmp_path, models), silently, Viewpoint()))
    assert "a copy" in " ".join(made.words)
    assert "similarity" not in made.ids()
