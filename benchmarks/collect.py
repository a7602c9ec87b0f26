"""What collecting readout residuals costs, as ratios to plain transformers within one run.

python -m benchmarks.collect [REVIEWS.parquet] [--reviews 16] [--repeats 5]

A random model of GPT-2 small's size (12 blocks, width 768, vocabulary 50,257) reads real reviews, cut to 256 tokens.
Ours collects all layers' residuals and the label logits at the readout position. Bare: the same batches through the
body alone, scaled-dot-product attention, nothing kept, without and with an attention mask. Notebook: the same reviews
padded to 256 tokens, all logits, all hidden states. The sides take turns at every batch, so that a busy machine slows
all of them; the time of a side is the sum over batches of the median over repetitions.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel

from backend.caching.progress import silent
from backend.models.measurements.residuals import collect
from backend.models.runtime.batching import BATCH_TOKENS, make_batches
from backend.models.runtime.components import anatomy_of
from backend.models.runtime.devices import choose_device, finish
from backend.models.runtime.forward import pad
from backend.models.runtime.load import LoadedModel
from backend.study.config import PromptSpec
from backend.study.reader import fill, plain_reader
from backend.study.token_ids import Prompts

REVIEWS = Path("../shared/data/imdb/test.parquet")
LENGTH, VOCABULARY = 256, 50_257
MOST_BARE, MOST_NOTEBOOK = 1.10, 0.60
Side = Callable[[Prompts], object]
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
    reader = plain_reader(tokenizer, SPEC, "causal")
    filled = [fill(reader, text) for text in texts[:count]]
    return Prompts(
        digest="",
        token_ids=tuple(one.ids for one in filled),
        labels=np.zeros(count, dtype=np.int64),
        label_tokens=(10, 11),
        truncated=np.array([one.cut for one in filled]),
    )


def small_gpt2(seed: int = 0) -> LoadedModel:
    """A random model of GPT-2 small's size on the chosen device."""
    torch.manual_seed(seed)
    device = choose_device()
    model = GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY)).eval().requires_grad_(False)
    model.to(device)  # pyright: ignore[reportArgumentType]
    if model.config._attn_implementation != "sdpa":
        raise RuntimeError("This model does not use scaled-dot-product attention, so the comparison means nothing.")
    return LoadedModel(model, anatomy_of(model), device, 0)


@torch.inference_mode()
def bare(loaded: LoadedModel, prompts: Prompts, mask: bool) -> None:
    """The body alone over one batch."""
    ids, last, inputs = pad(prompts.token_ids, "last", loaded)
    if mask:
        inputs = {"attention_mask": (torch.arange(ids.shape[1], device=ids.device) <= last[:, None]).long()}
    loaded.model.get_submodule("transformer")(input_ids=ids, use_cache=False, **inputs)


@torch.inference_mode()
def notebook(loaded: LoadedModel, prompts: Prompts) -> np.ndarray:
    """Everything at every position, then the last real one."""
    rows = prompts.token_ids
    lengths = torch.tensor([len(ids) for ids in rows], device=loaded.device)
    ids = torch.tensor([ids + (0,) * (LENGTH - len(ids)) for ids in rows], device=loaded.device)
    mask = (torch.arange(LENGTH, device=loaded.device) < lengths[:, None]).long()
    output = loaded.model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
    every = torch.stack(output.hidden_states, dim=1)
    return every[torch.arange(len(rows)), :, lengths - 1].cpu().numpy()


def split(prompts: Prompts, device: torch.device) -> list[Prompts]:
    """The prompts in the batches that we would make of them."""
    batches = make_batches([len(ids) for ids in prompts.token_ids], BATCH_TOKENS[device.type])
    return [
        replace(
            prompts,
            token_ids=tuple(prompts.token_ids[i] for i in batch),
            labels=prompts.labels[batch],
            truncated=prompts.truncated[batch],
        )
        for batch in batches
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print medians and ratios; 1 if a ratio misses its target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, default=REVIEWS, help="a Parquet file with a column text")
    parser.add_argument("--reviews", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args(arguments)
    prompts, loaded = read_prompts(given.file, given.reviews), small_gpt2()
    sides: dict[str, Side] = {
        "ours": lambda batch: collect(loaded, batch, silent),
        "bare": lambda batch: bare(loaded, batch, mask=False),
        "bare with mask": lambda batch: bare(loaded, batch, mask=True),
        "notebook": lambda batch: notebook(loaded, batch),
    }
    median = measure(sides, split(prompts, loaded.device), given.repeats, loaded.device)
    print(
        f"{given.reviews} reviews, {int(prompts.lengths.sum()):,} tokens, {loaded.device}, {torch.get_num_threads()} "
        f"threads, float32, median of {given.repeats}"
    )
    for name, value in median.items():
        print(f"{name:>15} {value:7.2f} s")
    targets = {"bare": MOST_BARE, "bare with mask": MOST_BARE, "notebook": MOST_NOTEBOOK}
    missed = 0
    for name, most in targets.items():
        ratio = median["ours"] / median[name]
        missed += ratio > most
        print(f"ours / {name}: {ratio:.3f} (at most {most:.2f}){' MISSED' if ratio > most else ''}")
    return int(missed > 0)


def measure(sides: dict[str, Side], batches: list[Prompts], repeats: int, device: torch.device) -> dict[str, float]:
    """Seconds of each side; the first round does not count, and the order turns, so that no side is always first."""
    seconds: dict[str, list[list[float]]] = {name: [[] for _ in batches] for name in sides}
    names = list(sides)
    for repeat in range(repeats + 1):
        for number, batch in enumerate(batches):
            turn = (repeat + number) % len(names)
            for name in names[turn:] + names[:turn]:
                finish(device)
                started = time.perf_counter()
                sides[name](batch)
                finish(device)
                if repeat:
                    seconds[name][number].append(time.perf_counter() - started)
    return {name: sum(map(statistics.median, times)) for name, times in seconds.items()}


if __name__ == "__main__":
    sys.exit(main())
