"""What changed between a past run and this one."""

from __future__ import annotations

from tflite_recipes.core.environment import environment_text
from tflite_recipes.past_runs.reproduce.changes import Change, of_config, of_environment, threads_of

OLD = """# python 3.11.7 (CPython)
# platform Linux
# cpu A CPU (8 cores)
# features avx avx2
# threads 4
absl-py==1.0
numpy==2.1
tensorflow==2.20.0
zipp==3.0
"""
NEW = """# python 3.11.7 (CPython)
# platform Linux
# cpu B CPU (2 cores)
# features avx fma
# threads 2
absl-py==1.1
numpy==2.1
tensorflow==2.21.0
"""


def test_what_decides_most_is_told_first_and_nothing_that_stayed():
    assert of_environment(OLD, NEW) == [
        Change("tensorflow", "2.20.0", "2.21.0"),
        Change("cpu", "A CPU (8 cores)", "B CPU (2 cores)"),
        Change("CPU features", "avx2", "fma"),
        Change("threads", "4", "2"),
        Change("absl-py", "1.0", "1.1"),
        Change("zipp", "3.0", "nothing"),
    ]


def test_a_run_that_recorded_less_is_not_told_to_differ_by_that():
    assert of_environment(OLD.replace("# threads 4\n", ""), OLD) == []
    assert of_environment(None, NEW) == [Change("environment", "not recorded", "this one")]
    assert of_environment(environment_text(), environment_text()) == []


def test_threads_are_known_from_what_there_is():
    assert threads_of(OLD) == 4
    assert threads_of(OLD.replace("# threads 4\n", "")) == 8
    assert threads_of("# threads 999999999\n") is None
    assert threads_of("# cpu odd\n") is None
    assert threads_of(None) is None


def test_config_by_its_keys():
    before = {"name": "a", "source": {"path": "m.keras", "shapes": {}}, "worker": {"timeout_s": 1}, "steps": ["source"]}
    after = {"name": "b", "source": {"path": "n.keras", "shapes": {}, "new": 1}, "worker": {}, "steps": ["source"]}
    assert of_config(before, after) == [
        Change("source.path", "m.keras", "n.keras"),
        Change("source.new", "nothing", "1"),
    ]


def test_nothing_that_a_terminal_obeys_is_handed_on():
    told = Change("cpu\x1b[2J", "a\nb", "x" * 1000).to_json()
    assert told == {"what": "cpu?[2J", "before": "a?b", "after": "x" * 500}
