"""Progress told again before every block of a pass, so that a cancel is heard in the middle of a long batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from backend.checkpoints.anatomy import Anatomy
from backend.ports import Progress


class Telling:
    """A progress that knows what it said last."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._last = 0.0, "Starting."

    def __call__(self, fraction: float, sentence: str) -> None:
        """Say it."""
        self._last = fraction, sentence
        self.again()

    def again(self) -> None:
        """Say it once more, because somebody may have cancelled since."""
        self._progress(*self._last)

    @contextmanager
    def before_blocks(self, anatomy: Anatomy) -> Iterator[None]:
        """While open, every block of the model says it again before it runs."""
        with ExitStack() as hooks:
            for block in anatomy.blocks:
                hooks.callback(block.whole.register_forward_pre_hook(lambda *_: self.again()).remove)
            yield
