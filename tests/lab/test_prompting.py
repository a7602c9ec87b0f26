"""How real checkpoints are asked, against plain loops of transformers; what contradicts itself is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from backend import wiring
from backend.__main__ import main
from backend.errors import CheckpointError, PromptError
from backend.lab.lab import Lab
from backend.lab.pinning import pin
from backend.study.config import load_study
from backend.study.pinned import PinnedStudy
from tests.reports.conftest import Still
from tests.tiny import rewrite, tiny_study

SAME = 'label_words = ["negative", "positive"]\nseparator = " "'


def words(folder: Path, first: str, second: str, separator: str | None = " ") -> None:
    """Ask the study for other label words."""
    line = "" if separator is None else f"separator = {json.dumps(separator)}\n"
    rewrite(folder, SAME, f'label_words = ["{first}", "{second}"]\n{line}')


def whole_texts(study: PinnedStudy, label: str) -> list[str]:
    """The texts that fit as the checkpoint sees them."""
    cut = study.prompts.seen_by(study.checkpoint(label)).truncated
    return [text for text, short in zip(study.sample.text, cut, strict=True) if not short]


def plain_answers(study: PinnedStudy, label: str, endings: tuple[str, str]) -> np.ndarray:
    """Log-probability of each ending behind each prompt that is not cut, one prompt at a time."""
    place = str(study.checkpoint(label).ref.path)
    model = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32).requires_grad_(False)
    tokenizer = AutoTokenizer.from_pretrained(place)
    rows = []
    for text in whole_texts(study, label):
        whole = [tokenizer(study.study.prompt.template.format(text=text) + one)["input_ids"] for one in endings]
        shared = next(i for i, pair in enumerate(zip(*whole, strict=False)) if len(set(pair)) > 1)
        row = []
        for ids in whole:
            logs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
            row.append(sum(float(logs[i - 1, ids[i]]) for i in range(shared, len(ids))))
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize(
    ("first", "second", "separator"),
    [
        ("negative", "positive", " "),
        ("spam negative", "spam positive", " "),
        ("spam mixed", "unclear", " "),
        ("mixed spam negative", "spam", " "),
        (" negative", " positive", ""),
    ],
)
def test_words_are_read_as_a_plain_loop_reads_them(
    tmp_path: Path, lab: Lab, family: str, first: str, second: str, separator: str
) -> None:
    folder = tiny_study(tmp_path / "tiny", (1,), family)
    rewrite(folder, "sample = 20", "sample = 8")
    rewrite(folder, "max_tokens = 48", "max_tokens = 40")
    words(folder, first, second, separator)
    study = pin(load_study(folder), lab)
    for one in study.checkpoints:
        read, fits = lab.readout(one, study.prompts), ~study.prompts.truncated
        expected = plain_answers(study, one.label, (separator + first, separator + second))
        difference = read.logits[:, 1] - read.logits[:, 0]
        assert fits.sum() >= 3
        np.testing.assert_allclose(difference[fits], expected[:, 1] - expected[:, 0], rtol=1e-3, atol=1e-3)
        logit_diff = lab.answers(read.reading[:, :, -1], study.prompts, one, one)
        np.testing.assert_allclose(logit_diff[:, 1] - logit_diff[:, 0], difference, rtol=1e-3, atol=1e-3)


def test_a_separator_is_found_by_what_checkpoints_find_likelier(tmp_path: Path, lab: Lab) -> None:
    folder = tiny_study(tmp_path / "tiny")
    words(folder, "negative", "positive", None)
    study = pin(load_study(folder), lab)
    assert (study.separator, study.separator_found) == (" ", True), (
        "behind nothing the words are unknown to the tokenizer"
    )


def test_words_with_a_space_of_their_own_need_no_separator(tmp_path: Path, lab: Lab) -> None:
    folder = tiny_study(tmp_path / "tiny", (1,))
    words(folder, " negative", " positive", None)
    study = pin(load_study(folder), lab)
    assert (study.separator, study.separator_found) == ("", False)
    assert not any("two spaces" in sentence for sentence in study.warnings)
    expected = plain_answers(study, "epoch 1", (" negative", " positive"))
    read, fits = lab.readout(study.checkpoint("epoch 1"), study.prompts), ~study.prompts.truncated
    difference = read.logits[:, 1] - read.logits[:, 0]
    np.testing.assert_allclose(difference[fits], expected[:, 1] - expected[:, 0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("template", "word", "separator", "says"),
    [
        ("Sentiment:", " negative", " ", 'ends with a space and the label word " negative" begins with one'),
        ("Sentiment: ", "negative", " ", "prompt.template ends with a space and the separator begins with one"),
        ("Sentiment: ", "negative", "", None),
        ("Sentiment:", "negative", " ", None),
    ],
)
def test_two_spaces_before_the_answer_are_a_warning(
    tmp_path: Path, lab: Lab, template: str, word: str, separator: str, says: str | None
) -> None:
    folder = tiny_study(tmp_path / "tiny", (1,))
    rewrite(folder, "Sentiment:", template)
    words(folder, word, word.replace("negative", "spam"), separator)
    found = [sentence for sentence in pin(load_study(folder), lab).warnings if "two spaces" in sentence]
    assert len(found) == (says is not None)
    assert says is None or says in found[0]


def own_tokenizer(place: Path) -> None:
    """Give a checkpoint a tokenizer that puts a token before every text, by a setting beside tokenizer.json."""
    raw = json.loads((place / "tokenizer.json").read_text())
    raw["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<unk>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<unk>": {"id": "<unk>", "ids": [0], "tokens": ["<unk>"]}},
    }
    (place / "tokenizer.json").write_text(json.dumps(raw))


def test_whose_token_ids_count_must_be_said_where_they_differ(
    tmp_path: Path, lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAYERSHIFT_CACHE", str(tmp_path / "cache"))
    folder = tiny_study(tmp_path / "tiny", (1, 2))
    own_tokenizer(folder / "checkpoints" / "epoch-2")
    assert main(["check", str(folder)]) == 2
    assert "epoch 2 reads other token ids than the base: its own tokenizer gives <unk>" in capsys.readouterr().out
    rewrite(folder, 'separator = " "', 'separator = " "\ntokenizer = "base"')
    assert main(["check", str(folder)]) == 0
    based = pin(load_study(folder), lab)
    assert not based.missing and not based.prompts.own
    rewrite(folder, 'tokenizer = "base"', 'tokenizer = "own"')
    study = pin(load_study(folder), lab)
    last = study.checkpoint("epoch 2")
    assert study.prompts.seen_by(last).token_ids[0] == (0, *study.prompts.token_ids[0])
    expected = plain_answers(study, "epoch 2", (" negative", " positive"))
    logits = lab.readout(last, study.prompts).logits[~study.prompts.seen_by(last).truncated]
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], expected[:, 1] - expected[:, 0], rtol=1e-3, atol=1e-3)


def test_what_the_base_cannot_read_is_refused(tmp_path: Path, lab: Lab) -> None:
    folder = tiny_study(tmp_path / "tiny")
    words(folder, "positive", "qwertz")
    with pytest.raises(PromptError, match="does not know the label word"):
        pin(load_study(folder), lab)
    file = folder / "study.toml"
    text = (
        file.read_text()
        .replace("qwertz", "negative")
        .replace("max_tokens = 48", "max_tokens = 65")
        .replace("sample = 20", "sample = 100")
    )
    file.write_text(text)
    with pytest.raises((PromptError, CheckpointError), match="64 positions"):
        pin(load_study(folder), lab)


def test_what_has_no_value_is_left_out_of_an_export_and_the_rest_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a study whose last checkpoint sees other token ids, and of one with label words of several tokens."""
    monkeypatch.setenv("LAYERSHIFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Still))  # the real one compiles for a minute
    wiring.open_lab.cache_clear()
    own, several = (tiny_study(tmp_path / name, (1, 2)) for name in ("own", "several"))
    own_tokenizer(own / "checkpoints" / "epoch-2")
    rewrite(own, 'separator = " "', 'separator = " "\ntokenizer = "own"')
    words(several, "spam mixed", "unclear")
    tables = ["--only", "accuracy,attribution,output_space,probes,steering,swaps"]
    assert main(["export", str(own), "--out", str(tmp_path / "a"), *tables]) == 0
    said = capsys.readouterr().err
    assert "left out of swaps: " in said and "have different token ids for the texts" in said
    pairs = {row.split(",")[0] for row in (tmp_path / "a" / "output_space.csv").read_text().splitlines()[1:]}
    assert pairs == {"base", "epoch 1"}
    everyone = {row.split(",")[0] for row in (tmp_path / "a" / "accuracy.csv").read_text().splitlines()[1:]}
    assert everyone == {"base", "epoch 1", "epoch 2"}
    lines = [json.loads(line) for line in (tmp_path / "a" / "sample.jsonl").read_text().splitlines()]
    assert all(line["own_token_ids"]["epoch 2"][0] == 0 for line in lines)
    assert main(["report", str(own), "--out", str(tmp_path / "own.html")]) == 0
    assert "have different token ids for the texts" in (tmp_path / "own.html").read_text()
    assert main(["export", str(several), "--out", str(tmp_path / "b"), *tables]) == 0
    there = {file.stem for file in (tmp_path / "b").glob("*.csv")}
    assert {"attribution", "swaps", "steering", "probes", "output_space"} <= there
    accuracy, parts = (pd.read_csv(tmp_path / "b" / f"{name}.csv") for name in ("accuracy", "attribution"))
    gaps = parts[parts.label == 0].groupby("checkpoint").gap.sum()
    np.testing.assert_allclose(gaps[accuracy.checkpoint], accuracy.gap, atol=1e-3)
    wiring.open_lab.cache_clear()
