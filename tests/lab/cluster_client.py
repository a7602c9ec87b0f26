"""A process that computes on the cluster at LAYERSHIFT_RAY, and prints what happened as one line of JSON."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

from backend import wiring
from backend.analyses import accuracy, direction, linear_probes, review
from backend.errors import Cancelled, LayershiftError
from backend.lab.lab import Lab
from backend.lab.pinning import pin


def main() -> None:
    """Cancel a query, compute one together and alone, provoke an error, and compute a typed text."""
    lab = wiring.open_lab()
    alone = replace(wiring.worker_lab(), progress=lab.progress)
    study = pin(wiring.find_study("tiny"), lab)
    said: dict[str, object] = {}
    heard: list[str] = []

    def stop(_: float, sentence: str) -> None:
        heard.append(sentence)
        raise Cancelled("Enough.")

    probing = linear_probes.queries(study)[0]
    try:
        linear_probes.recipe(probing, lab.watched(stop))
    except Cancelled:
        said["heard"] = len(heard)
    said["kept_after_cancel"] = linear_probes.recipe.peek(probing, lab) is not None

    (asked, *_) = accuracy.queries(study)
    said["together"] = float(accuracy.recipe(asked, lab).gap.value)
    said["alone"] = float(accuracy.recipe(asked, alone).gap.value)
    said["kept"] = lab.cache.get(accuracy.recipe.key(asked)) is not None

    first = [i for i, label in enumerate(study.prompts.labels) if label == 0]
    one_class = replace(study.prompts.some(first), digest="one class")
    try:
        direction.recipe(direction.Query(study.base, study.base, one_class), lab)
    except LayershiftError as error:
        said["undefined"] = type(error).__name__

    typed = review.Query(study.base, study.base, replace(study.prompts.some([0]), digest="typed"), study.prompts)
    said["typed_alone"] = computes_here(lab, typed)
    sys.stdout.write(json.dumps(said) + "\n")


def computes_here(lab: Lab, query: review.Query) -> bool:
    """Return whether the text of a query stays in this process: the machines are asked for nothing."""
    asked: list[object] = []

    class Recording:
        def start(self, requests: object, lab: Lab) -> None:
            asked.append(requests)

        def compute(self, request: object, lab: Lab) -> bytes:
            asked.append(request)
            raise LayershiftError("A typed text left this machine.")

    review.tokens(query, replace(lab, machines=Recording()))
    return not asked


if __name__ == "__main__":
    main()
