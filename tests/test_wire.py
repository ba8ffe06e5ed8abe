"""The order in which waitress's threads take up what has come."""

from types import SimpleNamespace

import pytest

from tsfm.arrivals import Arrivals
from tsfm.wire import Workers


@pytest.fixture
def workers():
    made = Workers(Arrivals(), 0)  # no thread takes anything away
    yield made
    made.shutdown()


def asking(command):
    return SimpleNamespace(requests=[SimpleNamespace(command=command)], cancel=lambda: None)


def test_what_takes_next_to_nothing_goes_before_what_the_model_must_answer(workers):
    tasks = [asking(command) for command in ("POST", "POST", "GET", "")]
    for task in tasks:
        workers.add_task(task)
    assert [task.requests[0].command for task in workers.queue] == ["", "GET", "POST", "POST"]
    assert workers.queue[2] is tasks[0]  # first come, first served
    assert workers.arrivals.count == 4
