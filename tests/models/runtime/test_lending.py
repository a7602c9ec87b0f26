"""A parked job lends its models to other jobs, and no number of either changes: both are as in runs alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jaxtyping import Float32

from backend.caching.cache import Cache
from backend.caching.job import Job
from backend.caching.jobs import Jobs
from backend.caching.memoize import memoized
from backend.caching.progress import Progress, silent
from backend.lab.lab import Lab
from backend.lab.outputs import SteeringVectors, Swap
from backend.models.local import LocalModels
from backend.models.runtime.calls import record
from backend.models.runtime.marks import marks
from backend.study.checkpoint import PinnedCheckpoint
from tests.models.hooked import EVERY, vectors
from tests.models.random_models import LAYERS, Pin, make_prompts, real_lab, save
from tests.tiny_families import VOCABULARY, tiny

LAYOUTS = (
    "GPT2LMHeadModel",
    "MixtralForCausalLM",  # experts
    "Gemma3ForCausalLM",  # two rotary bases, windows
    "BloomForCausalLM",  # blocks that run whole
)
DRAWN = make_prompts([9, 3, 30, 12], vocabulary=VOCABULARY)
PROMPTS = replace(DRAWN, token_ids=tuple(tuple(max(2, i) for i in ids) for ids in DRAWN.token_ids))  # none special
SWAPS = (*(Swap("block", block, block) for block in range(LAYERS)), Swap("block", 0, 1), Swap("embed"))
STEERING = (SteeringVectors((1,), vectors(1)), SteeringVectors(EVERY, vectors(LAYERS + 1), "all"))
Measure = Callable[[LocalModels, PinnedCheckpoint, PinnedCheckpoint, Progress], Any]
MEASURES: dict[str, Measure] = {
    "swaps": lambda models, host, donor, report: models.swaps(host, donor, SWAPS, PROMPTS, report),
    "steering": lambda models, host, _, report: models.steered(host, STEERING, PROMPTS, report),
    "readout": lambda models, host, _, report: models.readout(host, PROMPTS, report).residuals,
    "patching": lambda models, host, donor, report: models.patch(host, donor, PROMPTS.some([2]), report).logits,
    "output": lambda models, host, donor, report: models.output_space(host, donor, PROMPTS, ((3, 4),), report).entropy,
}


@dataclass(frozen=True)
class Query:
    """One measurement; `number` tells equal ones apart."""

    measure: str
    host: PinnedCheckpoint
    donor: PinnedCheckpoint
    number: int


@dataclass(frozen=True, eq=False)
class Numbers:
    """What was measured."""

    found: Float32[np.ndarray, "..."]


@memoized()
def measured(query: Query, lab: Lab) -> Numbers:
    """Measure in this thread's job."""
    models: Any = lab.models
    found = MEASURES[query.measure](models, query.host, query.donor, lab.progress)
    return Numbers(np.ascontiguousarray(found, dtype=np.float32))


class Crowd:
    """At every progress report of one background job, a page asks for another measurement of the same models."""

    def __init__(self, lab: Lab, host: PinnedCheckpoint, donor: PinnedCheckpoint) -> None:
        self.lab, self.host, self.donor = lab, host, donor
        self.jobs, self.asked, self.lent = Jobs(1), list[tuple[str, Job[Numbers]]](), 0
        self.late: Job[Numbers] | None = None

    @property
    def cache(self) -> Cache:
        """Return the lab's cache."""
        return self.lab.cache

    @property
    def progress(self) -> Progress:
        """Return no report; `watched` sets one."""
        return silent

    def watched(self, progress: Progress) -> Lab:
        """Return the lab with a page that asks before every report."""

        def report(fraction: float, sentence: str) -> None:
            if self.late is None or self.late.done:
                self._ask()
            assert self.late is not None
            touched = not self.lab.models.store._untouched() if self._store_is_open else False  # type: ignore[attr-defined]
            before = self.late.done
            progress(fraction, sentence)
            if self.late.done and not before:
                assert not touched, "another job ran while something was on a model"
                self.lent += 1

        return self.lab.watched(report)

    @property
    def _store_is_open(self) -> bool:
        return self.lab.models._store is not None  # type: ignore[attr-defined]

    def _ask(self) -> None:
        name = list(MEASURES)[len(self.asked) % len(MEASURES)]
        query = Query(name, self.host, self.donor, 1 + len(self.asked))
        self.late = self.jobs.submit(measured, query, self.lab, session="a page")
        self.late.watch("a page", 600.0)
        self.asked.append((name, self.late))


@pytest.fixture(scope="module", params=LAYOUTS)
def folders(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A host and a donor of each layout on disk."""
    place = tmp_path_factory.mktemp(request.param)
    return save(tiny(request.param, 0), place / "host"), save(tiny(request.param, 1), place / "donor")


@pytest.mark.parametrize("measure", MEASURES)
def test_a_parked_measurement_and_the_jobs_in_between_have_the_numbers_of_runs_alone(
    folders: tuple[Path, Path], measure: str, models: LocalModels, cache: Cache, pin: Pin
):
    host, donor = pin(folders[0]), pin(folders[1], label="epoch 1")
    alone = {name: MEASURES[name](models, host, donor, silent) for name in MEASURES}
    crowd = Crowd(real_lab(cache, models), host, donor)
    left = crowd.jobs.submit(measured, Query(measure, host, donor, 0), crowd)
    np.testing.assert_array_equal(left.result(60).found, alone[measure])
    for name, job in crowd.asked:
        np.testing.assert_array_equal(job.result(60).found, alone[name], err_msg=name)
    assert crowd.lent > 0
    assert Counter(name for name, _ in crowd.asked)["swaps"] > 0


def hooked(loaded: Any, report: Callable[[], None]) -> None:
    handle = loaded.model.register_forward_hook(lambda *_: None)
    report()
    handle.remove()


def replaced(loaded: Any, report: Callable[[], None]) -> None:
    """Report from a hook while `record` has replaced the forward of every block."""
    with ExitStack() as hooks:
        hooks.callback(loaded.components.embed.register_forward_hook(lambda *_: report()).remove)
        record(loaded, loaded.model.dummy_inputs["input_ids"] % VOCABULARY, {}, True, loaded.checked.returns)


@pytest.mark.parametrize("touch", [hooked, replaced])
def test_what_a_job_puts_on_a_model_shows_in_its_marks(folders: tuple[Path, Path], touch: Any, cache: Cache, pin: Pin):
    models, seen = LocalModels(cache), list[bool]()
    with models.store.borrow(pin(folders[0])) as loaded:
        opened = marks(loaded.model)
        touch(loaded, lambda: seen.append(models.store._untouched()))
        assert models.store._untouched()
        assert marks(loaded.model) == opened
    assert seen == [False]
