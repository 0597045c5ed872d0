"""Integer files of float ones by litert_quantizer, in a process of its own: `python integer_files.py FOLDER NAME …`.

FOLDER/NAME.tflite with the samples FOLDER/x.npy becomes FOLDER/NAME_per_channel.tflite and NAME_per_tensor.tflite.
"""

import sys
from pathlib import Path

from support.tf_scripts import run_script

TESTS = Path(__file__).resolve().parents[1]


def write(folder: Path, *names: str) -> None:
    run_script(__file__, folder, *names)


if __name__ == "__main__":
    import numpy as np

    from support.reporters import RecordingReporter
    from tflite_recipes.backend.converting.conversion_request import Request
    from tflite_recipes.backend.converting.integer_conversion import resolved
    from tflite_recipes.backend.converting.quantizer import quantize

    place = Path(sys.argv[1])
    samples = {"x": np.load(place / "x.npy")}
    for name in sys.argv[2:]:
        for grain in ("per_channel", "per_tensor"):
            request = Request("full_integer", "float32", "float32", grain == "per_channel", samples)
            path = place / f"{name}.tflite"
            found = resolved(path, "serving_default", request)
            made = quantize(path, "serving_default", request, *found, RecordingReporter())
            (place / f"{name}_{grain}.tflite").write_bytes(made.data)
