"""One file a group; each step a frozen dataclass that is its own schema. No TensorFlow at module top.

The package offers the classes that recipes name, and imports each when it is asked for.
"""

from typing import TYPE_CHECKING

from tflite_recipes.core import public_names

if TYPE_CHECKING:
    from tflite_recipes.steps.auto_optimization import AutoOptimization as AutoOptimization
    from tflite_recipes.steps.calibration import CsvCalibration as CsvCalibration
    from tflite_recipes.steps.calibration import DigitsCalibration as DigitsCalibration
    from tflite_recipes.steps.calibration import GeneratorCalibration as GeneratorCalibration
    from tflite_recipes.steps.calibration import ImagesCalibration as ImagesCalibration
    from tflite_recipes.steps.calibration import NpyCalibration as NpyCalibration
    from tflite_recipes.steps.calibration import NpzCalibration as NpzCalibration
    from tflite_recipes.steps.calibration import RandomCalibration as RandomCalibration
    from tflite_recipes.steps.calibration import TfrecordCalibration as TfrecordCalibration
    from tflite_recipes.steps.calibration import WavCalibration as WavCalibration
    from tflite_recipes.steps.edge_tpu_target import EdgeTpuTarget as EdgeTpuTarget
    from tflite_recipes.steps.ethos_u_target import EthosUTarget as EthosUTarget
    from tflite_recipes.steps.evaluation import DigitsEvaluation as DigitsEvaluation
    from tflite_recipes.steps.evaluation import NpzEvaluation as NpzEvaluation
    from tflite_recipes.steps.evaluation import ParityEvaluation as ParityEvaluation
    from tflite_recipes.steps.freeze import Freeze as Freeze
    from tflite_recipes.steps.gpu_target import GpuTarget as GpuTarget
    from tflite_recipes.steps.litert_target import CpuTarget as CpuTarget
    from tflite_recipes.steps.litert_target import GenericTarget as GenericTarget
    from tflite_recipes.steps.micro_target import MicroTarget as MicroTarget
    from tflite_recipes.steps.optimization import Optimization as Optimization
    from tflite_recipes.steps.pruning import ConstantPruning as ConstantPruning
    from tflite_recipes.steps.pruning import PolynomialDecayPruning as PolynomialDecayPruning
    from tflite_recipes.steps.reproduction import AgainstOriginal as AgainstOriginal
    from tflite_recipes.steps.sampled_evaluation import CsvEvaluation as CsvEvaluation
    from tflite_recipes.steps.sampled_evaluation import ImagesEvaluation as ImagesEvaluation
    from tflite_recipes.steps.sampled_evaluation import TfrecordEvaluation as TfrecordEvaluation
    from tflite_recipes.steps.sampled_evaluation import WavEvaluation as WavEvaluation
    from tflite_recipes.steps.source import DigitsSource as DigitsSource
    from tflite_recipes.steps.source import FactorySource as FactorySource
    from tflite_recipes.steps.source import KerasApplicationSource as KerasApplicationSource
    from tflite_recipes.steps.source import KerasSource as KerasSource
    from tflite_recipes.steps.source import SavedModelSource as SavedModelSource
    from tflite_recipes.steps.source import TFLiteSource as TFLiteSource
    from tflite_recipes.steps.substitution import Substitution as Substitution

_HOMES = {
    "AgainstOriginal": "reproduction",
    "AutoOptimization": "auto_optimization",
    "ConstantPruning": "pruning",
    "CpuTarget": "litert_target",
    "CsvCalibration": "calibration",
    "CsvEvaluation": "sampled_evaluation",
    "DigitsCalibration": "calibration",
    "DigitsEvaluation": "evaluation",
    "DigitsSource": "source",
    "EdgeTpuTarget": "edge_tpu_target",
    "EthosUTarget": "ethos_u_target",
    "FactorySource": "source",
    "Freeze": "freeze",
    "GeneratorCalibration": "calibration",
    "GenericTarget": "litert_target",
    "GpuTarget": "gpu_target",
    "ImagesCalibration": "calibration",
    "ImagesEvaluation": "sampled_evaluation",
    "KerasApplicationSource": "source",
    "KerasSource": "source",
    "MicroTarget": "micro_target",
    "NpyCalibration": "calibration",
    "NpzCalibration": "calibration",
    "NpzEvaluation": "evaluation",
    "Optimization": "optimization",
    "ParityEvaluation": "evaluation",
    "PolynomialDecayPruning": "pruning",
    "RandomCalibration": "calibration",
    "SavedModelSource": "source",
    "Substitution": "substitution",
    "TFLiteSource": "source",
    "TfrecordCalibration": "calibration",
    "TfrecordEvaluation": "sampled_evaluation",
    "WavCalibration": "calibration",
    "WavEvaluation": "sampled_evaluation",
}
__all__ = [*_HOMES]


def __dir__() -> list[str]:
    return sorted(__all__)


if not TYPE_CHECKING:  # which would take any name for one that is here
    __getattr__ = public_names.lazy(__name__, _HOMES)
