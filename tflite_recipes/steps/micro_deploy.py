"""What firmware needs to run the file, as artifacts under `deploy/`."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from tflite_recipes.core.events import Reporter
from tflite_recipes.core.state import State
from tflite_recipes.files.samples import npz
from tflite_recipes.files.tflite import io_contract

if TYPE_CHECKING:
    from tflite_recipes.files.tflite import TFLiteFile
    from tflite_recipes.targets.deploy.firmware import Sample

FOLDER = "deploy"


def deliver(
    state: State, path: Path, arena_bytes: int | None, reporter: Reporter, registered: Collection[str] = ()
) -> None:
    """Write and keep the sources for `path`: the run's file, or what Vela compiled of it.

    arena_bytes: None where it was not measured. registered: custom ops whose kernels the firmware brings.
    Errors: StepError where TensorFlow Lite Micro cannot take the file.
    """
    from tflite_recipes.files.tflite import read_tflite
    from tflite_recipes.targets.deploy import firmware

    assert state.tflite is not None
    file = read_tflite(state.tflite)
    written = firmware.write(
        state.workdir / FOLDER,
        path,
        io_contract.io_contract(file, state),
        arena_bytes=arena_bytes,
        name=state.intent.model_name or "model",
        registered=registered,
        sample=_sample(state, file) if state.runnable else None,
    )
    for each in written:
        reporter.keep(str(each), FOLDER)


def _sample(state: State, file: TFLiteFile) -> Sample:
    """As many samples as one invoke takes, and what LiteRT's own kernels make of them. Errors: StepError."""
    from tflite_recipes.backend.running import runtime
    from tflite_recipes.files.tflite.index_limits import index_limits
    from tflite_recipes.targets.deploy.firmware import Sample

    assert state.tflite is not None
    signature = next(one for one in file.signatures if one.key == state.signature)
    shapes = {name: file.subgraphs[signature.subgraph].tensors[index].shape for name, index in signature.inputs}
    batch = max((shape[0] or 1 for shape in shapes.values() if shape), default=1)
    if state.calibration is not None:
        arrays, origin = npz.choose(npz.open_arrays(state.calibration), batch, 0), "a calibration sample"
    else:
        limits = index_limits(file, state.signature)
        arrays, origin = npz.random_arrays(state.inputs, batch, 0, 0.0, 1.0, limits), "seeded random values"
    fed = {name: runtime.padded(arrays[name], batch) if len(arrays[name]) < batch else arrays[name] for name in shapes}
    tflite, stateful = state.tflite, state.stateful
    outputs = runtime.run(tflite, state.signature, fed, lambda *_: None, xnnpack=False, stateful=stateful)
    return Sample(fed, outputs, origin)
