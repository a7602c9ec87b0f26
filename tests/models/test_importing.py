"""A fresh process whose threads ask for models and tokenizers at once: nobody gets half of transformers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.tiny import tiny_model

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys, threading
from pathlib import Path
from backend.caching.cache import Cache
from backend.models.local import LocalModels
from backend.study.config import CheckpointRef

ref = CheckpointRef(label="base", path=sys.argv[1])
failed, ready = [], threading.Barrier(6)

def ask(number):
    models = LocalModels(Cache(Path(sys.argv[2]) / str(number)))
    ready.wait()
    try:
        [models.tokenizer(ref, ref), models.check(ref, ref)] if number % 2 else models.store
    except BaseException as error:
        failed.append(f"{type(error).__name__}: {error}")

threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
sys.exit("\\n".join(failed) or 0)
"""


def test_threads_import_one_after_the_other(tmp_path: Path):
    tiny_model(tmp_path / "base")
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "base"), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
