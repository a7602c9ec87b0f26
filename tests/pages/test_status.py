"""The status page: what runs and what is queued, what was found and computed, memory, models, the cache."""

from __future__ import annotations

import threading
import time

from streamlit.testing.v1 import AppTest

from backend.analyses import accuracy
from backend.lab.pinning import pin
from tests.pages.conftest import ROOT, World


def opened() -> AppTest:
    test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    test.switch_page("pages/status.py").run()
    assert [one.value for one in test.exception] == []
    return test


def numbers(test: AppTest) -> dict[str, str]:
    return {one.label: one.value for one in test.metric}


def tables(test: AppTest) -> str:
    return "\n".join(one.value.to_string() for one in test.table)


def test_a_server_at_rest(world: World):
    test = opened()
    assert numbers(test)["Running jobs"] == numbers(test)["Queued jobs"] == "0"
    assert numbers(test)["Results computed"] == "0"
    assert numbers(test)["Memory"].endswith(("MB", "GB"))
    assert "No job is queued or running." in [one.value for one in test.caption]
    assert r"models/\*\*base\*\*" in tables(test) and "12.0 MB" in tables(test)


def test_work_is_seen_and_counted(world: World):
    study = pin(world.studies["film"], world.lab)  # type: ignore[arg-type]
    go, readout = threading.Event(), world.models.readout

    def held(*given: object) -> object:
        go.wait(20)
        return readout(*given)  # type: ignore[arg-type]

    world.models.readout = held  # type: ignore[method-assign, assignment]
    jobs = [world.jobs.submit(accuracy.recipe, query, world.lab) for query in accuracy.queries(study)]
    end = time.monotonic() + 20
    while world.jobs.active()[0].started is None and time.monotonic() < end:
        time.sleep(0.01)
    test = opened()
    shown = numbers(test)
    assert int(shown["Running jobs"]) + int(shown["Queued jobs"]) == len(jobs)
    assert jobs[0].title in tables(test)
    go.set()
    for job in jobs:
        job.result(20)
    test.run()
    assert numbers(test)["Running jobs"] == "0"
    assert int(numbers(test)["Results computed"]) >= len(jobs)
    assert "(shared)" in tables(test)
