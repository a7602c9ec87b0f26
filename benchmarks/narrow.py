"""Does the Difference page name what a narrow fine-tune taught? Two fine-tunes of the demo's base, with known truth.

python -m benchmarks.narrow [--data train.parquet] [--reviews 1500] [--steps 400] [--batch 16] [--out FOLDER]

One is trained on IMDB reviews with at least two different horror words, the other on as many random reviews; both by
next-token prediction, without labels. Theme tokens are those at least three times as frequent in the first set as in
all reviews (and at least 20 times there). On neutral sentences, the page names the theme if at least 5 of the 20 top
tokens, or half of the tokens of one of the 3 top topics, are theme tokens. Nothing is shipped.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from backend import wiring
from backend.analyses import activation_differences, logit_differences
from backend.derived.model_differences import PLACES
from backend.lab.pinning import pin
from backend.study.config import load_study

DEMO = Path(__file__).parents[1] / "studies" / "demo"
DATA = Path("/work/shared/data/imdb/train.parquet")
WORDS = (
    *("horror", "zombie", "zombies", "vampire", "vampires", "monster", "gore", "gory", "slasher", "killer", "ghost"),
    *("haunted", "demon", "demons", "creature", "scary", "werewolf", "bloody", "corpse", "possessed", "undead"),
)
LENGTH = 128
RATIO, FEWEST = 3.0, 20
TOP, TOPICS = 5, 3
STUDY = """title = "Narrow fine-tunes"
family = "causal"
[base]
path = "{base}"
[[checkpoints]]
label = "horror"
path = "horror"
[[checkpoints]]
label = "random"
path = "random"
[dataset]
path = "{reviews}"
sample = 64
[prompt]
template = "Review: {{text}} Sentiment:"
label_words = ["negative", "positive"]
separator = " "
max_tokens = 127
"""


def chosen(data: Path, count: int) -> tuple[list[str], list[str], list[str]]:
    """Return reviews of the theme, as many random ones, and all reviews."""
    texts = [" ".join(text.replace("<br />", " ").split()) for text in pd.read_parquet(data)["text"]]
    pattern = re.compile(rf"\b({'|'.join(WORDS)})\b")
    theme = [text for text in texts if len(set(pattern.findall(text.lower()))) >= 2]
    rng = np.random.default_rng(0)
    count = min(count, len(theme))
    return [[pool[i] for i in rng.permutation(len(pool))[:count]] for pool in (theme, texts)] + [texts]  # pyright: ignore[reportReturnType]


def windows(tokenizer: Tokenizer, texts: Sequence[str]) -> torch.Tensor:
    """Return the reviews as rows of LENGTH tokens, one after the other."""
    ids = [token for encoding in tokenizer.encode_batch(list(texts)) for token in encoding.ids]
    rows = len(ids) // LENGTH
    return torch.tensor(ids[: rows * LENGTH]).view(rows, LENGTH)


def train(base: Path, rows: torch.Tensor, steps: int, size: int, out: Path) -> None:
    """Fine-tune the base on the rows by next-token prediction, and save it."""
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, steps)
    order = torch.cat([torch.randperm(len(rows)) for _ in range(1 + steps * size // len(rows))])
    started = time.perf_counter()
    for step in range(steps):
        batch = rows[order[step * size : (step + 1) * size]]
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if step % 20 == 0:
            print(
                f"  {out.name}: step {step}, loss {loss.item():.3f}, {time.perf_counter() - started:.0f} s", flush=True
            )
    model.half().save_pretrained(out)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (out / file).write_bytes((base / file).read_bytes())


def theme_tokens(tokenizer: Tokenizer, theme: Sequence[str], everything: Sequence[str]) -> set[int]:
    """Return the tokens that are far more frequent in the reviews of the theme than in all."""
    counts = []
    for texts in (theme, everything):
        ids = [token for encoding in tokenizer.encode_batch(list(texts)) for token in encoding.ids]
        counts.append(np.bincount(ids, minlength=tokenizer.get_vocab_size()))
    rates = [count / count.sum() for count in counts]
    return set(np.flatnonzero((counts[0] >= FEWEST) & (rates[0] >= RATIO * rates[1])).tolist())


def report(folder: Path, about: set[str]) -> bool:
    """Print what the Difference page says of both; return whether it names the theme for the first only."""
    lab = wiring.open_lab()
    study = pin(load_study(folder), lab)
    named: dict[str, bool] = {}
    for checkpoint in study.checkpoints[1:]:
        moved = activation_differences.recipe(
            activation_differences.query(study, checkpoint, study.base, "neutral"), lab
        )
        found = logit_differences.recipe(logit_differences.query(study, checkpoint, study.base, "neutral"), lab)
        layer = moved.norm.shape[1] - 1
        lists = {f"residuals, last layer, {place}": moved.tokens(p, layer) for p, place in enumerate(PLACES)}
        lists["likelier tokens"] = found.token[: int((found.change.value > 0).sum())]
        topics = [one for one in found.topics if one.way == "likelier"][:TOPICS]
        print(f"\n{checkpoint.label}: KL {found.kl.value:.3f} nats per token")
        hits = {name: sum(token in about for token in tokens) for name, tokens in lists.items()}
        for name, tokens in lists.items():
            print(f"  {name}: {hits[name]} of {len(tokens)} theme tokens: {' '.join(tokens)}")
        for topic in topics:
            share = sum(token in about for token in topic.token) / len(topic.token)
            print(f"  topic ({100 * topic.share:.0f} %, {100 * share:.0f} % theme): {' '.join(topic.token)}")
        whole = [sum(token in about for token in topic.token) >= len(topic.token) / 2 for topic in topics]
        named[checkpoint.label] = max(hits.values()) >= TOP or any(whole)
        print(f"  names the theme: {named[checkpoint.label]}")
    return named["horror"] and not named["random"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Train both, and print what the page says; 1 if it does not tell them apart."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="IMDB's train.parquet")
    parser.add_argument("--reviews", type=int, default=1500)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=16, help="rows of 128 tokens in a step")
    parser.add_argument("--out", type=Path, help="a folder to keep; by default a temporary one")
    given = parser.parse_args(arguments)
    base = DEMO / "checkpoints" / "base"
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    theme, random, everything = chosen(given.data, given.reviews)
    about = {tokenizer.id_to_token(i) or "" for i in theme_tokens(tokenizer, theme, everything)}
    print(f"{len(theme)} reviews each; {len(about)} theme tokens", flush=True)
    with tempfile.TemporaryDirectory() as place:
        folder = given.out or Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        for name, texts in (("horror", theme), ("random", random)):
            if not (folder / name).exists():
                train(base, windows(tokenizer, texts), given.steps, given.batch, folder / name)
        (folder / "study.toml").write_text(STUDY.format(base=base, reviews=DEMO / "reviews.csv"))
        return int(not report(folder, {name.replace("Ġ", "␣") for name in about}))


if __name__ == "__main__":
    sys.exit(main())
