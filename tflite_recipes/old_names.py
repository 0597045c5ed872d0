"""Old names: what modules, classes and targets of earlier versions are called now.

Recipes of past runs name classes by the files that held them, and the code that these runs kept imports modules that
have moved since. Both are looked up here.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Mapping
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

PACKAGE = "tflite_recipes"
# All paths are those below the package. A module that was split has several successors.
MODULES: dict[str, tuple[str, ...]] = {}
OBJECTS: dict[str, str] = {"tracking.settings.MlflowSettings": "tracking.settings.Mlflow"}
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
    if not name.startswith("__") and not _is_submodule(module, name):
        path = _path(module.__name__)
        if renamed := OBJECTS.get(f"{path}.{name}"):
            place, _, new = renamed.rpartition(".")
            return getattr(importlib.import_module(f"{PACKAGE}.{place}"), new)
        for successor in MODULES.get(path, ()):
            found = getattr(importlib.import_module(f"{PACKAGE}.{successor}"), name, _MISSING)
            if found is not _MISSING:
                return found
    raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")


def _is_submodule(module: ModuleType, name: str) -> bool:
    """Return whether a package has a file of this name, which the import system is about to load."""
    places = vars(module).get("__path__")
    return places is not None and PathFinder.find_spec(f"{module.__name__}.{name}", places) is not None


def _path(module: str) -> str:
    return module.removeprefix(f"{PACKAGE}.")
