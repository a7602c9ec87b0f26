"""What is exported, against a loop over plain transformers that sees one prompt at a time, and plain numpy."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

from backend import wiring
from backend.__main__ import main
from backend.analyses import discover
from backend.reports.export import cell
from tests.reports.tables import read, repeated
from tests.tiny import tiny_study


@pytest.fixture(scope="module")
def export_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """Export a tiny study of a family, once however pytest orders the tests; give study and folder."""

    @cache
    def exported_once(family: str) -> tuple[Path, Path]:
        root = tmp_path_factory.mktemp(family)
        study = tiny_study(root / "tiny", epochs=(1, 2), family=family)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LAYERSHIFT_CACHE", str(root / "cache"))
            wiring.open_lab.cache_clear()
            assert main(["export", str(study), "--out", str(root / "out")]) == 0
            wiring.open_lab.cache_clear()
        return study, root / "out"

    return exported_once


@pytest.fixture(params=["gpt2", "llama", "bert", "llama-classifier"])
def exported(request: pytest.FixtureRequest, export_of: Callable[[str], tuple[Path, Path]]) -> tuple[Path, Path]:
    """A tiny study of each family and the folder with everything that it exports."""
    return export_of(request.param)


def sample(out: Path) -> tuple[list[list[int]], np.ndarray]:
    lines = [json.loads(line) for line in (out / "sample.jsonl").read_text().splitlines()]
    return [line["token_ids"] for line in lines], np.array([line["label"] for line in lines])


def plain(place: Path, prompts: list[list[int]], tokens: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Logit difference [reviews] and residuals [reviews, layers, width], the last before the final norm.

    Among classifiers, a language model answers nothing: its logit difference is empty.
    """
    config = (place / "config.json").read_text()
    if "Bert" in config:
        return plain_encoder(place, prompts)
    heads = "ForSequenceClassification" in config
    kind = AutoModelForSequenceClassification if heads else AutoModelForCausalLM
    model = kind.from_pretrained(place, dtype=torch.float32)
    body = model.base_model
    norm = body.get_submodule("ln_f" if hasattr(body, "ln_f") else "norm")
    kept: list[torch.Tensor] = []
    norm.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0][0, -1]))
    logit_diff, residuals = [], []
    with torch.no_grad():
        for ids in prompts:
            output = model(torch.tensor([ids]), output_hidden_states=True)
            logits = output.logits[0].double() if heads else output.logits[0, -1].double()
            logit_diff.append(float(logits[tokens[1]] - logits[tokens[0]]))
            before = [state[0, -1] for state in output.hidden_states[:-1]]
            residuals.append(torch.stack([*before, kept.pop()]).double().numpy())
    answers = heads or tokens != [0, 1]  # those are rows of a head: the fakes' label words are other tokens
    return np.array(logit_diff) if answers else np.zeros(0), np.array(residuals)


def plain_encoder(place: Path, prompts: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Logit difference [reviews], empty for a base without a head, and residuals at [CLS] [reviews, layers, width]."""
    headless = "BertModel" in (place / "config.json").read_text()
    model = (AutoModel if headless else AutoModelForSequenceClassification).from_pretrained(place, dtype=torch.float32)
    logit_diff, residuals = [], []
    with torch.no_grad():
        for ids in prompts:
            output = model(torch.tensor([ids]), output_hidden_states=True)
            residuals.append(torch.stack([state[0, 0] for state in output.hidden_states]).double().numpy())
            if not headless:
                logit_diff.append(float(output.logits[0, 1] - output.logits[0, 0]))
    return np.array(logit_diff), np.array(residuals)


def references(study: Path, out: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    tokens = json.loads((out / "manifest.json").read_text())["label_tokens"]
    prompts, _ = sample(out)
    places = {"base": "base", "epoch 1": "checkpoints/epoch-1", "epoch 2": "checkpoints/epoch-2"}
    return {label: plain(study / place, prompts, tokens) for label, place in places.items()}


def test_accuracy_agrees_with_plain_transformers(exported: tuple[Path, Path]) -> None:
    study, out = exported
    _, labels = sample(out)
    rows = {(row["checkpoint"], row["label"]): row for row in read(out / "accuracy.csv")}
    for label, (logit_diff, _) in references(study, out).items():
        if not len(logit_diff):
            assert (label, "0") not in rows, "without a head there is no answer"
            continue
        assert logit_diff.std() > 0.5, "the logit difference must spread, or anything passes"
        recalls = [np.mean(logit_diff[labels == 0] <= 0), np.mean(logit_diff[labels == 1] > 0)]
        pairs = itertools.product(logit_diff[labels == 1], logit_diff[labels == 0])
        auc = np.mean([(p > n) + 0.5 * (p == n) for p, n in pairs])
        for c in (0, 1):
            row = rows[label, str(c)]
            assert float(row["recall"]) == pytest.approx(recalls[c])
            assert float(row["balanced_accuracy"]) == pytest.approx(np.mean(recalls))
            assert float(row["auc"]) == pytest.approx(auc, rel=1e-3)
            assert float(row["gap"]) == pytest.approx(
                logit_diff[labels == 1].mean() - logit_diff[labels == 0].mean(), rel=1e-3
            )
            assert float(row["mean_logit_diff"]) == pytest.approx(logit_diff.mean(), rel=1e-3)
            assert int(row["n"]) == 10
            for name in ("recall", "balanced_accuracy", "auc", "gap", "mean_logit_diff"):
                assert float(row[f"{name}_low"]) <= float(row[name]) <= float(row[f"{name}_high"])


def test_calibration_agrees_with_plain_transformers(exported: tuple[Path, Path]) -> None:
    study, out = exported
    _, labels = sample(out)
    rows = {row["checkpoint"]: row for row in read(out / "calibration.csv")}
    answering = {label: logit_diff for label, (logit_diff, _) in references(study, out).items() if len(logit_diff)}
    assert rows.keys() == answering.keys()
    for label, logit_diff in answering.items():
        of_class_1 = 1 / (1 + np.exp(-logit_diff))
        confidence = np.maximum(of_class_1, 1 - of_class_1)
        right = (logit_diff > 0) == (labels == 1)
        brier = 2 * np.mean((of_class_1 - labels) ** 2)
        expected = {"brier": brier, "confidence": confidence.mean(), "overconfidence": confidence.mean() - right.mean()}
        for name, value in expected.items():
            assert float(rows[label][name]) == pytest.approx(value, rel=1e-3, abs=1e-5), (label, name)


def test_direction_agrees_with_plain_transformers(exported: tuple[Path, Path]) -> None:
    study, out = exported
    _, labels = sample(out)
    rows = {(row["checkpoint"], int(row["layer"])): row for row in read(out / "direction.csv")}
    found = references(study, out)
    for label, (_, residuals) in found.items():
        for layer in range(residuals.shape[1]):
            row = {key: float(value) if value else None for key, value in list(rows[label, layer].items())[2:]}
            expected = numpy_direction(residuals[:, layer], found["base"][1][:, layer], labels)
            for name, value in expected.items():
                if value is None:
                    assert row[name] is None, (label, layer, name)
                else:
                    assert row[name] == pytest.approx(value, rel=1e-3, abs=1e-5), (label, layer, name)


def numpy_direction(x: np.ndarray, base: np.ndarray, labels: np.ndarray) -> dict[str, float | None]:
    """The contract's formulas for one layer, written out."""
    positive, negative = x[labels == 1], x[labels == 0]
    if np.ptp(x, axis=0).max() < 1e-6:
        return {"norm": 0.0, "norm_unbiased": 0.0, "relative": 0.0, "separation": None, "cosine_to_base": None}
    d = positive.mean(0) - negative.mean(0)
    norm = np.sqrt(sum(value**2 for value in d))
    spread = [part.var(axis=0, ddof=1).sum() for part in (negative, positive)]
    squared = norm**2 - spread[1] / len(positive) - spread[0] / len(negative)
    unbiased = np.sqrt(max(0.0, squared))
    weights = [len(negative) - 1, len(positive) - 1]
    d_base = base[labels == 1].mean(0) - base[labels == 0].mean(0)
    return {
        "norm": norm,
        "norm_unbiased": unbiased,
        "relative": norm / np.linalg.norm(x, axis=1).mean(),
        "separation": unbiased / np.sqrt(np.average(spread, weights=weights)),
        "cosine_to_base": float(d @ d_base / norm / np.linalg.norm(d_base)),
    }


def test_projection_distances_are_those_of_the_residuals_principal_plane(exported: tuple[Path, Path]) -> None:
    study, out = exported
    found = references(study, out)
    rows = [row for row in read(out / "projection.csv") if row["basis"] == "own" and row["checkpoint"] == "epoch 2"]
    residuals = found["epoch 2"][1]
    for layer in range(residuals.shape[1]):
        xy = np.array([[float(r["x"]), float(r["y"])] for r in rows if int(r["layer"]) == layer and r["x"]])
        centred = residuals[:, layer] - residuals[:, layer].mean(0)
        if np.abs(centred).max() < 1e-6:
            assert len(xy) == 0, "a constant layer has no plane"
            continue
        values = np.sort(np.linalg.eigvalsh(centred.T @ centred))[::-1][:2]
        assert np.allclose(np.linalg.svd(xy - xy.mean(0), compute_uv=False) ** 2, values, rtol=1e-3)


def test_every_file_is_there_and_no_cell_says_nan(exported: tuple[Path, Path]) -> None:
    _, out = exported
    names = {file.name for file in out.iterdir()}
    expected = {"accuracy.csv", "direction.csv", "projection.csv", "map.csv", "manifest.json", "sample.jsonl"}
    assert expected <= names
    assert not any(name.endswith(".part") for name in names)
    for file in out.glob("*.csv"):
        assert read(file), f"{file.name} is empty"
        assert "nan" not in file.read_text().lower().replace("finance", "")


ONLY_PREDICTING = {"output_space", "ablation", "unembedding", "logit_differences", "steered_predictions"}


def test_a_study_of_classifiers_has_every_table_but_those_of_next_tokens(exported: tuple[Path, Path]) -> None:
    study, out = exported
    if "ForSequenceClassification" not in (study / "checkpoints" / "epoch-2" / "config.json").read_text():
        pytest.skip("another kind of study")
    names = {file.stem for file in out.glob("*.csv")}
    left_out = (
        ONLY_PREDICTING | {"ordered", "merging"} | ({"attribution"} if study.parent.name.startswith("bert") else set())
    )
    assert names == set(discover()) - left_out
    assert {row["head"] for row in read(out / "probes.csv")} == {"own"}
    assert {row["norm"] for row in read(out / "probes.csv")} == {"none", "base", "own"}
    assert {row["checkpoint"] for row in read(out / "accuracy.csv")} == {"epoch 1", "epoch 2"}


def test_the_last_layer_through_the_own_head_is_the_answer(exported: tuple[Path, Path]) -> None:
    _, out = exported
    answers = {row["checkpoint"]: row for row in read(out / "accuracy.csv")}
    probed = read(out / "probes.csv")
    last = max(int(row["layer"]) for row in probed)
    for label, row in answers.items():
        (own,) = [
            one
            for one in probed
            if one["checkpoint"] == label
            and int(one["layer"]) == last
            and (one["head"], one["norm"]) == (("base", "base") if label == "base" else ("own", "own"))
        ]
        for name in ("balanced_accuracy", "auc", "gap", "mean_logit_diff"):
            assert float(own[name]) == pytest.approx(float(row[name]), rel=1e-3)
    swapped = {(row["host"], row["part"]): row for row in read(out / "swaps.csv") if row["mode"] == "single"}
    hosts = {host for host, _ in swapped}
    assert hosts == ({"base", "epoch 2"} & set(answers))
    if "attribution" in {file.stem for file in out.glob("*.csv")}:
        parts = [row for row in read(out / "attribution.csv") if row["checkpoint"] == "epoch 2" and row["label"] == "0"]
        total = sum(float(row["gap"]) for row in parts)
        assert total == pytest.approx(float(answers["epoch 2"]["gap"]), rel=1e-3)
        assert ("base" in answers) == all(row["change"] != "" for row in parts)


def test_no_table_has_two_rows_of_one_key(exported: tuple[Path, Path]) -> None:
    _, out = exported
    keys = json.loads((out / "manifest.json").read_text())["keys"]
    tables = list(out.glob("*.csv"))
    assert {"steering.csv", "similarity.csv"} <= {file.name for file in tables} <= keys.keys()
    for file in tables:
        assert repeated(read(file), keys[file.name]) == [], file.name


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, ""),
        (float("nan"), ""),
        (float("inf"), ""),
        (0.1, "0.1"),
        (np.float64(1 / 3), repr(1 / 3)),
        (3, 3),
        ("a", "a"),
    ],
)
def test_cells(value: Any, written: Any) -> None:
    assert cell(value) == written
