"""Compute results on a Ray cluster: a task per query, and a task for each step that several queries share.

The machines of the cluster read the weights themselves, from the same paths or from the hub, and check their
fingerprints. The code of this process travels with the tasks. Results come into this machine's cache. A task whose
machine dies runs again on another one.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from backend.caching.memoize import Recipe, Request
from backend.caching.progress import Progress
from backend.caching.serialize import encode
from backend.errors import Cancelled, ClusterError, LayershiftError
from backend.lab.autoencoders import AutoencoderQuery
from backend.lab.cost import cost_of
from backend.lab.lab import Lab, ReadoutQuery, collect, run_by, train_autoencoder
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.token_ids import Prompts

POLL_SECONDS, REACH_SECONDS = 0.3, 5.0
RETRIES = 3
WORKING_BYTES = 1 << 30
"""Memory of a task beside weights and residuals."""


@dataclass(frozen=True, eq=False)
class _Task:
    """A submitted query: the reference to its outcome, and the tasks whose results it needs."""

    request: Request[Any]
    outcome: Any
    steps: tuple[_Task, ...]


class Cluster:
    """The Ray cluster at `address` (host:port, ray://host:port, or auto); `code` is the folder of `backend`.

    `open_lab` returns the lab of a worker; `settings` are its environment variables. Raises ClusterError if Ray is not
    installed or does not answer.
    """

    def __init__(self, address: str, code: Path, open_lab: Callable[[], Lab], settings: dict[str, str]) -> None:
        try:
            import ray
        except ImportError:
            raise ClusterError(
                "LAYERSHIFT_RAY is set and Ray is not installed; run: pip install -r requirements-cluster.txt"
            ) from None
        self._ray: Any = ray
        try:
            _reach(address)
            ray.init(
                address=address,
                runtime_env={"py_modules": [str(code)], "env_vars": settings},
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise ClusterError(
                f'No Ray cluster answers at "{address}" ({_line(error)}); start one with: make cluster'
            ) from None
        self._open_lab = open_lab
        self._task: Any = ray.remote(_compute)
        self._board: Any = ray.remote(_Board).options(num_cpus=0, max_restarts=-1).remote()
        self._tasks: dict[str, _Task] = {}
        self._lock = threading.Lock()

    @property
    def slots(self) -> int:
        """Return how many tasks the cluster runs at once: one per GPU, or per core where there are none."""
        resources = self._ray.cluster_resources()
        return max(1, int(resources.get("GPU", 0) or resources.get("CPU", 1)))

    def start(self, requests: Iterable[Request[Any]], lab: Lab) -> None:
        """Submit requests at once, so that they run side by side; `compute` waits for each."""
        for request in requests:
            if lab.cache.get(request.key) is None:
                self._submit(request, lab)

    def compute(self, request: Request[Any], lab: Lab) -> bytes:
        """Return the encoded result of a request, computed on the cluster; its steps come into the cache too.

        Raises what the recipe raises, Cancelled (the task then ends), or ClusterError if machines died repeatedly.
        """
        task = self._submit(request, lab)
        try:
            outcome = self._wait(task, lab.progress)
        except Cancelled:
            self._ray.cancel(task.outcome)
            raise
        finally:
            self._forget(task)
        if isinstance(outcome, LayershiftError):
            raise outcome
        for step in task.steps:
            self._keep(step, lab)
        return outcome

    def _submit(self, request: Request[Any], lab: Lab) -> _Task:
        """Return the task of a request: the one under way, or a new one after its steps."""
        key = request.key
        with self._lock:
            if (task := self._tasks.get(key)) is not None:
                return task
        shared = _steps(request.query, lab)
        steps = tuple(self._submit(step, lab) for step in shared if lab.cache.get(step.key) is None)
        known = [self._ray.put((step.key, data)) for step in shared if (data := lab.cache.get(step.key)) is not None]
        recipe: Recipe[Any, Any, Any] = request.recipe
        with self._lock:
            if (task := self._tasks.get(key)) is not None:
                return task
            outcome = self._task.options(
                max_retries=RETRIES, name=recipe.name, **self._needs(recipe.name, request.query)
            ).remote(
                self._open_lab,
                (recipe.__module__, recipe.__name__),
                request.query,
                self._board,
                *known,
                *(step.outcome for step in steps),
            )
            task = self._tasks[key] = _Task(request, outcome, steps)
            return task

    def _needs(self, recipe: str, query: Any) -> dict[str, Any]:
        """Return the resources of a task: a GPU if models run in it and the cluster has any, and memory."""
        cost = cost_of(query)
        models = run_by(query, cost)
        needed = WORKING_BYTES + max((model.facts.memory(model.dtype) for model in models), default=0)
        needed += sum(_residual_bytes(*readout) for readout in cost.readouts)
        largest = max(int(node["Resources"].get("memory", 0)) for node in self._ray.nodes() if node["Alive"])
        if needed > largest:
            raise ClusterError(
                f"{recipe} needs {needed / 1e9:,.1f} GB of memory and the largest machine of the cluster has "
                f"{largest / 1e9:,.1f} GB; add a larger machine, or unset LAYERSHIFT_RAY."
            )
        on_gpu = bool(models) and self._ray.cluster_resources().get("GPU", 0) >= 1
        return {"memory": needed} | ({"num_gpus": 1} if on_gpu else {"num_cpus": 1})

    def _wait(self, task: _Task, progress: Progress) -> bytes | LayershiftError:
        """Return the outcome of a task; until then pass its progress on."""
        ray = self._ray
        try:
            while not ray.wait([task.outcome], timeout=POLL_SECONDS)[0]:
                progress(*self._reported(task))
            return ray.get(task.outcome)[1]
        except ray.exceptions.TaskCancelledError:
            raise Cancelled("The work was cancelled; request it again to restart.") from None
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError as error:
            raise ClusterError(
                f"The cluster lost {task.request.recipe.name} {RETRIES + 1} times ({type(error).__name__}); look at "
                "the memory of its machines, then request it again."
            ) from None

    def _reported(self, task: _Task) -> tuple[float, str]:
        """Return the last report of a task, or of the step that it waits for."""
        keys = [task.request.key, *(step.request.key for step in task.steps)]
        try:
            reports = self._ray.get(self._board.read.remote(keys), timeout=POLL_SECONDS)
        except self._ray.exceptions.RayError:  # the board moves to another machine
            reports = []
        return reports[0] if reports else (0.0, "Waiting for the cluster.")

    def _keep(self, task: _Task, lab: Lab) -> None:
        """Put the result of a step into this machine's cache."""
        for step in task.steps:
            self._keep(step, lab)
        if lab.cache.get(task.request.key) is None:
            try:
                outcome = self._ray.get(task.outcome)[1]
            except self._ray.exceptions.RayError:  # its machine died since; the next query computes it again
                return
            if isinstance(outcome, bytes):
                lab.cache.put(task.request.key, outcome, lab.study)
        self._forget(task)

    def _forget(self, task: _Task) -> None:
        with self._lock:
            if self._tasks.get(task.request.key) is task:
                del self._tasks[task.request.key]


class _Board:
    """The actor that holds the last report of every task."""

    def __init__(self) -> None:
        self._reports: dict[str, tuple[float, str]] = {}

    def write(self, key: str, fraction: float, sentence: str) -> None:
        """Replace the report of a task."""
        self._reports[key] = (fraction, sentence)

    def clear(self, key: str) -> None:
        """Remove the report of a task that has ended."""
        self._reports.pop(key, None)

    def read(self, keys: list[str]) -> list[tuple[float, str]]:
        """Return the reports of those of these tasks that have one."""
        return [self._reports[key] for key in keys if key in self._reports]


def _compute(
    open_lab: Callable[[], Lab],
    place: tuple[str, str],
    query: Any,
    board: Any,
    *known: tuple[str, bytes | LayershiftError],
) -> tuple[str, bytes | LayershiftError]:
    """Compute a query on a worker, with the results that are known; return its key and encoded result, or its error."""
    lab = open_lab()
    for key, data in known:
        if isinstance(data, bytes) and lab.cache.get(key) is None:
            lab.cache.put(key, data)
    recipe: Recipe[Any, Any, Any] = getattr(import_module(place[0]), place[1])
    key = recipe.key(query)
    try:
        return key, encode(recipe(query, lab.watched(lambda *report: board.write.remote(key, *report))))
    except LayershiftError as error:
        return key, error
    finally:
        board.clear.remote(key)


def _steps(query: Any, lab: Lab) -> list[Request[Any]]:
    """Return the results that a query shares with others: readouts, trainings, and the steps that it declares."""
    if isinstance(query, ReadoutQuery | AutoencoderQuery):
        return []
    cost = cost_of(query)
    return [
        *(collect.request(ReadoutQuery(one, prompts.seen_by(one))) for one, prompts in cost.readouts),
        *(train_autoencoder.request(training) for training in cost.trainings),
        *cost.steps,
    ]


def _residual_bytes(checkpoint: PinnedCheckpoint, prompts: Prompts) -> int:
    return 4 * len(prompts.token_ids) * (checkpoint.facts.layers + 1) * checkpoint.facts.width


def _reach(address: str) -> None:
    """Raise OSError if nothing listens at host:port; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=REACH_SECONDS).close()


def _line(error: object) -> str:
    return " ".join(str(error).split())[:200]
