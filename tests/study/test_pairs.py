"""Pairs of texts fill a template, are cut at the longer text, and give the results of a plain loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, processors
from transformers import AutoModelForCausalLM

from backend.__main__ import main
from backend.caching.cache import Cache
from backend.errors import PromptError, StudyError
from backend.lab import pinning
from backend.lab.lab import Lab
from backend.lab.pinning import pin
from backend.models.local import LocalModels
from backend.study.config import DatasetSpec, PromptSpec, load_study, parse_study
from backend.study.dataset import classify, make_sample
from backend.study.pairs import in_order, joined, shorter, shown, token_spans, typed
from backend.study.reader import fill, plain_reader
from backend.study.typed_texts import leave_out, read_typed
from tests.models.random_models import real_lab
from tests.study.byte_tokenizer import alone, bytes_tokenizer
from tests.tiny import pair_study, rewrite

SPEC = PromptSpec(template="One: {b} Two: {a} Same:", label_words=("no", "yes"), max_tokens=40).model_copy(
    update={"fields": ("a", "b")}
)
LONG = (" ".join(f"film {i}" for i in range(40)), "short")


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    cache = Cache(tmp_path / "cache")
    return real_lab(cache, LocalModels(cache))


def test_texts_fill_the_template_where_it_names_them() -> None:
    assert joined(SPEC, in_order(SPEC, ("first", "second"))) == "second Two: first"
    assert joined(SPEC, in_order(SPEC, "as it is")) == "as it is"
    assert shown(("one\nline", "two")) == "one line\ntwo"


@pytest.mark.parametrize("keep", ["start", "end"])
def test_the_longer_text_loses_whole_tokens(keep: str) -> None:
    tokenizer = bytes_tokenizer()
    offsets = tokenizer.encode(LONG[0]).offsets
    texts = list(shorter(LONG, token_spans(tokenizer, LONG), len(tokenizer.encode("short").ids) + 10, keep))
    first = LONG[0][: offsets[9][1]].rstrip() if keep == "start" else LONG[0][offsets[-10][0] :].lstrip()
    assert texts[0] == (first, "short")
    assert texts[-1] == ("", "")
    assert next(shorter(("ab", "cd"), token_spans(tokenizer, ("ab", "cd")), 3, keep))[0] == "ab", (
        "of equals the last is cut"
    )


def test_a_long_pair_fits_and_keeps_the_template() -> None:
    tokenizer = bytes_tokenizer()
    filled = fill(plain_reader(tokenizer, SPEC, "causal"), LONG)
    assert len(filled.ids) <= SPEC.max_tokens and filled.cut
    assert filled.left == f"short Two: {filled.parts[1]}"
    assert LONG[0].endswith(filled.parts[1])
    assert tokenizer.decode(list(filled.ids)).startswith("One: short Two:")
    assert tokenizer.decode(list(filled.ids)).endswith(" Same: ")
    with pytest.raises(PromptError, match="template alone takes"):
        fill(plain_reader(tokenizer, SPEC.model_copy(update={"max_tokens": 3}), "causal"), LONG)


def test_special_tokens_in_the_template_make_the_ids_of_an_encoded_pair() -> None:
    tokenizer: Tokenizer = bytes_tokenizer()
    tokenizer.add_special_tokens(["</s>"])
    ends = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=ends
    )
    spec = SPEC.model_copy(update={"template": "{a}</s></s>{b}"})
    ids = fill(plain_reader(tokenizer, spec, "encoder"), ("a film", "no film")).ids
    assert list(ids) == tokenizer.encode("a film", "no film").ids


def test_a_typed_pair_is_a_line_each() -> None:
    assert typed(SPEC, "one\n\n two \n") == ("one", "two")
    with pytest.raises(PromptError, match=r"reads 2 texts together \(a, b\); write each on its own line"):
        typed(SPEC, "one")
    readers = alone(bytes_tokenizer(), SPEC)
    read = read_typed(readers, "first\nsecond")
    assert read.left == "second Two: first" and read.cut == ""
    assert "".join(read.pieces) == "One: second Two: first Same: "
    long = read_typed(readers, "\n".join(LONG))
    assert long.cut and LONG[0].strip().startswith(long.cut.strip())
    prompts, words = leave_out(readers, read.parts, 10)
    assert words == ("second", "Two:", "first") and prompts.token_ids[0] == read.prompts.token_ids[0]


def test_a_pair_needs_both_texts() -> None:
    table = pd.DataFrame({"a": ["x", "y", None, "z"], "b": ["1", "2", "3", " "], "label": [0, 1, 0, 1]})
    rows, _ = classify(table, DatasetSpec(path="x.csv", text=("a", "b")), ("no", "yes"))
    assert rows.index.tolist() == [0, 1]
    assert rows.parts == (("x", "1"), ("y", "2"))
    assert rows.text == ("x\n1", "y\n2")


def test_a_sample_of_single_texts_has_the_digest_that_it_had() -> None:
    index = np.arange(2)
    single = make_sample(index, index, ["a", "b\nc"])
    assert single.digest == "05c31f643e6158c5acb00e511b8a33ae63632592e19c8124c2791f7d46773baf"
    pair = make_sample(index, index, ["a", "b\nc"], [("a", ""), ("b", "c")])
    other = make_sample(index, index, ["a", "b\nc"], [("a", ""), ("b\nc", "")])
    assert len({single.digest, pair.digest, other.digest}) == 3
    assert single.inputs == ("a", "b\nc") and pair.inputs == (("a", ""), ("b", "c"))


def test_a_study_of_pairs_reads_as_a_plain_loop(tmp_path: Path, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    study = load_study(pair_study(tmp_path / "tiny", (1,)))
    assert study.prompt.fields == ("premise", "hypothesis")
    pinned = pin(study, lab)
    monkeypatch.setattr(pinning, "_SAMPLES", {})  # so that the second comes from the cache
    again = pin(study, lab)
    assert again.sample.digest == pinned.sample.digest and again.sample.parts == pinned.sample.parts
    table = pd.read_csv(tmp_path / "tiny" / "reviews.csv")
    tokenizer = lab.models.tokenizer(study.base, study.base)
    checkpoint = pinned.checkpoints[1]
    model = AutoModelForCausalLM.from_pretrained(str(checkpoint.ref.path), dtype=torch.float32).eval()
    logits = lab.readout(checkpoint, pinned.prompts).logits
    whole = [i for i, cut in enumerate(pinned.prompts.truncated) if not cut]
    assert len(whole) > 5
    for i in whole:
        row = table.iloc[int(pinned.sample.index[i])]
        text = f"Review: {row.premise} And {row.hypothesis} Sentiment:"
        ids = torch.tensor([tokenizer.encode(text).ids])
        assert tuple(ids[0].tolist()) == pinned.prompts.token_ids[i]
        words = [tokenizer.encode(f"{text} {word}").ids[-1] for word in study.prompt.label_words]
        np.testing.assert_allclose(logits[i], model(ids).logits[0, -1, words].detach(), atol=1e-3)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{premise} {hypothesis}", "tokenizer(first, second), no token types"),
        ("{premise} or {hypothesis}", "the template as one text"),
    ],
)
def test_check_says_how_an_encoder_reads_a_pair(
    template: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(pair_study(tmp_path / "tiny", (1, 2), "bert"), "Review: {premise} And {hypothesis} Sentiment:", template)
    monkeypatch.setenv("LAYERSHIFT_STUDIES", str(tmp_path))
    monkeypatch.setenv("LAYERSHIFT_CACHE", str(tmp_path / "cache"))
    assert main(["check", "tiny"]) == 0
    assert f"  pair         {said}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": ["a", "b"]}, "prompt.template has {text}, but dataset.text lists several columns; use {a} and {b}"),
        ({"text": ["a"]}, "dataset.text must be a column, or a list of at least two columns"),
        ({"text": 3}, "dataset.text must be a column"),
        ({"text": ["a", ""]}, "dataset.text must be a column"),
    ],
)
def test_a_study_says_what_is_wrong_with_its_pair(change: dict[str, Any], message: str) -> None:
    raw: dict[str, Any] = {"title": "t", "family": "causal", "base": {"repo": "b"}}
    prompt = {"template": "{text}", "label_words": ["a", "b"]}
    with pytest.raises(StudyError) as caught:
        parse_study({**raw, "dataset": {"repo": "d", **change}, "prompt": prompt}, Path("/s"))
    assert message in str(caught.value)
    with pytest.raises(StudyError, match=r"prompt\.fields is an unknown key"):
        parse_study({**raw, "dataset": {"repo": "d"}, "prompt": {**prompt, "fields": ["text"]}}, Path("/s"))
