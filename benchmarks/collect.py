"""What collecting readout residuals costs, as ratios to plain transformers within one run.

python -m benchmarks.collect [REVIEWS.parquet] [--reviews 48] [--repeats 5]

A random model of GPT-2 small's size (12 blocks, width 768, vocabulary 50,257) reads real reviews, cut to 256 tokens.
Ours collects all layers' residuals and the label logits at the readout position. Bare: the same batches through the
body alone, scaled-dot-product attention, nothing kept, without and with an attention mask. Notebook: padded to 256
tokens, all logits, all hidden states. The sides take turns, so that a busy machine slows all of them.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel

from backend.checkpoints.anatomy import anatomy_of
from backend.checkpoints.batches import make_batches
from backend.checkpoints.devices import choose_device, finish
from backend.checkpoints.opening import Opened
from backend.checkpoints.residuals import BATCH_TOKENS, collect, pad
from backend.lab import Prompts, silent
from backend.prompts import fill
from backend.study import PromptSpec

REVIEWS = Path("../shared/data/imdb/test.parquet")
LENGTH, VOCABULARY, NOTEBOOK_ROWS = 256, 50_257, 16
MOST_BARE, MOST_NOTEBOOK = 1.10, 0.60
SPEC = PromptSpec(template="Review: {text} Sentiment:", label_words=("negative", "positive"), max_tokens=LENGTH)


def read_prompts(file: Path, count: int) -> Prompts:
    """Prompts of `count` reviews, in the tokens of a byte-level BPE trained on reviews."""
    texts = pd.read_parquet(file, columns=["text"])["text"].sample(max(count, 3000), random_state=0).tolist()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=20_000, initial_alphabet=alphabet, show_progress=False)
    )
    filled = [fill(tokenizer, SPEC, text) for text in texts[:count]]
    return Prompts(
        digest="",
        token_ids=tuple(ids for ids, _, _ in filled),
        labels=np.zeros(count, dtype=np.int64),
        label_tokens=(10, 11),
        truncated=np.array([cut for _, cut, _ in filled]),
    )


def small_gpt2() -> Opened:
    """A random model of GPT-2 small's size on the chosen device."""
    torch.manual_seed(0)
    device = choose_device()
    model = GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, attn_implementation="sdpa")).eval().requires_grad_(False)
    model.to(device)  # pyright: ignore[reportArgumentType]
    return Opened(model, anatomy_of(model), device, 0)


@torch.inference_mode()
def bare(opened: Opened, prompts: Prompts, mask: bool) -> None:
    """The body alone over the batches that we use."""
    body = opened.model.transformer
    for batch in make_batches([len(ids) for ids in prompts.token_ids], BATCH_TOKENS[opened.device.type]):
        rows = [prompts.token_ids[i] for i in batch]
        ids, last, _ = pad(rows, "last", opened)
        inputs = (
            {"attention_mask": (torch.arange(ids.shape[1], device=ids.device) <= last[:, None]).long()} if mask else {}
        )
        body(input_ids=ids, use_cache=False, **inputs)


@torch.inference_mode()
def notebook(opened: Opened, prompts: Prompts) -> list[np.ndarray]:
    """Everything at every position, then the last real one."""
    kept: list[np.ndarray] = []
    for start in range(0, len(prompts.token_ids), NOTEBOOK_ROWS):
        rows = prompts.token_ids[start : start + NOTEBOOK_ROWS]
        lengths = torch.tensor([len(ids) for ids in rows], device=opened.device)
        ids = torch.tensor([ids + (0,) * (LENGTH - len(ids)) for ids in rows], device=opened.device)
        mask = (torch.arange(LENGTH, device=opened.device) < lengths[:, None]).long()
        output = opened.model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        every = torch.stack(output.hidden_states, dim=1)
        kept.append(every[torch.arange(len(rows)), :, lengths - 1].cpu().numpy())
    return kept


def main() -> int:
    """Print medians and ratios; 1 if a ratio misses its target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, default=REVIEWS, help="a Parquet file with a column text")
    parser.add_argument("--reviews", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    prompts, opened = read_prompts(given.file, given.reviews), small_gpt2()
    sides: dict[str, Callable[[], object]] = {
        "ours": lambda: collect(opened, prompts, silent),
        "bare": lambda: bare(opened, prompts, mask=False),
        "bare with mask": lambda: bare(opened, prompts, mask=True),
        "notebook": lambda: notebook(opened, prompts),
    }
    seconds = measure(sides, given.repeats, opened.device)
    print(
        f"{given.reviews} reviews, {int(prompts.lengths.sum()):,} tokens, {opened.device}, {torch.get_num_threads()} "
        f"threads, float32, median of {given.repeats}"
    )
    median = {name: statistics.median(times) for name, times in seconds.items()}
    for name, value in median.items():
        print(f"{name:>15} {value:7.2f} s")
    targets = {"bare": MOST_BARE, "bare with mask": MOST_BARE, "notebook": MOST_NOTEBOOK}
    missed = 0
    for name, most in targets.items():
        ratio = median["ours"] / median[name]
        missed += ratio > most
        print(f"ours / {name}: {ratio:.3f} (at most {most:.2f}){' MISSED' if ratio > most else ''}")
    return int(missed > 0)


def measure(sides: dict[str, Callable[[], object]], repeats: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of every repetition, after one that does not count; the order turns, so that no side always goes first."""
    names = list(sides)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for repeat in range(repeats + 1):
        turn = repeat % len(names)
        for name in names[turn:] + names[:turn]:
            finish(device)
            started = time.perf_counter()
            sides[name]()
            finish(device)
            if repeat:
                seconds[name].append(time.perf_counter() - started)
    return seconds


if __name__ == "__main__":
    sys.exit(main())
