"""The smallest set of blocks that keeps the gain, on trained models with two blocks exchanged.

Table and sentence name exactly these blocks, and every number equals a loop over plain transformers.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
)

from backend import wiring
from backend.__main__ import main
from backend.analyses import side_effects
from backend.figures import side_effects as figures
from backend.lab.lab import Lab
from backend.lab.pinning import pin
from backend.study.config import load_study
from tests.fake_texts import fake_sample, fake_tokenizer
from tests.reports.tables import read
from tests.tiny import STUDY, rewrite

DEMO = Path(__file__).parents[2] / "studies" / "demo"
FOLDS, SHARE = 3, 0.9
Gaps = Callable[[np.ndarray], float]


@dataclass(frozen=True)
class Planted:
    """A study whose only checkpoint is the base with `blocks` of a trained model, and the names of its blocks."""

    folder: Path
    blocks: tuple[int, ...]
    stem: str
    layers: int
    encoder: bool


def exchange(base: Any, trained: Any, stem: str, blocks: tuple[int, ...]) -> Any:
    """Put blocks of the trained model into the base."""
    for i in blocks:
        base.get_submodule(f"{stem}.{i}").load_state_dict(trained.get_submodule(f"{stem}.{i}").state_dict())
    return base


def write_study(folder: Path) -> None:
    """The tiny study with one checkpoint, of few reviews."""
    text = STUDY.replace('path = "checkpoints/epoch-1"', 'path = "planted"').replace("sample = 20", "sample = 18")
    text = text.replace('[[checkpoints]]\nlabel = "epoch 2"\npath = "checkpoints/epoch-2"\n', "")
    (folder / "study.toml").write_text(text.replace("max_tokens = 48", "max_tokens = 64"))


def of_demo(folder: Path) -> Planted:
    """Five blocks of the demo's base (0, 1, 9, 10, 11), and the same with the first and last of its last epoch."""
    blocks, stem = (0, 4), "transformer.h"
    shutil.copytree(DEMO / "checkpoints" / "base", folder / "base")
    models: list[Any] = [
        AutoModelForCausalLM.from_pretrained(DEMO / "checkpoints" / one).float() for one in ("base", "epoch-3")
    ]
    for model in models:
        model.transformer.h = torch.nn.ModuleList([model.transformer.h[i] for i in (0, 1, 9, 10, 11)])
        model.config.n_layer = 5
    models[0].save_pretrained(folder / "base")
    exchange(models[0], models[1], stem, blocks).save_pretrained(folder / "planted")
    table = pd.read_csv(DEMO / "reviews.csv")
    pd.concat(part.head(9) for _, part in table.groupby("label")).to_csv(folder / "reviews.csv", index=False)
    write_study(folder)
    return Planted(folder, blocks, stem, 5, False)


def of_bert(folder: Path) -> Planted:
    """A small BERT whose blocks alone are trained on the fakes' reviews, and its base with blocks 0 and 2 of it."""
    blocks, stem = (0, 2), "bert.encoder.layer"
    torch.manual_seed(0)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=fake_tokenizer(), eos_token="<unk>", pad_token="<unk>")
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 64,
    }
    config = BertConfig(vocab_size=len(tokenizer), initializer_range=0.2, max_position_embeddings=64, **sizes)
    base = BertForSequenceClassification(config).eval()
    sample = fake_sample(60)
    pd.DataFrame({"text": sample.text, "label": sample.label}).to_csv(folder / "reviews.csv", index=False)
    trained = BertForSequenceClassification(config).eval()
    trained.load_state_dict(base.state_dict())
    inside = [parameter for name, parameter in trained.named_parameters() if name.startswith(stem)]
    optimizer = torch.optim.AdamW(inside, lr=2e-3)
    prompts = [tokenizer(f"Review: {text} Sentiment:")["input_ids"][-64:] for text in sample.text]
    longest = max(map(len, prompts))
    ids = torch.tensor([one + [0] * (longest - len(one)) for one in prompts])
    mask = torch.tensor([[1] * len(one) + [0] * (longest - len(one)) for one in prompts])
    for _ in range(30):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(
            trained(input_ids=ids, attention_mask=mask).logits, torch.tensor(sample.label)
        ).backward()
        optimizer.step()
    base.save_pretrained(folder / "base")
    exchange(base, trained, stem, blocks).save_pretrained(folder / "planted")
    for one in ("base", "planted"):
        tokenizer.save_pretrained(folder / one)
    write_study(folder)
    rewrite(folder, "causal", "encoder")
    return Planted(folder, blocks, stem, 4, True)


@pytest.fixture(scope="module", params=[of_demo, of_bert], ids=["causal", "encoder"])
def planted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planted]:
    folder = tmp_path_factory.mktemp("planted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAYERSHIFT_CACHE", str(folder / "cache"))
        wiring.open_lab.cache_clear()
        made = request.param(folder)
        command = ["export", str(folder), "--out", str(folder / "out"), "--only", "side_effects"]
        assert main(command) == 0
        yield made
        wiring.open_lab.cache_clear()


class Plain:
    """Logit differences of all reviews with some blocks of the planted model in the base, prompt by prompt."""

    def __init__(self, planted: Planted) -> None:
        made = AutoModelForSequenceClassification if planted.encoder else AutoModelForCausalLM
        self.base, self.other = (
            made.from_pretrained(planted.folder / one).float().eval() for one in ("base", "planted")
        )
        self.stem, self.encoder = planted.stem, planted.encoder
        lines = pd.read_json(planted.folder / "out" / "sample.jsonl", lines=True)
        self.ids, self.labels = list(lines.token_ids), lines.label.to_numpy()
        tokenizer = AutoTokenizer.from_pretrained(planted.folder / "base")
        words = [tokenizer.encode(f" {word}", add_special_tokens=False) for word in ("negative", "positive")]
        assert self.encoder or [len(one) for one in words] == [1, 1]
        self.read = [0, 1] if self.encoder else [one[0] for one in words]
        self.known: dict[tuple[int, ...], np.ndarray] = {}

    @torch.no_grad()
    def under(self, chosen: tuple[int, ...]) -> np.ndarray:
        chosen = tuple(sorted(chosen))
        if chosen not in self.known:
            kept = {i: self.base.get_submodule(f"{self.stem}.{i}").state_dict() for i in chosen}
            kept = {i: {name: value.clone() for name, value in state.items()} for i, state in kept.items()}
            exchange(self.base, self.other, self.stem, chosen)
            found = []
            for ids in self.ids:
                logits = self.base(input_ids=torch.tensor([ids])).logits[0]
                row = (logits if self.encoder else logits[-1])[self.read]
                found.append(float(row[1] - row[0]))
            for i, state in kept.items():
                self.base.get_submodule(f"{self.stem}.{i}").load_state_dict(state)
            self.known[chosen] = np.array(found)
        return self.known[chosen]

    def gap(self, values: np.ndarray, rows: np.ndarray) -> float:
        at = np.zeros(len(self.labels), bool)
        at[rows] = True
        return float(values[at & (self.labels == 1)].mean() - values[at & (self.labels == 0)].mean())

    def grown(self, rows: np.ndarray, layers: int, size: int) -> tuple[int, ...]:
        chosen: tuple[int, ...] = ()
        for _ in range(size):
            left = [i for i in range(layers) if i not in chosen]
            chosen += (max(left, key=lambda i: self.gap(self.under((*chosen, i)), rows)),)
        return chosen


def test_table_and_sentence_name_exactly_the_exchanged_blocks(planted: Planted):
    table = pd.DataFrame(read(planted.folder / "out" / "side_effects.csv"))
    sets = table[table.part == "set"]
    assert list(sets.blocks)[-1] == " ".join(map(str, planted.blocks))
    kept = sets.kept.astype(float).to_numpy()
    assert len(kept) == 2 and kept[0] < SHARE and kept[1] == pytest.approx(1, abs=1e-4)
    gains = table[table.part == "block"].gain.astype(float).to_numpy()
    assert np.flatnonzero(np.abs(gains) > 1e-4).tolist() == list(planted.blocks)


def test_the_page_names_them(planted: Planted):
    lab: Lab = wiring.open_lab()
    pinned = pin(load_study(planted.folder), lab)
    query = side_effects.queries(pinned)[-1]
    result = side_effects.recipe(query, lab)
    assert result.smallest(query.share) == planted.blocks
    listed = ", ".join(map(str, planted.blocks))
    said = f"The reference with only blocks {listed} of the checkpoint keeps 100 % of the gain."
    assert figures.kept_in_words(result, query.share) == said


def test_every_number_is_that_of_a_loop_over_plain_transformers(planted: Planted):
    plain = Plain(planted)
    table = pd.DataFrame(read(planted.folder / "out" / "side_effects.csv"))
    count = len(plain.labels)
    everything, rng, fold = np.arange(count), np.random.default_rng(0), np.zeros(count, int)
    for c in (0, 1):  # folds as documented: each class dealt out in a random order
        members = np.flatnonzero(plain.labels == c)
        fold[members] = rng.permutation(np.arange(len(members)) % FOLDS)
    full = plain.under(tuple(range(planted.layers)))
    start, end = (plain.gap(one, everything) for one in (plain.under(()), full))
    gains = table[table.part != "set"].gain.astype(float).to_numpy()
    expected = [end, *(plain.gap(plain.under((i,)), everything) for i in range(planted.layers))]
    np.testing.assert_allclose(gains, np.array(expected) - start, atol=1e-3)
    kept = table[table.part == "set"].kept.astype(float).tolist()
    for size, found in enumerate(kept, 1):
        judged = np.zeros(count)
        for f in range(FOLDS):
            chosen = plain.grown(np.flatnonzero(fold != f), planted.layers, size)
            judged[fold == f] = plain.under(chosen)[fold == f]
        assert found == pytest.approx((plain.gap(judged, everything) - start) / (end - start), abs=1e-3)
        blocks = plain.grown(everything, planted.layers, size)
        listed = table[(table.part == "set") & (table.block == str(size))].blocks.item()
        assert listed == " ".join(map(str, sorted(blocks)))
