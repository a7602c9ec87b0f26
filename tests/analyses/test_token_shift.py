"""Token shift: against plain numpy on files of both families, extended and untied vocabularies, and on fakes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from backend.analyses import token_shift
from backend.caching.cache import Cache
from backend.derived.embedding_shift import Moved
from backend.derived.token_counts import CountQuery
from backend.lab.lab import Lab
from backend.models.local import LocalModels
from backend.study.checkpoint import PinnedCheckpoint
from tests.fake_texts import fake_sample, fake_tokenizer
from tests.fakes import fake_lab, fake_study
from tests.models.random_models import random_model, real_lab, ref, save


def plain(folder: Path, name: str) -> np.ndarray:
    return load_file(folder / "model.safetensors")[name].double().numpy()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    ("family", "name"), [("gpt2", "transformer.wte.weight"), ("llama", "model.embed_tokens.weight")]
)
def test_agrees_with_numpy_on_the_files(family: str, name: str, tied: bool, tmp_path: Path) -> None:
    """The checkpoint has five rows more than the base, and no token for two of them."""
    base = save(random_model(family, seed=0, tied=tied), tmp_path / "base")
    longer = random_model(family, seed=1, tied=tied)
    longer.resize_token_embeddings(longer.config.vocab_size + 5, mean_resizing=False)
    tuned = save(longer, tmp_path / "tuned")
    query, lab = on_disk(base, tuned, tmp_path)
    result = token_shift.recipe(query, lab)
    assert result.tied == tied
    for matrix, shift in ((name, result.input), ("lm_head.weight", result.output)):
        if shift is None:
            assert tied
            continue
        before = plain(base, matrix)
        after = plain(tuned, matrix)[: len(before)]
        change = after - before
        with np.errstate(invalid="ignore"):  # the row of Llama's padding is zero
            cosine = (before * after).sum(1) / np.linalg.norm(before, axis=1) / np.linalg.norm(after, axis=1)
        for measure, expected in (
            ("l2", np.sqrt((change**2).sum(1))),
            ("cosine_distance", 1 - cosine),
            ("l2_centred", np.linalg.norm(change - change.mean(0), axis=1)),
        ):
            np.testing.assert_allclose(getattr(shift, measure), expected, rtol=1e-3)
    rows = list(result.rows(query))
    assert len(rows) == len(plain(base, name))
    assert (rows[5]["output_l2"] is None) == tied


def on_disk(base: Path, tuned: Path, folder: Path) -> tuple[token_shift.Query, Lab]:
    """The query for two checkpoints on disk, and a lab with the real models."""
    lab = real_lab(Cache(folder / "cache"), LocalModels(Cache(folder / "cache")))
    pinned = [
        PinnedCheckpoint(
            lab.models.fingerprint(one, ref(base)), "float32", one, ref(base), lab.models.facts(one, ref(base))
        )
        for one in (ref(base), ref(tuned, "epoch 1"))
    ]
    return token_shift.Query(pinned[1], pinned[0], CountQuery(pinned[0], fake_sample(), None)), lab


def test_the_recipe_on_fakes_names_tokens_and_counts_them(tmp_path: Path) -> None:
    study = fake_study()
    query = token_shift.queries(study)[1]
    result = token_shift.recipe(query, fake_lab(tmp_path))
    tokenizer = fake_tokenizer()
    script = tokenizer.token_to_id(" script")
    assert script is not None
    assert result.token[script] == "␣script"
    assert result.count[script] == sum(tokenizer.encode(text).ids.count(script) for text in study.sample.text) > 0
    assert result.token[-1] == f"(no token {len(result.token) - 1})"
    assert result.count[-1] == 0
    assert result.groups == ("positive", "negative")
    assert {result.token[i] for i in np.flatnonzero(result.group == 1)} >= {"␣tired", "␣badly"}
    assert result.group[script] == -1
    assert result.counted_in == "sample"
    assert not result.tied
    assert result.output is not None
    assert result.measure("l2", "output") is result.output.l2
    row = result.row(script)
    assert list(row) == [
        *("token_id", "token", "l2", "cosine_distance", "l2_centred", "group", "count", "counted_in"),
        *("output_l2", "output_cosine_distance", "output_l2_centred"),
    ]
    assert row["l2"] == result.input.l2[script]


def test_tied_matrices_have_one_shift() -> None:
    one = np.ones(2)
    tied = token_shift.Result(
        ("a", "b"),
        (),
        np.full(2, -1),
        np.zeros(2, dtype=np.int64),
        "sample",
        "",
        Moved(one, one, one, 0.0),
        None,
    )
    assert tied.measure("l2", "output") is one


def test_queries_leave_the_reference_out() -> None:
    study = fake_study()
    assert [q.checkpoint.label for q in token_shift.queries(study)] == ["epoch 1", "epoch 2", "epoch 3"]
    against = token_shift.queries(study, "epoch 2")
    assert [q.checkpoint.label for q in against] == ["base", "epoch 1", "epoch 3"]
    assert {q.reference.label for q in against} == {"epoch 2"}
    with pytest.raises(KeyError):
        token_shift.queries(study, "epoch 9")


def test_a_word_is_compared_with_words_of_its_frequency() -> None:
    rng = np.random.default_rng(0)
    count = np.repeat([0, 1, 5, 40], [100, 60, 40, 10])
    moved = np.exp(rng.normal(size=210)) * (1 + count)
    result = token_shift.Result(
        token=tuple(map(str, range(210))),
        groups=(),
        group=np.full(210, -1),
        count=count,
        counted_in="sample",
        count_note="",
        input=Moved(moved, np.zeros(210), moved, 0.0),
        output=None,
    )
    ratio = result.against_frequency("l2", "output")
    for times in (0, 1, 5):
        np.testing.assert_allclose(ratio[count == times], moved[count == times] / np.median(moved[count == times]))
    assert np.isnan(ratio[count == 40]).all(), "ten tokens say nothing of what is typical"
    assert np.isnan(result.against_frequency("cosine_distance", "input")).all()
