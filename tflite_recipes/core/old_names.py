"""Old names: what modules, classes and targets of earlier versions are called now.

Recipes of past runs name classes by the files that held them, and the code that these runs kept imports modules that
have moved since. Both are looked up here.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from collections.abc import Mapping
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

PACKAGE = "tflite_recipes"
# All paths are those below the package. A module that was split has several successors.
MODULES: dict[str, tuple[str, ...]] = {
    "accelerators": ("targets.accelerators",),
    "accelerators.edge_tpu": ("targets.accelerators.edge_tpu",),
    "accelerators.edge_tpu_log": ("targets.accelerators.edge_tpu_log",),
    "accelerators.gpu": ("targets.accelerators.gpu",),
    "accelerators.graph": ("targets.accelerators.accelerator_graph",),
    "accelerators.partitions": ("targets.accelerators.partitions",),
    "accelerators.placement": ("targets.accelerators.placement",),
    "accelerators.section": ("report.sections.accelerators",),
    "activation_ranges": ("files.tflite.activation_ranges",),
    "attempts": ("engine.attempts",),
    "backend.block_weights": ("backend.converting.block_weights",),
    "backend.calibrating": ("backend.converting.float_calibration",),
    "backend.comparison": ("backend.running.output_comparison",),
    "backend.converter": ("backend.converting.converter",),
    "backend.devices": ("backend.measuring.devices",),
    "backend.devices.adb": ("backend.measuring.devices.adb",),
    "backend.devices.answers": ("backend.measuring.devices.device_results",),
    "backend.devices.channel": ("backend.measuring.devices.channel",),
    "backend.devices.comparing": ("backend.measuring.devices.output_check",),
    "backend.devices.measured": ("backend.measuring.devices.remote_measurement",),
    "backend.devices.ssh": ("backend.measuring.devices.ssh",),
    "backend.devices.supervisor": ("backend.measuring.devices.supervisor",),
    "backend.digits_cnn": ("backend.models.digits_cnn",),
    "backend.edge_tpu_compiler": ("backend.compilers.edge_tpu_compiler",),
    "backend.equalization": ("backend.converting.equalization",),
    "backend.equalization.editing": ("backend.converting.equalization.channel_scaling",),
    "backend.equalization.factors": ("backend.converting.equalization.factors",),
    "backend.equalization.graph": ("backend.converting.equalization.float_graph",),
    "backend.equalization.paths": ("backend.converting.equalization.layer_paths",),
    "backend.error_analysis": ("backend.running.error_analysis",),
    "backend.file_edits": ("backend.converting.file_edits",),
    "backend.first_ops": ("backend.models.first_ops",),
    "backend.freezing": ("backend.models.frozen_model",),
    "backend.inspection": ("backend.models.op_inspection",),
    "backend.integer_conversion": ("backend.converting.integer_conversion",),
    "backend.keras_files": ("backend.models.keras_files",),
    "backend.last_few": ("backend.converting.recent_results",),
    "backend.latency": ("backend.measuring.latency",),
    "backend.layer_swaps": ("backend.models.layer_swaps",),
    "backend.measuring": ("backend.measuring.benchmark_script",),
    "backend.micro": ("backend.compilers.micro_interpreter",),
    "backend.micro_process": ("backend.compilers.micro_process",),
    "backend.models": ("backend.models.source_model",),
    "backend.npu": ("backend.compilers.npu_placement",),
    "backend.op_layers": ("conversion.op_places",),
    "backend.placing": ("backend.compilers.op_placement",),
    "backend.profiling": ("backend.measuring.op_profiler",),
    "backend.pruning": ("backend.training.magnitude_pruning",),
    "backend.quantization_plan": ("backend.converting.quantization_plan",),
    "backend.quantizer": ("backend.converting.quantizer",),
    "backend.replaying": ("backend.running.paired_outputs",),
    "backend.request": ("backend.converting.conversion_request",),
    "backend.rewriting": ("backend.models.rewriting",),
    "backend.rewriting.emitting": ("backend.models.rewriting.op_copies",),
    "backend.rewriting.fourier": ("backend.models.rewriting.fourier",),
    "backend.rewriting.loops": ("backend.models.rewriting.loops",),
    "backend.rewriting.patterns": ("backend.models.rewriting.patterns",),
    "backend.rewriting.rewriter": ("backend.models.rewriting.rewriter",),
    "backend.rewriting.rules": ("backend.models.rewriting.op_replacements",),
    "backend.rewriting.splits": ("backend.models.rewriting.splits",),
    "backend.rewriting.values": ("backend.models.rewriting.graph_values",),
    "backend.rewriting.walker": ("backend.models.rewriting.walker",),
    "backend.runtime": ("backend.running.runtime",),
    "backend.session": ("backend.models.session",),
    "backend.substituting": ("backend.models.graph_substitution",),
    "backend.tensor_pairs": ("backend.running.tensor_pairs",),
    "backend.tfmot": ("backend.models.tfmot",),
    "backend.tfrecords": ("backend.models.tfrecords",),
    "backend.tracing": ("backend.models.traced_model",),
    "backend.training": ("backend.training.fine_tuning",),
    "backend.vela": ("backend.compilers.vela",),
    "backend.verification": ("backend.running.file_verification",),
    "backend.weight_errors": ("backend.running.weight_errors",),
    "backend.weights": ("backend.models.weight_loading",),
    "catalog": ("config.catalog",),
    "cli": ("cli.entry",),
    "commands": ("cli",),
    "commands.comparing": ("cli.compare",),
    "commands.composing": ("cli.check",),
    "commands.looking": ("cli.ls",),
    "commands.parsing": ("cli.parser",),
    "commands.reproducing": ("cli.reproduce",),
    "commands.running": ("cli.run",),
    "commands.syncing": ("cli.sync",),
    "commands.tracked": ("cli.tracking_options",),
    "comparing": ("past_runs.compare",),
    "comparing.asking": ("past_runs.compare.api",),
    "comparing.choosing": ("past_runs.compare.selection",),
    "comparing.colours": ("past_runs.compare.colours",),
    "comparing.comparison": ("past_runs.compare.comparison",),
    "comparing.diffing": ("past_runs.compare.run_diff",),
    "comparing.directions": ("past_runs.compare.metric_directions",),
    "comparing.facts": ("past_runs.compare.run_facts",),
    "comparing.files": ("past_runs.compare.output_files",),
    "comparing.page": ("past_runs.compare.comparison_page",),
    "comparing.picture": ("past_runs.compare.pareto_plot",),
    "comparing.tensors": ("past_runs.compare.tensor_types",),
    "comparing.terminal": ("past_runs.compare.terminal_tables",),
    "comparing.texts": ("past_runs.compare.serialization",),
    "completion": ("cli.completion",),
    "composition": ("config.composition",),
    "composition.composing": ("config.composition.compose",),
    "composition.launching": ("config.composition.launch",),
    "composition.overrides": ("config.composition.overrides",),
    "console": ("report.console",),
    "conversion": ("conversion.conversion_settings",),
    "datasets": ("files.samples.npz",),
    "deployment": ("targets.deploy",),
    "deployment.cpp": ("targets.deploy.cpp_text",),
    "deployment.description": ("targets.deploy.file_description",),
    "deployment.label_list": ("targets.deploy.label_list",),
    "deployment.litert": ("targets.deploy.litert_package",),
    "deployment.micro": ("targets.deploy.firmware",),
    "deployment.pages": ("targets.deploy.template_text",),
    "deployment.ports": ("targets.deploy.code_ports",),
    "deployment.runtimes": ("targets.deploy.runtimes",),
    "deployment.snippets": ("targets.deploy.snippets",),
    "diagnosis": ("conversion.diagnosis",),
    "digits": ("files.samples.digits",),
    "environment": ("core.environment",),
    "errors": ("core.errors",),
    "events": ("core.events",),
    "figures": ("core.number_format",),
    "headline": ("report.key_metrics",),
    "input_example": ("files.samples.input_example",),
    "inputs": ("config.recipe_inputs",),
    "io_contract": ("files.tflite.io_contract",),
    "labels": ("conversion.quality.labels",),
    "latency_page": (
        "report.sections.latency",
        "targets.latency_result",
    ),
    "memo": ("engine.shared_results",),
    "metrics": ("conversion.quality.metrics",),
    "micro_code_sizes": ("targets.micro.code_sizes",),
    "micro_kernels": ("targets.micro.kernels",),
    "micro_page": ("report.sections.micro",),
    "model_files": ("files.models",),
    "model_files.custom_objects": ("files.models.custom_objects",),
    "model_files.digest": ("files.models.digest",),
    "model_files.graph_ops": ("files.models.graph_ops",),
    "model_files.hdf5": ("files.models.hdf5",),
    "model_files.keras_file": ("files.models.keras_file",),
    "model_files.keras_inputs": ("files.models.keras_inputs",),
    "model_files.keras_layers": ("files.models.keras_layers",),
    "model_files.protos": ("files.models.protos",),
    "model_files.refusals": ("files.models.refusals",),
    "model_files.saved_model": ("files.models.saved_model",),
    "model_files.tensor_bundle": ("files.models.tensor_bundle",),
    "model_files.tflite_model": ("files.models.tflite_model",),
    "model_files.weights": ("files.models.weights",),
    "model_files.weights_file": ("files.models.weights_file",),
    "nearest": ("conversion.estimates",),
    "op_layers": ("files.tflite.op_layers",),
    "op_support": ("targets.litert_ops",),
    "page_bars": ("report.bar_chart",),
    "page_document": ("report.html_page",),
    "pareto": ("core.pareto",),
    "parity": ("conversion.quality.parity",),
    "quantization_error": (
        "conversion.quality.tensor_errors",
        "conversion.sensitivity",
        "report.sections.tensor_error_plot",
    ),
    "quantization_rules": ("conversion.rules",),
    "ranges": ("conversion.ranges",),
    "recipe": ("config.recipe",),
    "remedies": ("conversion.remedies",),
    "report": ("report.run_page",),
    "reporting": ("report.sections",),
    "reporting.origins": ("report.sections.origins",),
    "reporting.quantized": ("report.sections.quantization",),
    "reporting.scores": ("report.sections.scores",),
    "reporting.summary": ("report.sections.summary",),
    "reporting.tables": ("report.tables",),
    "reporting.weight": ("report.sections.size",),
    "reproducing": ("past_runs.reproduce",),
    "reproducing.changes": ("past_runs.reproduce.changes",),
    "reproducing.fetching": ("past_runs.reproduce.download",),
    "reproducing.flow": ("past_runs.reproduce.rebuild",),
    "reproducing.modules": ("past_runs.reproduce.imported_modules",),
    "reproducing.own_code": ("past_runs.reproduce.kept_code",),
    "reproducing.restoring": ("past_runs.reproduce.input_files",),
    "reproducing.settings": ("past_runs.reproduce.allowed_overrides",),
    "reproducing.trust": ("past_runs.reproduce.trust",),
    "resolved": ("config.resolved_recipe",),
    "resources": ("core.resources",),
    "rule_making": ("conversion.rule_suggestions",),
    "runner": (
        "engine.runner",
        "core.result",
        "engine.spool",
    ),
    "sample_checks": ("files.samples.sample_checks",),
    "sample_sources": ("files.samples",),
    "sample_sources.arrays": ("files.samples.arrays",),
    "sample_sources.folders": ("files.samples.folders",),
    "sample_sources.generators": ("files.samples.generators",),
    "sample_sources.images": ("files.samples.images",),
    "sample_sources.records": ("files.samples.tfrecord_files",),
    "sample_sources.samples": ("files.samples.sample_source",),
    "sample_sources.scaling": ("files.samples.scaling",),
    "sample_sources.sounds": ("files.samples.wav_files",),
    "sample_sources.storing": ("files.samples.sample_writer",),
    "sample_sources.tables": ("files.samples.csv_tables",),
    "scatter": ("report.scatter_plot",),
    "schema": ("core.schema",),
    "scheme_check": ("conversion.scheme_check",),
    "schemes": ("conversion.schemes",),
    "search": (
        "engine.search",
        "core.result",
    ),
    "search.candidates": ("engine.search.candidates",),
    "search.clues": ("engine.search.hints",),
    "search.delivery": ("engine.search.delivery",),
    "search.outcome": ("engine.search.candidate_outcome",),
    "search.page": ("engine.search.search_page",),
    "search.plot": ("engine.search.search_plot",),
    "search.searching": ("engine.search.search_loop",),
    "search.strategy": ("engine.search.strategy",),
    "shapes": ("core.shapes",),
    "size_breakdown": ("files.tflite.size_breakdown",),
    "sizes": ("files.tflite.size_metrics",),
    "state": ("core.state",),
    "steps.accelerator": ("steps.accelerator_target",),
    "steps.auto": ("steps.auto_optimization",),
    "steps.finishing": ("steps.file_delivery",),
    "steps.runners": ("steps.device_settings",),
    "steps.sampling": ("steps.calibration_samples",),
    "steps.target": ("steps.litert_target",),
    "tflite_file": ("files.tflite",),
    "tflite_file.analysis": ("files.tflite.file_statistics",),
    "tflite_file.differences": ("files.tflite.differences",),
    "tflite_file.flex_options": ("files.tflite.flex_options",),
    "tflite_file.listing": ("files.tflite.listing",),
    "tflite_file.macs": ("files.tflite.macs",),
    "tflite_file.metadata": ("files.tflite.metadata",),
    "tflite_file.metadata_table": ("files.tflite.metadata_table",),
    "tflite_file.model": ("files.tflite.model",),
    "tflite_file.operators": ("files.tflite.operators",),
    "tflite_file.ordering": ("files.tflite.ordering",),
    "tflite_file.reader": ("files.tflite.reader",),
    "tracking.comparisons": ("tracking.comparison_upload",),
    "tracking.creating": ("tracking.run_creation",),
    "tracking.datasets": ("tracking.mlflow_datasets",),
    "tracking.description": ("tracking.run_description",),
    "tracking.limits": ("tracking.mlflow_limits",),
    "tracking.past_runs": ("tracking.run_reader",),
    "tracking.record": ("tracking.run_record",),
    "tracking.registry": ("tracking.model_registry",),
    "tracking.replaying": ("tracking.run_upload",),
    "tracking.spools": ("tracking.spool_reader",),
    "tracking.syncing": ("tracking.missing_runs",),
    "tracking.writer": ("tracking.run_writer",),
    "tracking_uri": ("core.tracking_uri",),
    "user_code": ("core.user_code",),
    "vela_config": ("targets.vela.config",),
    "vela_output": ("targets.vela.output",),
    "vela_page": ("report.sections.vela",),
    "worker": ("engine.worker",),
    "worker_main": ("engine.worker_main",),
}
OBJECTS: dict[str, str] = {
    "reporting.summary.VERDICT": "core.outcome.VERDICT",
    "runner.VERDICT": "core.outcome.VERDICT",
    "steps.auto.option": "engine.search.candidates.option",
    "tracking.settings.MlflowSettings": "tracking.settings.Mlflow",
}
# The modules that recipes named before there were public names, with the classes that they named there.
_CLASSES = {
    "steps.auto": ("AutoOptimization",),
    "steps.calibration": (
        *("CsvCalibration", "DigitsCalibration", "GeneratorCalibration", "ImagesCalibration", "NpyCalibration"),
        *("NpzCalibration", "RandomCalibration", "TfrecordCalibration", "WavCalibration"),
    ),
    "steps.edge_tpu_target": ("EdgeTpuTarget",),
    "steps.ethos_u_target": ("EthosUTarget",),
    "steps.evaluation": ("DigitsEvaluation", "NpzEvaluation", "ParityEvaluation"),
    "steps.freeze": ("Freeze",),
    "steps.gpu_target": ("GpuTarget",),
    "steps.micro_target": ("MicroTarget",),
    "steps.optimization": ("Optimization",),
    "steps.pruning": ("ConstantPruning", "PolynomialDecayPruning"),
    "steps.sampled_evaluation": ("CsvEvaluation", "ImagesEvaluation", "TfrecordEvaluation", "WavEvaluation"),
    "steps.source": (
        *("DigitsSource", "FactorySource", "KerasApplicationSource", "KerasSource", "SavedModelSource"),
        "TFLiteSource",
    ),
    "steps.substitution": ("Substitution",),
    "steps.target": ("CpuTarget", "GenericTarget"),
}
# By what `_target_` was in recipes of past runs: what it is now.
TARGETS: Mapping[str, str] = {
    f"{PACKAGE}.tracking.settings.MlflowSettings": f"{PACKAGE}.tracking.Mlflow",
    **{f"{PACKAGE}.{module}.{name}": f"{PACKAGE}.steps.{name}" for module, names in _CLASSES.items() for name in names},
}
_MISSING = object()


def find_spec(name: str) -> ModuleSpec | None:
    """Return the spec of a module that stands in for an old one.

    Args:
        name: full name of a module that does not exist.

    Returns:
        None if there never was such a module.
    """
    path = _path(name)
    is_package = any(other.startswith(f"{path}.") for other in MODULES)
    known = is_package or path in MODULES
    return ModuleSpec(name, _OldModule(), is_package=is_package) if known else None


class _OldModule(Loader):
    """Makes an empty module, which looks its attributes up in the successors of the old one."""

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        offer(module.__name__)


def offer(module: str) -> None:
    """Let a module also have the attributes of the old one in whose place it stands.

    A module's own attributes and submodules come first. This takes a name, where `__getattr__ = …` would hide
    misspelled imports from the type checker.

    Args:
        module: `__name__`, in the module itself.
    """
    vars(sys.modules[module])["__getattr__"] = functools.partial(_attribute, sys.modules[module])


def _attribute(module: ModuleType, name: str) -> Any:
    """Return what an old module called `name`. Raises: AttributeError."""
    if name == "__all__" and _path(module.__name__) in MODULES:
        return _names(_path(module.__name__))
    if not name.startswith("__") and not _is_file(module, name):
        path = _path(module.__name__)
        if renamed := OBJECTS.get(f"{path}.{name}"):
            place, _, new = renamed.rpartition(".")
            return getattr(importlib.import_module(f"{PACKAGE}.{place}"), new)
        for successor in MODULES.get(path, ()):
            found = getattr(importlib.import_module(f"{PACKAGE}.{successor}"), name, _MISSING)
            if found is not _MISSING:
                return found
    return submodule(module, name)


def submodule(package: ModuleType, name: str) -> ModuleType:
    """Return a module below a package, of today or an old one, as an attribute of the package.

    Code that past runs kept reads `tflite_recipes.state.State` without importing `tflite_recipes.state`: modules that
    the package imported for itself were attributes of it.

    Args:
        package: a module without an attribute of this name.
        name: what may be the name of a module in it.

    Raises:
        AttributeError: there is no such module.
    """
    full = f"{package.__name__}.{name}"
    if name.startswith("_") or "__path__" not in vars(package) or importlib.util.find_spec(full) is None:
        raise AttributeError(f"module {package.__name__!r} has no attribute {name!r}")
    return importlib.import_module(full)


def _names(path: str) -> list[str]:
    """Return the names that `from OLD import *` binds."""
    successors = [importlib.import_module(f"{PACKAGE}.{successor}") for successor in MODULES[path]]
    found = {name for module in successors for name in getattr(module, "__all__", vars(module)) if name[0] != "_"}
    renamed = {old.removeprefix(f"{path}.") for old in OBJECTS if old.rpartition(".")[0] == path}
    return sorted(found | renamed)


def _is_file(module: ModuleType, name: str) -> bool:
    """Return whether a package has a file of this name, which comes before what the old module had."""
    places = vars(module).get("__path__")
    return places is not None and PathFinder.find_spec(f"{module.__name__}.{name}", places) is not None


def _path(module: str) -> str:
    return module.removeprefix(f"{PACKAGE}.")
