"""What a run ran on, written down and read again."""

import os
import sys

from tflite_recipes.core import environment


def test_what_is_written_is_read():
    told = environment.parsed(environment.environment_text())
    assert told["python"].startswith(sys.version.split()[0])
    assert told["tensorflow"][0].isdigit()
    assert {"platform", "cpu", "features", "numpy", "mlflow"} <= set(told)


def test_what_kernels_are_chosen_by_is_told(monkeypatch):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    monkeypatch.setenv(environment.THREADS, "3")
    told = environment.parsed(environment.environment_text())
    assert (told["variables"], told["threads"]) == ("TF_ENABLE_ONEDNN_OPTS=0", "3")
    monkeypatch.setenv(environment.THREADS, "0")  # which TensorFlow takes for none said
    assert 1 <= environment.threads() <= (os.cpu_count() or 1)


def test_lines_of_another_kind_are_no_news():
    assert environment.parsed("# cpu A B (2 cores)\n\nnumpy==2.1\n# features avx fma\n") == {
        "cpu": "A B (2 cores)",
        "numpy": "2.1",
        "features": "avx fma",
    }
