"""What a process started ends with it, however it is killed."""

import os
import signal
import subprocess
import time

import psutil
import pytest

from tflite_recipes.engine import guard

pytestmark = pytest.mark.slow


@pytest.fixture
def family(tmp_path):
    """A function that starts two processes in a process of its own, which then ends in the way that is asked for."""

    def start(end):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            options = {"stdout": subprocess.DEVNULL, "start_new_session": True}
            with guard.guarded():
                sleeper = subprocess.Popen(["sleep", "60"], **options)
            other = subprocess.Popen(["sleep", "60"], **options)
            os.write(write, f"{sleeper.pid} {other.pid}".encode())
            end()
        os.waitpid(child, 0)
        return [psutil.Process(int(pid)) for pid in os.read(read, 100).split()]

    started = []
    yield lambda end: started.append(start(end)) or started[-1]
    for process in started[0]:
        process.kill()


def is_gone(process):
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_guard_ends_what_a_killed_process_started_and_nothing_else(family):
    sleeper, other = family(lambda: os.kill(os.getpid(), signal.SIGKILL))
    deadline = time.monotonic() + 20
    while not is_gone(sleeper):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert not is_gone(other)


def test_guard_ends_nothing_after_a_process_that_ended_by_itself(family):
    def end():
        guard._close()
        os._exit(0)

    sleeper, other = family(end)
    time.sleep(0.5)
    assert not is_gone(sleeper)
    assert not is_gone(other)
