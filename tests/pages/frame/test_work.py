"""The bar of work under way: one line, what it waits for, and which jobs the page keeps in view."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from streamlit.runtime.scriptrunner import script_runner
from streamlit.runtime.scriptrunner_utils.script_requests import RerunData, ScriptRequests
from streamlit.testing.v1 import AppTest

from backend.analyses import accuracy
from backend.caching.job import Job
from backend.caching.jobs import Jobs
from backend.caching.progress import Progress
from backend.caching.turns import BACKGROUND, VIEWED
from backend.errors import Cancelled
from backend.lab.pinning import pin
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy
from backend.study.token_ids import Prompts
from pages.frame import work
from tests.pages.conftest import ROOT, World, settle

BAR = re.compile(r"[^\n]+(, about \d+ (s|min) left| \(about \d+ (s|min) left\))")


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


def bars(test: AppTest) -> list[str]:
    """The lines of the page's progress bars."""
    return [one.proto.text for one in test.get("progress")]


class Held:
    """Readouts that wait until the test lets them end."""

    def __init__(self, world: World) -> None:
        self.go = threading.Event()
        self._readout = world.models.readout
        world.models.readout = self._wait  # type: ignore[method-assign]

    def _wait(self, checkpoint: object, prompts: Prompts, progress: Progress) -> object:
        while not self.go.wait(0.01):
            progress(0.3, "Reading\nprompts: 3 of 36.")
        return self._readout(checkpoint, prompts, progress)  # type: ignore[arg-type]


@pytest.fixture
def study(world: World) -> PinnedStudy:
    return pin(world.studies["film"], world.lab)  # type: ignore[arg-type]


def test_late_timers_leave_no_line_in_the_log(caplog: pytest.LogCaptureFixture):
    logger = logging.getLogger("streamlit.runtime.app_session")
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO, logger.name):
        logger.info("The fragment with id %s does not exist anymore - it might have been removed.", "a")
        logger.info("Something else")
    logger.removeHandler(caplog.handler)
    assert {record.getMessage() for record in caplog.records} == {"Something else"}


CLICK = RerunData(page_script_hash="layers", query_string="epoch=epoch+1")
TIMER = RerunData(page_script_hash="overview", fragment_id="bar", is_auto_rerun=True)
AGAIN = RerunData(page_script_hash="overview")


def requests_of(page: str) -> ScriptRequests:
    requests = script_runner.ScriptRequests()  # pyright: ignore[reportPrivateImportUsage]
    requests.request_rerun(RerunData(page_script_hash=page))
    assert requests.on_scriptrunner_yield() is not None
    return requests


@pytest.mark.parametrize("later", [[TIMER], [AGAIN], [TIMER, AGAIN, TIMER]], ids=["timer", "rerun", "both"])
def test_a_click_on_a_link_stands_until_its_page_begins(monkeypatch: pytest.MonkeyPatch, later: list[RerunData]):
    requests = requests_of("overview")
    assert requests.request_rerun(CLICK)
    for one in later:
        running = None if one is TIMER else SimpleNamespace(page_script_hash="overview")  # a timer is the browser's
        monkeypatch.setattr(work, "get_script_run_ctx", lambda suppress_warning, running=running: running)
        assert requests.request_rerun(one)
    run = requests.on_scriptrunner_yield()
    assert run is not None and run.rerun_data.page_script_hash == "layers" and not run.rerun_data.fragment_id_queue
    assert run.rerun_data.query_string == "epoch=epoch+1"


def test_the_newest_click_counts_and_timers_of_the_page_itself_run():
    requests = requests_of("overview")
    requests.request_rerun(TIMER)
    requests.request_rerun(CLICK)
    requests.request_rerun(RerunData(page_script_hash="overview"))  # a widget of the page that was about to be left
    run = requests.on_scriptrunner_yield()
    assert run is not None and run.rerun_data.page_script_hash == "overview"
    requests.request_rerun(TIMER)
    run = requests.on_scriptrunner_ready()
    assert run.rerun_data.fragment_id_queue == ["bar"]


def test_a_bar_is_one_line_of_plain_text(world: World):
    held = Held(world)
    test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    test.switch_page("pages/layers.py").run()
    until(lambda: any(job.started is not None and job.fraction > 0 for job in world.jobs.active()))
    test.run()
    assert bars(test)
    assert all(BAR.fullmatch(line) for line in bars(test)), bars(test)
    held.go.set()


def test_a_page_keeps_its_jobs_in_view_until_the_browser_leaves_it(world: World):
    held = Held(world)
    test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    test.switch_page("pages/layers.py").run()
    mine = world.jobs.active()
    assert {job.ticket.own_rank() for job in mine} == {VIEWED}
    test.switch_page("pages/add.py").run()
    assert {job.ticket.own_rank() for job in mine} == {BACKGROUND}
    held.go.set()


def test_a_new_text_ends_the_work_on_the_one_before(world: World):
    go, readout, reading = threading.Event(), world.models.readout, list[str]()

    def waits(checkpoint: PinnedCheckpoint, prompts: Prompts, progress: Progress) -> object:
        if len(prompts.token_ids) == 1:  # a typed text
            reading.append(prompts.digest)
            while not go.wait(0.01):
                progress(0.3, "Reading the text.")
        return readout(checkpoint, prompts, progress)

    world.models.readout = waits  # type: ignore[method-assign]
    test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    test.query_params["text"] = "The plot is thin."
    test.switch_page("pages/review.py").run()
    until(lambda: bool(reading))
    first = [job for job in world.jobs.active() if job.typed]
    test.text_area(key="text").set_value("The plot is thin, but funny.").run()
    until(lambda: all(job.done for job in first))
    assert {type(job.failed) for job in first} == {Cancelled}
    assert any(job.typed for job in world.jobs.active())
    test.text_area(key="text").set_value("The plot is thin.").run()
    go.set()
    settle(test)
    assert not [one.value for one in (*test.error, *test.warning)]
    assert not any("cancelled" in one.value for one in test.info)


def test_a_waiting_bar_names_what_it_waits_for_and_stops_it(world: World, study: PinnedStudy):
    world.jobs = Jobs(1)
    held = Held(world)
    query = accuracy.Query(study.checkpoints[1], study.prompts)
    ahead = world.jobs.submit(accuracy.recipe, query, world.lab, title="accuracy of *epoch 1*", session="other")
    until(lambda: ahead.fraction > 0)
    test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    test.query_params["epoch"] = "epoch 3"
    test.switch_page("pages/layers.py").run()
    ahead.watch("other", 60.0)
    test.run()
    waiting = [line for line in bars(test) if line.startswith("Waiting for")]
    assert waiting
    assert all(re.fullmatch(r"Waiting for accuracy of .*epoch 1.* \(about \d+ s left\)", line) for line in waiting)
    next(button for button in test.button if button.label == "Stop that").click().run()
    until(lambda: ahead.done)
    held.go.set()


def test_what_a_bar_says():
    job: Job[object] = Job("key", "title")
    assert work.said("Maps", job, 12.2) == "Maps: queued, about 12 s left"
    job.started, job.sentence = time.time(), "Layer 3 of 12."
    assert work.said("Maps", job, 0.2) == "Maps: Layer 3 of 12, about 1 s left"
