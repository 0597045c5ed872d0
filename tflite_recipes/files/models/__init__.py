"""What a model file says about itself, read without TensorFlow or Keras, so that a wrong request is refused at once."""

from tflite_recipes.files.models.custom_objects import NAMELESS, bare, missing_in, missing_objects, not_given
from tflite_recipes.files.models.digest import files_in, saved_model_bytes, sha256_of
from tflite_recipes.files.models.foreign_data import foreign_data
from tflite_recipes.files.models.graph_ops import reaching_ops, trust_problem
from tflite_recipes.files.models.keras_file import KerasFile, config_of, read_keras_file
from tflite_recipes.files.models.refusals import GRAPH_FILE
from tflite_recipes.files.models.saved_model import SignatureInfo, read_saved_model
from tflite_recipes.files.models.tflite_model import FloatTFLite, read_float_tflite
from tflite_recipes.files.models.weights import check_promises, keras_weight_bytes, saved_model_weight_bytes, too_large
from tflite_recipes.files.models.weights_file import (
    WeightsKind,
    checkpoint_prefix,
    weights_kind,
    weights_problems,
    weights_sha256,
)

__all__ = [
    "GRAPH_FILE",
    "NAMELESS",
    "FloatTFLite",
    "KerasFile",
    "SignatureInfo",
    "WeightsKind",
    "bare",
    "check_promises",
    "checkpoint_prefix",
    "config_of",
    "files_in",
    "foreign_data",
    "keras_weight_bytes",
    "missing_in",
    "missing_objects",
    "not_given",
    "reaching_ops",
    "read_float_tflite",
    "read_keras_file",
    "read_saved_model",
    "saved_model_bytes",
    "saved_model_weight_bytes",
    "sha256_of",
    "too_large",
    "trust_problem",
    "weights_kind",
    "weights_problems",
    "weights_sha256",
]
