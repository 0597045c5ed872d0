"""A run's `.tflite` as an MLflow model: a folder with the file, how it is loaded, and what it takes and gives."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tflite_recipes.core import events
from tflite_recipes.files.models import sha256_of
from tflite_recipes.files.samples.input_example import EXAMPLE, FEEDING
from tflite_recipes.files.tflite.io_contract import carries_state

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

FOLDER = "model"
FILE = "model.tflite"
# MLflow's own tag, by which its pages know the models among a run's artifacts.
HISTORY = "mlflow.log-model.history"
_PACKAGES = ("mlflow", "ai-edge-litert", "numpy")
_SERVING_EXAMPLE = "serving_input_example.json"
_NOT_APPLIED = "the model is fed what `preprocessing` in io_contract gives; predict does not do it"


@dataclass
class ModelParts:
    """What a run's events tell that its model is made from. All of it comes before the file itself.

    contract, example: paths in the output folder, None where there is none.
    """

    contract: Path | None = None
    example: Path | None = None
    scheme: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    unsupported: dict[str, int] = field(default_factory=dict)

    def hear(self, event: events.Event) -> None:
        """Take from an event what belongs here."""
        match event:
            case events.RunStarted(recipe=recipe, digest=digest, choices=choices):
                self.metadata |= {"recipe": recipe, "recipe_digest": digest}
                self.scheme = choices.get("optimization", "")
            case events.Noted(params=params) if FEEDING in params:
                self.metadata["input_example"] = params[FEEDING]
            case events.Measured(metrics=metrics):
                named = {"ops.flex": "Flex", "ops.custom": "custom"}
                self.unsupported |= {kind: int(metrics[name]) for name, kind in named.items() if name in metrics}
            case events.ArtifactKept(path=path) if Path(path).name == "io_contract.json":
                self.contract = Path(path)
            case events.ArtifactKept(path=path) if Path(path).name == EXAMPLE:
                self.example = Path(path)

    @property
    def unsupported_ops(self) -> str:
        """The ops that LiteRT by itself cannot run, in words; "" where there are none."""
        said = [f"{count} {kind} op{'s' if count > 1 else ''}" for kind, count in self.unsupported.items() if count]
        return " and ".join(said)


def build(folder: Path, file: Path, parts: ModelParts, run_id: str) -> dict[str, Any]:
    """Make `folder` an MLflow model of `file`, which it links to, and give its entry for the tag `HISTORY`.

    Nothing is run, and no requirement is found by loading. Errors: OSError, ValueError or KeyError where what the run
    told is not as expected.
    """
    import mlflow.pyfunc
    from mlflow.models import Model

    contract = json.loads(parts.contract.read_text(encoding="utf-8")) if parts.contract else {}
    (folder / FILE).symlink_to(file.resolve())  # the upload follows the link
    loader = _write_loader(folder)
    _write_environment(folder)
    sha256 = sha256_of(file)
    metadata = {**parts.metadata, "tflite_sha256": sha256, "io_contract": contract}
    if any("preprocessing" in entry for entry in contract["inputs"]):
        metadata["preprocessing"] = _NOT_APPLIED
    model = Model(artifact_path=FOLDER, run_id=run_id, metadata=metadata, signature=signature_of(contract))
    if parts.example is not None:
        model.saved_input_example_info = _write_example(folder, parts.example)
    config = {"signature": contract["signature"], "stateful": carries_state(contract), "num_threads": 1}
    mlflow.pyfunc.add_to_model(
        model,
        loader_module=loader,
        data=FILE,
        code="code",
        conda_env="conda.yaml",
        python_env="python_env.yaml",
        model_config={**config, "unsupported_ops": parts.unsupported_ops},
    )
    model.add_flavor(
        "tflite",
        data=FILE,
        litert_version=version("ai-edge-litert"),
        quantization=parts.scheme,
        signature_key=contract["signature"],
        inputs={entry["name"]: entry["tflite"]["dtype"] for entry in contract["inputs"]},
        outputs={entry["name"]: entry["tflite"]["dtype"] for entry in contract["outputs"]},
    )
    model.model_size_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    model.save(str(folder / "MLmodel"))
    return {name: value for name, value in model.get_tags_dict().items() if name != "flavors"} | {
        "flavors": {"python_function": {"loader_module": loader, "data": FILE}, "tflite": {"data": FILE}}
    }


def signature_of(contract: Mapping[str, Any]) -> ModelSignature | None:
    """Inputs and outputs as users of `predict` see them: quantized ones as float32, and any number of samples.

    None where MLflow has no name for a type.
    """
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ParamSchema, ParamSpec, Schema

    params = [
        ParamSpec("quantize", "boolean", True),
        ParamSpec("dequantize", "boolean", True),
        ParamSpec("signature", "string", contract["signature"]),
    ]
    try:
        inputs, outputs = (Schema([_spec(entry) for entry in contract[side]]) for side in ("inputs", "outputs"))
    except TypeError:  # numpy's, of a type that it does not know
        return None
    return ModelSignature(inputs, outputs, ParamSchema(params))


def _spec(entry: Mapping[str, Any]) -> Any:
    import numpy as np
    from mlflow.types.schema import TensorSpec

    stored = entry["tflite"]
    kind = "float32" if "scale" in stored else stored["dtype"]
    shape = [-1 if size is None else size for size in entry["tflite"]["shape"]]
    return TensorSpec(np.dtype("str" if kind == "string" else kind), (-1, *shape[1:]) if shape else (), entry["name"])


def _write_loader(folder: Path) -> str:
    """The loader's file, under a name that tells its content: of two models in one process each gets its own."""
    source = Path(__file__).with_name("tflite_pyfunc.py")
    name = f"tflite_pyfunc_{hashlib.sha256(source.read_bytes()).hexdigest()[:8]}"
    (folder / "code").mkdir()
    shutil.copyfile(source, folder / "code" / f"{name}.py")
    return name


def _write_environment(folder: Path) -> None:
    """The packages that loading needs, at the versions that are installed, in the three forms that MLflow reads."""
    import yaml

    pinned = [f"{name}=={version(name)}" for name in _PACKAGES]
    (folder / "requirements.txt").write_text("".join(f"{line}\n" for line in pinned), encoding="utf-8")
    python = platform.python_version()
    build = ["pip", "setuptools", "wheel"]
    for name, content in (
        ("python_env.yaml", {"python": python, "build_dependencies": build, "dependencies": ["-r requirements.txt"]}),
        (
            "conda.yaml",
            {
                "name": "mlflow-env",
                "channels": ["conda-forge"],
                "dependencies": [f"python={python}", "pip", {"pip": pinned}],
            },
        ),
    ):
        (folder / name).write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def _write_example(folder: Path, example: Path) -> dict[str, str]:
    """The example as MLflow keeps one of arrays by name, and the same as the body of a request."""
    text = example.read_text(encoding="utf-8")
    (folder / EXAMPLE).write_text(text, encoding="utf-8")
    (folder / _SERVING_EXAMPLE).write_text(f'{{"inputs": {text.strip()}}}\n', encoding="utf-8")
    return {"artifact_path": EXAMPLE, "type": "ndarray", "serving_input_path": _SERVING_EXAMPLE}
