"""Which method should place tokens on a map? openTSNE, scikit-learn's t-SNE and umap-learn on the same rows.

python -m benchmarks.token_maps [STUDY] [ROWS]: seconds on one thread, and trustworthiness (15 neighbours), of ROWS
evenly spaced rows (by default 4,000; 0: all) of the base's input embedding, at unit length as the Tokens page maps
them. Of 50,000 rows scikit-learn needs a quarter of an hour.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from backend.analyses.token_map import at_unit_length
from backend.caching.progress import silent
from backend.lab.pinning import pin
from backend.stats.embedding_maps import Fit, Method, trustworthiness
from backend.wiring import find_study, open_lab

ROWS = 4000


def scikit_learn(rows: np.ndarray) -> np.ndarray:
    """t-SNE with the same perplexity, started from principal components too."""
    return np.asarray(TSNE(init="pca", perplexity=30, random_state=0, n_jobs=1).fit_transform(rows))


def ours(method: Method) -> Callable[[np.ndarray], np.ndarray]:
    """The first map of a reference, as the page makes it."""
    fit = Fit(method, 0, 30.0, 15)
    return lambda rows: fit.first(fit.near(rows))


def main() -> None:
    """A table."""
    name = sys.argv[1] if len(sys.argv) > 1 else "demo"
    lab = open_lab()
    study = pin(find_study(name), lab)
    count = int(sys.argv[2]) if len(sys.argv) > 2 else ROWS
    rows = at_unit_length(lab.models.embedding(study.base, "input", silent).rows)
    if count:
        rows = rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(np.int64)]
    methods = {"openTSNE": ours("tsne"), "umap-learn": ours("umap"), "scikit-learn TSNE": scikit_learn}
    ours("umap")(rows[:50])  # umap-learn compiles itself at first use
    print(f"{len(rows):,} rows of {name}'s base, {rows.shape[1]} dimensions, one thread\n")
    print("| method | seconds | trustworthiness |\n|---|---|---|")
    for method, place in methods.items():
        started = time.perf_counter()
        with threadpool_limits(1):
            xy = place(rows)
        seconds = time.perf_counter() - started
        print(f"| {method} | {seconds:.0f} | {trustworthiness(rows, xy.astype(np.float64)):.3f} |", flush=True)


if __name__ == "__main__":
    main()
