"""A local Ray cluster of three machines: the same bytes as alone with one machine killed, progress, cancel, errors."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend import wiring
from backend.caching.cache import Cache
from backend.errors import ClusterError
from backend.lab.cluster import Cluster
from tests.tiny import tiny_study

ROOT = Path(__file__).parents[2]
SMALL: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 << 20}
ANALYSES = "accuracy,direction,linear_probes,trajectory,swaps,weights"

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # those of Ray
    pytest.mark.timeout(1500),  # longer than the commands inside may take, one after the other
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the study `tiny`."""
    folder = tmp_path_factory.mktemp("cluster")
    tiny_study(folder / "studies" / "tiny", epochs=(1, 2))
    return folder


@pytest.fixture(scope="module")
def machines(place: Path) -> Iterator[Any]:
    """Three machines of one core each, all of them here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("LAYERSHIFT_WORKER_CACHE", str(place / "worker"))
        from ray.cluster_utils import Cluster as Machines

        cluster = Machines(initialize_head=True, head_node_args=SMALL | {"include_dashboard": False})
        for _ in range(2):
            cluster.add_node(**SMALL)
        cluster.wait_for_nodes()
        yield cluster
        cluster.shutdown()


def exporting(place: Path, name: str, **settings: str) -> subprocess.Popen[str]:
    """Start an export of the tiny study, with a cache of its own."""
    own = {"LAYERSHIFT_STUDIES": str(place / "studies"), "LAYERSHIFT_CACHE": str(place / name / "cache")}
    command = [sys.executable, "-m", "backend", "export", "tiny", "--out", str(place / name), "--only", ANALYSES]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | own | settings
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def results(place: Path, name: str) -> dict[str, bytes]:
    """The cached results of a run, without small facts about files and speed."""
    entries = Cache(place / name / "cache").entries()
    return {key: value for key, value in entries if key.startswith(("analyses.", "derived.", "lab."))}


def test_with_a_machine_killed_mid_way_the_bytes_are_those_of_a_run_alone(place: Path, machines: Any):
    alone = exporting(place, "alone")
    said, _ = alone.communicate(timeout=400)
    assert alone.returncode == 0, said
    together = exporting(place, "together", LAYERSHIFT_RAY=machines.address)
    until = time.monotonic() + 120
    while not [*place.glob("worker/locks/*")] and time.monotonic() < until:
        time.sleep(0.1)  # until a worker has begun
    machines.remove_node(next(iter(machines.worker_nodes)), allow_graceful=False)
    said, _ = together.communicate(timeout=400)
    assert together.returncode == 0, said
    files = sorted(file.name for file in (place / "alone").glob("*.csv"))
    assert files == sorted(f"{name}.csv" for name in ANALYSES.split(","))
    for file in files:
        assert (place / "alone" / file).read_bytes() == (place / "together" / file).read_bytes(), file
    expected, cached = results(place, "alone"), results(place, "together")
    assert len(expected) > 20 and cached.keys() == expected.keys()
    assert cached == expected


def test_progress_cancel_and_errors_are_those_of_a_computation_here(place: Path, machines: Any):
    settings = {"LAYERSHIFT_RAY": machines.address, "LAYERSHIFT_CACHE": str(place / "client" / "cache")}
    settings |= {"LAYERSHIFT_STUDIES": str(place / "studies"), "PYTHONWARNINGS": "ignore"}
    client = subprocess.run(
        [sys.executable, "-m", "tests.lab.cluster_client"],
        cwd=ROOT,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert client.returncode == 0, client.stderr
    said = json.loads(client.stdout.splitlines()[-1])
    assert said["heard"] == 1 and not said["kept_after_cancel"]
    assert said["undefined"] == "UndefinedError"
    assert said["together"] == pytest.approx(said["alone"], abs=1e-4)
    assert said["typed_alone"] and said["kept"]


def test_a_cluster_that_is_not_there_is_one_sentence(place: Path, monkeypatch: pytest.MonkeyPatch):
    silent = exporting(place, "silent", LAYERSHIFT_RAY="127.0.0.1:1")
    said, _ = silent.communicate(timeout=240)
    assert silent.returncode == 2 and "make cluster" in said and "Traceback" not in said
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match=re.escape("pip install -r requirements-cluster.txt")):
        Cluster("auto", ROOT / "backend", wiring.worker_lab, {})
