"""What a file weighs."""

import gzip
import tracemalloc

import numpy as np
import pytest

from tflite_recipes.files.tflite import size_metrics as sizes


def test_sizes(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(bytes(1000))
    found = sizes.size_metrics(path, 500)
    assert found["size.tflite_bytes"] == 1000
    assert found["size.float_bytes"] == 2000
    assert found["size.ratio"] == 0.5
    assert found["size.gzip_bytes"] == len(gzip.compress(bytes(1000), 9, mtime=0))
    assert found == sizes.size_metrics(path, 500)
    assert "size.ratio" not in sizes.size_metrics(path, 0)


@pytest.mark.slow
def test_size_of_a_file_of_many_chunks_is_that_of_the_gzipped_whole(tmp_path):
    path = tmp_path / "model.tflite"
    content = np.random.default_rng(0).integers(0, 40, 3_500_001, np.uint8).tobytes()
    path.write_bytes(content)
    tracemalloc.start()
    found = sizes.size_metrics(path, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found["size.gzip_bytes"] == len(gzip.compress(content, 6, mtime=0))
    assert peak < 2_000_000
