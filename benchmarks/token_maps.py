"""Which method should place tokens on a map? openTSNE, scikit-learn's t-SNE and umap-learn on the same rows.

python -m benchmarks.token_maps [STUDY] [ROWS]: seconds on one thread, and trustworthiness (15 neighbours), of the first
ROWS (by default 4,000) rows of the base's input embedding, at unit length as the Tokens page maps them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
from sklearn.manifold import TSNE

from backend.analyses.token_map import at_unit_length
from backend.pinning import pin
from backend.ports import silent
from backend.projections import Fit, trustworthiness
from backend.wiring import find_study, open_lab

ROWS = 4000


def scikit_learn(rows: np.ndarray) -> np.ndarray:
    """t-SNE with the same perplexity, started from principal components too."""
    return np.asarray(TSNE(init="pca", perplexity=30, random_state=0, n_jobs=1).fit_transform(rows))


def main() -> None:
    """A table."""
    name = sys.argv[1] if len(sys.argv) > 1 else "demo"
    lab = open_lab()
    study = pin(find_study(name), lab)
    count = int(sys.argv[2]) if len(sys.argv) > 2 else ROWS
    rows = at_unit_length(lab.models.embedding(study.base, "input", silent).rows[:count])
    methods: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "openTSNE": Fit("tsne", 0, 30.0, 15).first,
        "umap-learn": Fit("umap", 0, 30.0, 15).first,
        "scikit-learn TSNE": scikit_learn,
    }
    Fit("umap", 0, 30.0, 15).first(rows[:50])  # umap-learn compiles itself at first use
    print(f"{len(rows):,} rows of {name}'s base, {rows.shape[1]} dimensions\n")
    print("| method | seconds | trustworthiness |\n|---|---|---|")
    for method, place in methods.items():
        started = time.perf_counter()
        xy = place(rows)
        seconds = time.perf_counter() - started
        print(f"| {method} | {seconds:.0f} | {trustworthiness(rows, xy.astype(np.float64)):.3f} |", flush=True)


if __name__ == "__main__":
    main()
