"""What a file weighs."""

import gzip

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
