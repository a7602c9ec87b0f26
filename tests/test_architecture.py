"""What the layout promises: who may import what, which files belong together, and what is never written."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from backend.stats import metrics

ROOT = Path(__file__).parents[1]
BACKEND = sorted((ROOT / "backend").rglob("*.py"))
PAGES = [ROOT / "app.py", *sorted((ROOT / "pages").rglob("*.py"))]
SOURCES = [*BACKEND, *PAGES]
TESTS = sorted((ROOT / "tests").rglob("*.py"))
MAX_LINES = 300

MODEL_LIBRARIES = {"torch", "transformers", "transformer_lens", "peft", "accelerate"}
LATE = {"scipy.stats", "scipy.special", "scipy.linalg", "scipy.sparse", "sklearn", "umap", "numba", "datasets"}
"""Libraries that are imported when they are first needed; `scipy` itself does so with its parts."""
PICKLERS = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
ARITHMETIC = {"numpy", "pandas", "scipy", "sklearn"}
CATCH_ALL = {"backend/caching/job.py"}  # a worker thread keeps every error for whoever waits


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def imported(file: Path) -> Iterator[str]:
    """Full names that a file imports anywhere, inside functions and through importlib too."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = ast.unparse(node.func)
            if called in ("importlib.import_module", "import_module", "__import__"):
                yield str(node.args[0].value)


def libraries(file: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(file)}


def importers(names: set[str], files: list[Path]) -> set[str]:
    return {name_of(file) for file in files if libraries(file) & names}


def outside(found: set[str], *allowed: str) -> list[str]:
    return sorted(name for name in found if not name.startswith(allowed))


def public_stems(folder: Path) -> set[str]:
    return {file.stem for file in folder.glob("*.py") if not file.stem.startswith("_")}


def test_only_models_and_training_open_models():
    assert outside(importers(MODEL_LIBRARIES, SOURCES), "backend/models/", "backend/training/") == []


def test_only_figures_know_plotly():
    assert outside(importers({"plotly"}, SOURCES), "backend/figures/") == []


def test_only_the_app_and_its_pages_know_streamlit():
    assert outside(importers({"streamlit"}, SOURCES), "app.py", "pages/") == []


def test_pages_hold_no_arithmetic():
    assert importers(ARITHMETIC, PAGES) == set()


def test_imports_are_absolute():
    assert [name_of(file) for file in SOURCES for name in imported(file) if name.startswith(".")] == []


def test_analyses_do_not_import_each_other():
    for file in (ROOT / "backend/analyses").glob("*.py"):
        assert [name for name in imported(file) if name.startswith("backend.analyses")] == [], name_of(file)


@pytest.mark.parametrize("stem", sorted(public_stems(ROOT / "backend/analyses")))
def test_an_analysis_has_a_figure_and_tests_of_the_same_name(stem: str):
    beside = (f"backend/figures/{stem}.py", f"tests/analyses/test_{stem}.py", f"tests/figures/test_{stem}.py")
    assert [name for name in beside if not (ROOT / name).exists()] == []


def test_nothing_is_pickled():
    assert importers(PICKLERS, SOURCES) == set()
    for file in SOURCES:
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in ("torch.load", "torch.save"), name_of(file)
                allowed = [word.value for word in node.keywords if word.arg == "allow_pickle"]
                assert all(isinstance(value, ast.Constant) and value.value is False for value in allowed), name_of(file)


def test_no_code_of_a_checkpoint_or_data_set_is_run():
    """`trust_remote_code` is False wherever it is written, in every room and in the tests."""
    for file in [*SOURCES, *TESTS, *(ROOT / "docs").glob("*.py"), *(ROOT / "benchmarks").glob("*.py")]:
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
                assert ast.unparse(node.value) == "False", f"{name_of(file)}:{node.value.lineno}"
            if isinstance(node, ast.Dict):
                given = {
                    ast.unparse(key): ast.unparse(value)
                    for key, value in zip(node.keys, node.values, strict=True)
                    if key
                }
                assert given.get("'trust_remote_code'", "False") == "False", f"{name_of(file)}:{node.lineno}"


def test_no_except_is_broad():
    for file in [file for file in SOURCES if name_of(file) not in CATCH_ALL]:
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.ExceptHandler):
                caught = ast.unparse(node.type) if node.type else "everything"
                broad = re.search(r"\b(everything|Exception|BaseException)\b", caught)
                assert not broad, f"{name_of(file)}:{node.lineno} catches {caught}"


def test_nothing_is_validated_by_assert():
    found = [f"{name_of(f)}:{n.lineno}" for f in SOURCES for n in ast.walk(tree(f)) if isinstance(n, ast.Assert)]
    assert found == []


def test_a_wrong_shape_or_type_is_an_error_in_every_test():
    labels = np.array([0, 0, 1, 1])
    assert metrics.class_sizes(labels, 2).tolist() == [2, 2]
    for wrong in (labels[None], labels.astype(float)):
        with pytest.raises(TypeCheckError, match="class_sizes"):
            metrics.class_sizes(wrong, 2)


@pytest.mark.parametrize("file", [*SOURCES, *TESTS], ids=name_of)
def test_a_module_says_in_a_line_what_it_is(file: Path):
    if tree(file).body:
        first = (ast.get_docstring(tree(file)) or "").partition("\n")[0]
        assert first.endswith((".", ":", "?")), f"{name_of(file)} needs a first line that is a sentence"


@pytest.mark.parametrize("file", SOURCES, ids=name_of)
def test_a_file_is_short(file: Path):
    lines = len(file.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{name_of(file)} has {lines} lines; one idea per file"


def test_a_warm_dashboard_imports_nothing_that_delays_the_first_page():
    warm = [
        name_of(file).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for file in BACKEND
        if not name_of(file).startswith(("backend/models/", "backend/training/", "backend/__main__"))
    ]
    program = f"import importlib, sys\nfor name in {warm!r}: importlib.import_module(name)\n"
    program += f"sys.exit(', '.join(sorted({MODEL_LIBRARIES | LATE!r} & set(sys.modules))) or 0)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"imported: {done.stderr.strip()}"


def requirement_lines(file: str) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in (ROOT / file).read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("-r ")]


def distribution(requirement: str) -> str:
    """`pyright[nodejs]==1` and `umap_learn` as the one name that both have on the index."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[=]", requirement)[0]).lower()


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-cluster.txt", "requirements-dev.txt"])
def test_requirements_are_pinned(file: str):
    lines = requirement_lines(file)
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9_.-]+(\[[a-z]+\])?==[0-9][0-9A-Za-z.]*", line)] == []
    assert len({distribution(line) for line in lines}) == len(lines)


def test_every_library_that_is_imported_is_required():
    files = "requirements.txt", "requirements-cluster.txt"
    required = {distribution(line) for file in files for line in requirement_lines(file)}
    provided = packages_distributions()
    ours = {"backend", "app", "pages"} | {file.stem for file in PAGES}
    used = set().union(*map(libraries, SOURCES)) - set(sys.stdlib_module_names) - ours
    assert {name for name in used if not required & set(map(distribution, provided.get(name, [])))} == set()


def test_the_image_is_made_of_the_same_requirements():
    image = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert "COPY requirements.txt" in image
    assert image.count("pip install") == 1
    assert "-r requirements.txt" in image
    assert image.index("USER layershift") < image.index('CMD ["streamlit')
    assert "HEALTHCHECK" in image
    assert 'VOLUME ["/app/cache", "/app/studies"]' in image


def test_the_readme_names_the_two_commands():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make run" in readme
    assert "make test" in readme


@pytest.mark.parametrize("file", [file for file in TESTS if file.name.startswith("test_")], ids=name_of)
def test_a_test_file_imports_no_other(file: Path):
    """What several need lies in a module of its own, such as tests/tiny.py."""
    names = [alias.name for node in ast.walk(tree(file)) if isinstance(node, ast.ImportFrom) for alias in node.names]
    parts = [part for name in [*imported(file), *names] if name.startswith("tests.") for part in name.split(".")]
    modules = [name for name in names if (file.parent / f"{name}.py").exists()]
    assert [part for part in [*parts, *modules] if part.startswith("test_")] == []
