"""What one step hands to the next: small, immutable, and (but for the model in memory) JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from tflite_recipes.core.errors import typeable


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape (None where a dimension is dynamic; the first is the batch) and numpy dtype name of a tensor."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TensorSpec:
        return cls(data["name"], tuple(data["shape"]), data["dtype"])

    def __str__(self) -> str:
        dimensions = ", ".join("?" if d is None else str(d) for d in self.shape)
        return f"{self.name} ({dimensions}) {self.dtype}"


def specs_from_json(data: list[Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
    """Several specs, in their order."""
    return tuple(TensorSpec.from_json(spec) for spec in data)


@dataclass(frozen=True)
class Gate:
    """A limit, what was measured against it, and the answer. A gate that fails ends the run with exit status 1.

    unit: of both numbers, "" for none. estimated: what stands for the measured number is an estimate. fix: the
    overrides that would come nearest and fit, where they are known. at_least: the limit is the least that will do,
    not the most. alternatives: other ways. A fix with a word that the user has to replace becomes one of them.
    """

    name: str
    measured: float
    limit: float
    passed: bool
    unit: str = ""
    estimated: bool = False
    fix: str = ""
    at_least: bool = False
    alternatives: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        fix, others = typeable(self.fix, tuple(self.alternatives))
        object.__setattr__(self, "fix", fix)
        object.__setattr__(self, "alternatives", others)

    @property
    def margin(self) -> float:
        """What is left of the limit; negative where it is missed."""
        return self.measured - self.limit if self.at_least else self.limit - self.measured

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        about = "estimated " if self.estimated else ""
        missed = "short" if self.at_least else "over"
        margin = f"{abs(self.margin):.4g} {missed if self.margin < 0 else 'left'}"
        answer = "passed" if self.passed else "FAILED"
        limit = f"at least {self.limit:g}" if self.at_least else f"{self.limit:g}"
        return f"{about}{self.measured:g} of {limit}{unit}, {margin}: {answer}"


# The schemes, by name, that set ranges of activations from samples.
CALIBRATED = ("full_integer", "integer_only", "int16x8", "int16x8_fallback")


@dataclass(frozen=True)
class Intent:
    """What the recipe as a whole is after, for steps that have to know it before the step that does it.

    scheme: the quantization scheme; select_tf_ops, allow_custom_ops: which ops besides LiteRT's own may be in the
    file; select_user_tf_ops: ops that the application links into the Flex delegate; unfold_batchmatmul,
    exclude_conversion_metadata: for the converter; dynamic_batch: whether the target takes a batch whose size is
    open. fallback: remedies that may be taken, in their order; taken: those that an earlier attempt of this run showed
    to be needed. contract: what inputs and outputs of the file must be, as declared. sizes: shapes of the samples that
    the recipe names, by input. on_wrong_file: `warn` or `fail`. ranges:
    how ranges follow from samples, the fields of `ranges.RangeChoice`. pruned: whether weights are pruned.
    recipe_digest, model_name: what the metadata of a file says of where it comes from.
    constants_mb: the most MB of variables that become constants; None for any.
    """

    scheme: str = "none"
    select_tf_ops: bool = False
    allow_custom_ops: bool = False
    select_user_tf_ops: tuple[str, ...] = ()
    unfold_batchmatmul: bool = False
    exclude_conversion_metadata: bool = False
    dynamic_batch: bool = True
    fallback: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()
    contract: Mapping[str, Any] = field(default_factory=dict)
    sizes: Mapping[str, list[int]] = field(default_factory=dict)
    ranges: Mapping[str, Any] = field(default_factory=dict)
    pruned: bool = False
    on_wrong_file: str = "warn"
    recipe_digest: str = ""
    model_name: str = ""
    constants_mb: float | None = None

    def allows(self, ops: str) -> bool:
        """Whether `select_tf_ops` or `allow_custom_ops` was asked for, or taken as a remedy."""
        return bool(getattr(self, ops)) or ops in self.taken

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Intent:
        return cls(**{**data, **{name: tuple(data[name]) for name in ("select_user_tf_ops", "fallback", "taken")}})


@dataclass(frozen=True)
class NamedModel:
    """The model that the user named, as it was before any step changed it: what gates compare with.

    path: its SavedModel or float `.tflite`; None if no step changed the model, which is then its own baseline.
    signature: the key of its signature.
    inputs: what it takes; () if the file takes the same.
    outputs: the names of what it gives, in the source's own order.
    text: the SavedModel that turns its text inputs into the token ids that the file takes; None if it takes no text.
    fingerprint: digest of its graph and weights, "" if they cannot be compared.
    missing: why it could not be kept, "" if it was.
    """

    path: Path | None = None
    signature: str = ""
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[str, ...] = ()
    text: Path | None = None
    fingerprint: str = ""
    missing: str = ""

    @property
    def kept(self) -> bool:
        """Whether the model was kept, or could not be."""
        return self.path is not None or bool(self.missing)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> NamedModel:
        paths = {name: Path(data[name]) if data[name] else None for name in ("path", "text")}
        names = {"inputs": specs_from_json(data["inputs"]), "outputs": tuple(data["outputs"])}
        return cls(**{**data, **paths, **names})


@dataclass(frozen=True)
class State:
    """What is known so far.

    workdir: scratch folder of this run, removed at its end.
    intent: what the recipe as a whole is after.
    model: the model in memory (`backend.models.source_model.Model`); never leaves the worker's first job.
    source_sha256, parameters: digest of the source and its number of parameters.
    saved_model, signature: the frozen SavedModel that every later step starts from, and its signature key.
    reference: the SavedModel that outputs are compared with, where `saved_model` is a rewritten one.
    remedies: what was taken so that the model converts, in words for the contract.
    taken: the names of the remedies among them that nobody asked for.
    offered: the remedies of `intent.fallback` that would change this model, and were not needed so far.
    layers: names of the model's layers, by which its ops are told.
    findings: what was found of its ops before converting and not helped, in words.
    float_file: the float `.tflite` that they start from instead, where the source is one.
    stateful: whether the model writes to its variables, so that an invoke depends on those before it.
    fused: the LSTM layers that the rule `fused_lstm` fuses, where the file must compute what they compute.
    resets: whether the file keeps state that its source does not, so that it is reset before each invoke.
    random: whether it draws random numbers, so that no two invokes agree.
    inputs, outputs: of that signature, in the source's own order.
    calibration: folder with one `.npy` file per input, first axis = samples (see `npz.save_arrays`).
    calibration_sha256: digest of its arrays.
    preprocessing: by input, what was done to the samples' raw data, and has to be done to what the file is fed.
    named: the model that the user named, where a step changed it.
    cut: by output, the function behind it that the rule `logits` left out (see `quality.cut_outputs`).
    scheme: the quantization scheme that the file has.
    converted: the float file that it was quantized from, as the converter gave it. float_limit: how far a float
    file may be from its source, as a share of an output's range. faults: remedies against faults of the converter
    that this model meets, and that were not taken.
    tflite: the converted file. runnable: whether a runtime here can run it; not so with Flex and custom ops.
    """

    workdir: Path
    intent: Intent = field(default_factory=Intent)
    model: Any = None
    source_sha256: str = ""
    parameters: int = 0
    saved_model: Path | None = None
    reference: Path | None = None
    remedies: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()
    offered: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    signature: str = ""
    stateful: bool = False
    fused: tuple[str, ...] = ()
    resets: bool = False
    random: bool = False
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    calibration: Path | None = None
    calibration_sha256: str = ""
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    scheme: str = ""
    tflite: Path | None = None
    runnable: bool = True
    float_file: Path | None = None
    named: NamedModel = field(default_factory=NamedModel)
    cut: Mapping[str, str] = field(default_factory=dict)
    converted: Path | None = None
    float_limit: float = 1e-2
    faults: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "model"}
        for name, value in data.items():
            if isinstance(value, Intent):
                data[name] = asdict(value)
            elif isinstance(value, NamedModel):
                paths = {key: str(path) if path else None for key, path in (("path", value.path), ("text", value.text))}
                data[name] = {**asdict(value), **paths}
            elif isinstance(value, Path):
                data[name] = str(value)
            elif name in ("inputs", "outputs"):
                data[name] = [asdict(spec) for spec in value]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> State:
        values = dict(data)
        values["intent"] = Intent.from_json(values["intent"])
        values["named"] = NamedModel.from_json(values["named"])
        for name in ("workdir", "saved_model", "reference", "calibration", "tflite", "float_file", "converted"):
            values[name] = Path(values[name]) if values[name] else None
        for name in ("remedies", "taken", "offered", "layers", "findings", "fused", "faults"):
            values[name] = tuple(values[name])
        for name in ("inputs", "outputs"):
            values[name] = specs_from_json(values[name])
        return cls(**values)
