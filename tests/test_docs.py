"""The documentation against the code: nothing undocumented, no dead link, and worked examples that come out right."""

from __future__ import annotations

import argparse
import doctest
import re
import shlex
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from backend.__main__ import _parser
from backend.analyses import discover, feature_turnover, patching, review, steered_predictions, steered_text
from backend.lab.lab import Lab
from backend.study.config import (
    CheckpointRef,
    DatasetSpec,
    DifferenceSpec,
    PromptSpec,
    Study,
    TrainingSpec,
    parse_study,
)
from backend.study.pinned import PinnedStudy
from backend.study.typed_texts import leave_out, read_typed
from docs import index
from tests.fakes import FakeModels, fake_lab, fake_study
from tests.markdown import anchors, quoted, sections, table, without_code

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
ANALYSES = sorted(file.stem for file in (ROOT / "backend/analyses").glob("*.py") if not file.stem.startswith("_"))
PARTS: dict[str, type[BaseModel]] = {
    "Top level": Study,
    "[base] and [[checkpoints]]": CheckpointRef,
    "[dataset]": DatasetSpec,
    "[prompt]": PromptSpec,
    "[training]": TrainingSpec,
    "[difference]": DifferenceSpec,
}
DRAWS = {"draws", "permutations", "splits"}
"""What a query may be hurried by; it changes numbers, and no column."""
SECTIONS = ("Formula", "How to read the picture", "When not to trust it", "Worked example")


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


# Links


@pytest.mark.parametrize("file", PAGES, ids=name_of)
def test_links_lead_somewhere(file: Path):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(file.read_text(encoding="utf-8"))):
        path, _, anchor = target.partition("#")
        place = (file.parent / path).resolve() if path else file
        if re.match(r"https?:", target):
            continue
        if not place.exists() or (anchor and anchor not in anchors(place)):
            broken.append(target)
    assert broken == []


def test_every_page_can_be_reached_from_the_readme():
    reached, ahead = set(), {ROOT / "README.md"}
    while ahead:
        file = ahead.pop()
        reached.add(file)
        links = re.findall(r"\]\(([^)#\s]+\.md)", file.read_text(encoding="utf-8"))
        ahead |= {(file.parent / link).resolve() for link in links} - reached
    assert [name_of(file) for file in PAGES if file not in reached] == []


# Analyses


@pytest.mark.parametrize("name", ANALYSES)
def test_an_analysis_is_documented(name: str):
    file = DOCS / "analyses" / f"{name}.md"
    assert file.exists(), f"{name_of(file)} is missing: every analysis has a page"
    text = file.read_text(encoding="utf-8")
    assert re.match(r"# .+\n\n\*\*Question\.\*\* ", text), "a page begins with the question"
    assert [one for one in SECTIONS if one not in sections(file)] == []
    assert "Source" in sections(file)["Formula"]


def test_the_index_is_that_of_the_pages():
    page = (DOCS / "README.md").read_text(encoding="utf-8")
    assert page.endswith(index.HEAD + index.rows()), "make index writes the table of analyses"


def rows_of(name: str, study: PinnedStudy, lab: Lab) -> Iterable[dict[str, Any]]:
    """Some rows of an analysis's CSV."""
    if name == "review":  # asks nothing of a study by itself
        return review_rows(study, lab)
    if name == "steered_text":
        return steered_rows(study, lab)
    if name == "steered_predictions":  # for studies without answers
        steered = steered_predictions.query(study, study.base, study.base, 2)
        return steered_predictions.recipe(replace(steered, null=2, draws=8), lab).rows(steered)
    if name == "patching":  # the same
        query = patching.Query(study.checkpoints[0], study.checkpoints[-1], study.prompts)
        return patching.recipe(query, lab).rows(query, [""] * int(study.prompts.lengths[0]))
    if name == "feature_turnover":  # takes long, so nothing asks for it unless somebody does
        expected = feature_turnover.Query(study.checkpoints[1:], study.base, study.prompts, (1, 2), 16, 4)
        return feature_turnover.recipe(expected, lab).rows(expected)
    if name == "merging":  # for adapters
        adapter = replace(study.checkpoints[1], facts=replace(study.base.facts, adapter=True))
        study = replace(study, checkpoints=(study.base, adapter))
    analysis = discover()[name]
    query = analysis.queries(study)[0]
    query = replace(query, **dict.fromkeys(DRAWS & {field.name for field in fields(query)}, 8))
    return analysis.recipe(query, lab).rows(query)


def steered_rows(study: PinnedStudy, lab: Lab) -> Iterator[dict[str, Any]]:
    """What the slider of the page of a typed text has for download."""
    text = read_typed(study.readers, "The script is funny.").prompts
    given = (study.checkpoints[-1], study.checkpoints[-1], text, study.prompts, 2)
    query, written = steered_text.Query(*given), steered_text.WrittenQuery(*given, "all", 0, 2.0, 0.7)
    yield from steered_text.recipe(query, lab).rows(query)
    yield from steered_text.written(written, lab).rows(written)


def review_rows(study: PinnedStudy, lab: Lab) -> Iterator[dict[str, Any]]:
    """All that the page of a typed text has for download."""
    words = "The script is funny. The score drags."
    text = read_typed(study.readers, words)
    query = review.Query(study.checkpoints[-1], study.checkpoints[0], text.prompts, study.prompts)
    yield from review.recipe(query, lab).rows(query)
    yield from review.recipe(query, lab).answers(query)
    yield from review.tokens(query, lab).rows(query, text.pieces)
    texts, parts = leave_out(study.readers, text.parts, 4)
    left_out = review.PartsQuery(study.checkpoints[-1], texts)
    yield from review.parts(left_out, lab).rows(left_out, parts)


@pytest.mark.parametrize("name", ANALYSES)
def test_the_columns_of_a_csv_are_documented(name: str, tmp_path: Path):
    models = FakeModels(layers=2, width=8)
    lab = fake_lab(tmp_path, models)
    kind = "ordered" if name == "ordered" else "answers"
    studies = [fake_study(epochs=1, classes=classes, reviews=24, models=models, kind=kind) for classes in (2, 3)]
    columns = {column for study in studies for row in rows_of(name, study, lab) for column in row}
    rows = table(sections(DOCS / "analyses" / f"{name}.md")[f"Columns of {name}.csv"])
    assert {column for row in rows for column in quoted(row[0])} == columns


@pytest.mark.parametrize("name", ANALYSES)
def test_a_worked_example_comes_out_right(name: str):
    page = (DOCS / "analyses" / f"{name}.md").read_text(encoding="utf-8")
    example = "\n".join(re.findall(r"^```pycon\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    test = doctest.DocTestParser().get_doctest(example, {}, name, None, None)
    assert any(one.source.startswith("from backend") for one in test.examples), "an example runs the project's code"
    assert any(one.want for one in test.examples), "an example says what comes out"
    report: list[str] = []
    doctest.DocTestRunner(verbose=False).run(test, out=report.append)
    assert "".join(report) == ""


# study.toml


def default(field: FieldInfo) -> str:
    """How a table writes the default of a key."""
    if field.is_required():
        return "required"
    return "none" if field.default in (None, (), "") else str(field.default)


@pytest.mark.parametrize("heading", PARTS)
def test_every_key_of_a_study_is_documented(heading: str):
    known = {
        key: default(field)
        for key, field in PARTS[heading].model_fields.items()
        if key not in ("name", "folder") and not field.exclude
    }
    rows = table(sections(DOCS / "study.md")[heading])
    report = {quoted(row[0])[0]: [str(toml(value)) for value in quoted(row[2])] or [row[2]] for row in rows}
    assert report == {key: [value] for key, value in known.items()}


def toml(value: str) -> Any:
    return tomllib.loads(f"value = {value}")["value"]


def test_the_examples_read_and_show_every_key():
    blocks = re.findall(
        r"^```toml\n(.*?)^```$", (DOCS / "study.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    shown = [parse_study(tomllib.loads(block), Path("/studies/example")) for block in blocks]
    missing = {
        "Top level": set(Study.model_fields) - set().union(*(one.model_fields_set for one in shown)),
        "checkpoint": set(CheckpointRef.model_fields)
        - set().union(*(r.model_fields_set for s in shown for r in s.refs)),
        "dataset": set(DatasetSpec.model_fields) - set().union(*(one.dataset.model_fields_set for one in shown)),
        "prompt": set(PromptSpec.model_fields)
        - {"fields"}
        - set().union(*(one.prompt.model_fields_set for one in shown)),
        "training": set(TrainingSpec.model_fields)
        - set().union(*(one.training.model_fields_set for one in shown if one.training)),
    }
    assert missing == {part: set() for part in missing}


# Command line


def commands() -> dict[str, argparse.ArgumentParser]:
    (sub,) = (action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction))
    return dict(sub.choices)


def arguments(parser: argparse.ArgumentParser) -> dict[str, str]:
    """Each argument as it is typed, with its default as a table writes it, or nothing where words say it better."""
    result: dict[str, str] = {}
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        name = action.option_strings[0] if action.option_strings else str(action.metavar)
        required = action.required
        result[name] = "required" if required else "" if action.default in (None, False) else str(action.default)
    return result


@pytest.mark.parametrize("name", commands())
def test_every_command_and_option_is_documented(name: str):
    rows = table(sections(DOCS / "command-line.md")[name])
    expected = arguments(commands()[name])
    report = {quoted(row[0])[0]: (quoted(row[1]) or [row[1]])[0] for row in rows}
    assert report.keys() == expected.keys()
    assert {key: report[key] for key, value in expected.items() if value} == {k: v for k, v in expected.items() if v}


def test_no_command_is_documented_that_there_is_not():
    assert {one for one in sections(DOCS / "command-line.md") if one != "Environment variables"} == set(commands())


def test_every_environment_variable_is_documented():
    files = [*(ROOT / "backend").rglob("*.py"), *(ROOT / "pages").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    used = {name for file in files for name in re.findall(r"LAYERSHIFT_[A-Z_]*[A-Z]", file.read_text(encoding="utf-8"))}
    report = {quoted(row[0])[0] for row in table(sections(DOCS / "command-line.md")["Environment variables"])}
    assert report == used


def test_exit_codes_are_those_of_the_code():
    page = (DOCS / "command-line.md").read_text(encoding="utf-8")
    assert [row[0] for row in table(page.split("\n## ")[0])] == ["0", "1", "2", "130"]
    returned = re.findall(r"return (\d+)\n", (ROOT / "backend/__main__.py").read_text(encoding="utf-8"))
    assert {"0", "2", "130"} == set(returned)


# Trainers


def test_every_trainer_has_its_folder_and_its_command():
    page = (DOCS / "your-model.md").read_text(encoding="utf-8")
    about = {"Trainer", "TRL", "PEFT", "axolotl", "unsloth", "LLaMA-Factory"}
    assert about <= sections(DOCS / "your-model.md").keys()
    for part in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        title = part.partition("\n")[0]
        if title == "What is found, and how":
            continue
        assert re.search(r"^```\n.+?^```$", part, re.MULTILINE | re.DOTALL), f"{title} shows no folder"
        (command,) = re.findall(r"^`python -m backend (new mine .+)`$", part, re.MULTILINE)
        given = _parser().parse_args(shlex.split(command))
        assert given.folder and given.data, f"{title}: a folder and data are enough"
