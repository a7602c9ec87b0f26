"""How fast this machine imports torch, opens checkpoints and runs them: first guesses, then what was measured."""

from __future__ import annotations

import math
import os

from backend.caching.cache import Cache
from backend.lab.rates import Rates
from backend.study.checkpoint import PinnedCheckpoint

_RATES = {"cpu": 2.5e10, "mps": 1e12, "cuda": 2e13}
"""Weights times tokens per second of a wide model (CPU: per core), until a run has measured them."""
_HALF_RATE_WIDTH = {"cpu": 32, "mps": 512, "cuda": 512}
_IMPORT_SECONDS = 8.0
_IMPORT_KEY = "rate/import torch"
_OPENING_SECONDS, _OPENING_BYTES_PER_SECOND = 0.2, 5e8
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


class Speed:
    """Rates of this machine, remembered in the cache."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def importing(self) -> float:
        """Return the seconds of the last import of torch, or a guess."""
        return self._known(_IMPORT_KEY) or _IMPORT_SECONDS * self._machine()

    def imported(self, seconds: float) -> None:
        """Remember how long the import of torch took."""
        self._cache.put_json(_IMPORT_KEY, seconds)

    def opening(self, checkpoint: PinnedCheckpoint) -> float:
        """Estimate the seconds of loading the weights."""
        stored = checkpoint.facts.parameters * _BYTES[checkpoint.dtype]
        return (_OPENING_SECONDS + stored / _OPENING_BYTES_PER_SECOND) * self._machine()

    def reading(self, checkpoint: PinnedCheckpoint, tokens: int, device: str) -> float:
        """Estimate the seconds of a run."""
        rate = self._known(_rate_key(checkpoint, device))
        if rate is None:
            rate = _first_rate(device, checkpoint.facts.width) / (self._machine() if device == "cpu" else 1.0)
        return tokens * _weights(checkpoint) / rate

    def read(self, checkpoint: PinnedCheckpoint, tokens: int, device: str, seconds: float) -> None:
        """Remember the rate of a run: the geometric mean of this run and what was known."""
        key = _rate_key(checkpoint, device)
        rate, known = _weights(checkpoint) * tokens / max(seconds, 1e-6), self._known(key)
        self._cache.put_json(key, rate if known is None else math.sqrt(rate * known))

    def _machine(self) -> float:
        """Return how many times longer than the reference machine this one takes, other programs included."""
        return Rates(self._cache).machine()

    def _known(self, key: str) -> float | None:
        value = self._cache.get_json(key)
        return value if isinstance(value, float) and value > 0 else None


def _rate_key(checkpoint: PinnedCheckpoint, device: str) -> str:
    """Return the key of a rate: one for each fourfold range of sizes, because small models use a device less."""
    size = checkpoint.facts.parameters.bit_length() // 2
    return f"rate/reading/{device}/{checkpoint.dtype}/{size}"


def _weights(checkpoint: PinnedCheckpoint) -> int:
    """Return the number of weights that a token is multiplied with: all but the embedding's."""
    facts = checkpoint.facts
    return max(facts.parameters - facts.vocabulary * facts.width, 12 * facts.layers * facts.width**2)


def _first_rate(device: str, width: int) -> float:
    """Return weights times tokens per second before any run; narrow models use a device less, other jobs a core."""
    kind = device.partition(":")[0]
    cores = max(1, (os.cpu_count() or 1) - 1) if kind == "cpu" else 1
    return _RATES[kind] * cores * width / (width + _HALF_RATE_WIDTH[kind])
