"""How good the demo's checkpoints are: the shipped reviews, and 1,000 balanced rows of IMDB's test split.

python -m benchmarks.demo ../shared/data/imdb/test.parquet
"""

from __future__ import annotations

import sys
from pathlib import Path

from backend.analyses import accuracy
from backend.lab.pinning import pin
from backend.study.config import DatasetSpec, Study, load_study
from backend.wiring import ROOT, open_lab

ROWS = 1000


def table(study: Study, title: str) -> None:
    """Print balanced accuracy, recalls and AUC of every checkpoint with 95 % intervals."""
    lab = open_lab()
    pinned = pin(study, lab)
    print(f"\n{title}: {len(pinned.sample.text)} reviews, {int(pinned.prompts.truncated.sum())} of them cut\n")
    print("| checkpoint | balanced accuracy | recall negative | recall positive | AUC |\n|---|---|---|---|---|")
    for query in accuracy.queries(pinned):
        found = accuracy.recipe(query, lab)
        cells = [percent(found.balanced_accuracy.value, found.balanced_accuracy.low, found.balanced_accuracy.high)]
        cells += [
            percent(*three) for three in zip(found.recall.value, found.recall.low, found.recall.high, strict=True)
        ]
        cells.append(f"{found.auc.value:.3f} ({found.auc.low:.3f} to {found.auc.high:.3f})")
        print(f"| {query.checkpoint.label} | {' | '.join(cells)} |")


def percent(value: float, low: float, high: float) -> str:
    """`81.2 % (78.6 to 83.5)`."""
    return f"{100 * value:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def main() -> None:
    """Both tables."""
    demo = load_study(ROOT / "studies" / "demo")
    table(demo, "Shipped reviews")
    test = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data/imdb/test.parquet").resolve()
    data = DatasetSpec(path=str(test), labels=(0, 1), sample=ROWS, seed=0)
    table(demo.model_copy(update={"dataset": data}), "IMDB test")


if __name__ == "__main__":
    main()
