"""A study as files: manifest.json, sample.jsonl, and one tidy CSV per analysis in full float precision."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import platform
import shlex
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from backend.analyses import Analysis, discover
from backend.caching.memoize import MEASUREMENT_VERSION
from backend.errors import LayershiftError, UndefinedError
from backend.lab.lab import Lab
from backend.reports import summary
from backend.study.config import BASE
from backend.study.pinned import PinnedStudy

PACKAGES = (
    "torch",
    "transformers",
    "transformer-lens",
    "numpy",
    "scipy",
    "scikit-learn",
    "openTSNE",
    "umap-learn",
    "POT",
)
Watch = Callable[[str], AbstractContextManager[Callable[[float, str], None]]]
"""Opens a progress bar with a title; the bar is called with a fraction and a sentence."""


@dataclass(frozen=True)
class Viewpoint:
    """What the pages choose in their sidebar, and the options of the command line that say the same.

    `drop_largest` and `layer` count for the analyses that know them; `layer` None is what each takes by itself.
    """

    reference: str = BASE
    drop_largest: int = 0
    layer: int | None = None

    def check(self, pinned: PinnedStudy) -> None:
        """LayershiftError if the study has no such checkpoint, layer, or that many dimensions."""
        labels = [checkpoint.label for checkpoint in pinned.checkpoints]
        if self.reference not in labels:
            why = next(
                (f" ({missing.reason.rstrip('.')})" for missing in pinned.missing if missing.label == self.reference),
                "",
            )
            raise LayershiftError(
                f'There is no checkpoint "{self.reference}" to compare with{why}; choose from {", ".join(labels)}.'
            )
        facts = pinned.base.facts
        if not 0 <= self.drop_largest < facts.width:
            raise LayershiftError(
                f"{self.drop_largest} of {facts.width} dimensions cannot be left out; choose 0 to {facts.width - 1}."
            )
        if self.layer is not None and not 0 <= self.layer <= facts.layers:
            raise LayershiftError(f"There is no layer {self.layer}; choose from 0 to {facts.layers}.")

    def queries(self, analysis: Analysis, pinned: PinnedStudy) -> list[Any]:
        """What the analysis is asked from here."""
        asked = analysis.queries(pinned, self.reference)
        requests = {"drop_largest": self.drop_largest} | ({} if self.layer is None else {"layer": self.layer})
        known = {field.name for query in asked for field in fields(query)}
        return [replace(query, **{key: value for key, value in requests.items() if key in known}) for query in asked]

    def arguments(self) -> list[str]:
        """The options of `export` that choose it."""
        return [
            *(["--reference", self.reference] if self.reference != BASE else []),
            *(["--drop-largest", str(self.drop_largest)] if self.drop_largest else []),
            *(["--layer", str(self.layer)] if self.layer is not None else []),
        ]


def command(study: str, analysis: str | None, viewpoint: Viewpoint) -> str:
    """What to type for the same numbers as CSV, of one analysis or of all."""
    only = [] if analysis is None else ["--only", analysis]
    words = ["export", study, "--out", "out", *only, *viewpoint.arguments()]
    return f"python -m backend {shlex.join(words)}"


def choose(only: str | None) -> list[Analysis]:
    """The analyses that `--only a,b` names, or all; LayershiftError for a name that there is not."""
    results = discover()
    if only is None:
        return list(results.values())
    names = [name.strip() for name in only.split(",") if name.strip()]
    unknown = [name for name in names if name not in results]
    if unknown or not names:
        raise LayershiftError(f"There is no analysis {', '.join(unknown) or only!r}; choose from {', '.join(results)}.")
    return [results[name] for name in names]


def unnoted(_sentence: str) -> None:
    """Leave unsaid what is left out."""


def compute(
    pinned: PinnedStudy,
    lab: Lab,
    analyses: list[Analysis],
    watch: Watch,
    viewpoint: Viewpoint = Viewpoint(),
    note: Callable[[str], None] = unnoted,
) -> Iterator[tuple[Analysis, list[Any]]]:
    """Each analysis with its (query, result) pairs, computed or from the cache, under a progress bar each.

    An analysis that asks nothing of this study (swaps of an encoder, weights of a base alone) is left out, and so is
    what has no value for it, with a `note` that says why.
    """
    viewpoint.check(pinned)
    wanted = {analysis: viewpoint.queries(analysis, pinned) for analysis in analyses}
    lab.start(analysis.recipe.request(query) for analysis, queries in wanted.items() for query in queries)
    for analysis, queries in wanted.items():
        if not queries:
            continue
        results: list[Any] = []
        undefined: set[str] = set()
        with watch(analysis.name) as progress:
            for i, query in enumerate(queries):
                try:
                    results.append((query, analysis.recipe(query, lab.watched(progress).part(i, len(queries)))))
                except UndefinedError as error:
                    undefined.add(str(error))
        for sentence in sorted(undefined):
            note(f"left out of {analysis.name}: {sentence}")
        if results:
            yield analysis, results


def without_values(
    pinned: PinnedStudy, analyses: list[Analysis], viewpoint: Viewpoint, every: bool = False
) -> list[str]:
    """Name the analyses that ask nothing of the study, grouped by the reason.

    With `every`, all analyses were asked for, and ordered values are not expected of a study without.
    """
    reasons: dict[str, list[str]] = {}
    for one in analyses:
        if not viewpoint.queries(one, pinned) and not (every and one.needs == "order"):
            reasons.setdefault(one.lacks(pinned, viewpoint.reference), []).append(one.name)
    return [f"left out {', '.join(names)}: {reason}" for reason, names in reasons.items()]


def export(
    pinned: PinnedStudy,
    lab: Lab,
    out: Path,
    analyses: list[Analysis],
    watch: Watch,
    viewpoint: Viewpoint = Viewpoint(),
    note: Callable[[str], None] = unnoted,
) -> list[Path]:
    """Write everything to `out` and return the files. An undefined value is an empty cell."""
    viewpoint.check(pinned)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LayershiftError(f"{out} cannot be written ({error.strerror}); choose another --out.") from None
    written = [write_manifest(pinned, lab, out, viewpoint), write_sample(pinned, out)]
    for analysis, results in compute(pinned, lab, analyses, watch, viewpoint, note):
        rows = [row for query, result in results for row in result.rows(query)]
        written.append(write_csv(out / f"{analysis.name}.csv", rows))
    return written


def write_csv(file: Path, rows: list[dict[str, Any]]) -> Path:
    """One tidy CSV; all rows have the columns of the first."""
    with replacing(file) as part:
        part.write_text(csv_text(rows), encoding="utf-8", newline="")
    return file


def csv_text(rows: list[dict[str, Any]]) -> str:
    """Rows as they stand in a tidy CSV; all have the columns of the first."""
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, list(rows[0]) if rows else [])
    writer.writeheader()
    writer.writerows({key: cell(value) for key, value in row.items()} for row in rows)
    return stream.getvalue()


def cell(value: Any) -> Any:
    """A value as it stands in a CSV: floats in full precision, undefined ones empty."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, float):
        return value
    return repr(float(value)) if math.isfinite(value) else ""


def write_sample(pinned: PinnedStudy, out: Path) -> Path:
    """sample.jsonl: source row, class, text, and the token ids as the models saw them, without padding.

    Checkpoints that saw others than the base have theirs beside them, by label.
    """
    file = out / "sample.jsonl"
    sample, prompts = pinned.sample, pinned.prompts
    own = {
        checkpoint.label: prompts.seen_by(checkpoint)
        for checkpoint in pinned.checkpoints
        if checkpoint.fingerprint in prompts.own
    }
    with replacing(file) as part, part.open("w", encoding="utf-8") as stream:
        rows = zip(sample.index.tolist(), sample.label.tolist(), sample.text, prompts.token_ids, strict=True)
        for i, (index, label, text, ids) in enumerate(rows):
            line: dict[str, Any] = {"index": index, "label": label, "text": text, "token_ids": list(ids)}
            if sample.values:
                line["value"] = sample.values[i]
            if prompts.token_types:
                line["token_type_ids"] = list(prompts.token_types[i])
            if others := {name: list(seen.token_ids[i]) for name, seen in own.items()}:
                line["own_token_ids"] = others
            stream.write(json.dumps(line) + "\n")
    return file


def write_manifest(pinned: PinnedStudy, lab: Lab, out: Path, viewpoint: Viewpoint = Viewpoint()) -> Path:
    """manifest.json: what was compared with what, with fingerprints, versions, device and seeds."""
    study = pinned.study
    content = {
        "study": study.name,
        "title": study.title,
        "family": study.family,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": lab.models.device,
        "dtype": pinned.base.dtype,
        **asdict(viewpoint),
        "checkpoints": [
            {
                "label": checkpoint.label,
                "place": checkpoint.ref.place,
                "fingerprint": checkpoint.fingerprint,
                "architecture": checkpoint.facts.architecture,
                "layers": checkpoint.facts.layers,
                "width": checkpoint.facts.width,
                "parameters": checkpoint.facts.parameters,
            }
            for checkpoint in pinned.checkpoints
        ],
        "missing": [{"label": missing.label, "reason": missing.reason} for missing in pinned.missing],
        "dataset": study.dataset.model_dump(),
        "sample_digest": pinned.sample.digest,
        "difference": study.difference and study.difference.model_dump(),
        "prompt": study.prompt.model_dump(),
        "warnings": list(pinned.warnings),
        "separator": pinned.separator,
        "separator_found": pinned.separator_found,
        "classes": [asdict(line) for line in summary.classes(pinned)],
        "label_tokens": list(pinned.prompts.label_tokens),
        "continuations": [list(tokens) for tokens in pinned.prompts.continuations],
        "prompts_digest": pinned.prompts.digest,
        "seeds": {"sample": study.dataset.seed, "analyses": 0},
        "measurement_version": MEASUREMENT_VERSION,
        "keys": {f"{one.name}.csv": _key(one, pinned.prompts.classes) for one in discover().values()},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }
    file = out / "manifest.json"
    with replacing(file) as part:
        part.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return file


def _key(analysis: Analysis, classes: int) -> list[str]:
    """The columns of its table of which no two rows have the same values."""
    return [column for column in analysis.key if column != "class" or classes > 2]


class replacing:
    """`with replacing(file) as part`: the file appears complete or not at all."""

    def __init__(self, file: Path) -> None:
        self.file, self.part = file, file.with_name(file.name + ".part")

    def __enter__(self) -> Path:
        return self.part

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            os.replace(self.part, self.file)
        else:
            self.part.unlink(missing_ok=True)
