"""Lists of what a model file may name without trust. `tests/support/allow_lists.py` derives and writes them."""

from __future__ import annotations

import functools
from importlib import resources


def _words(text: str) -> list[str]:
    return text.split()


# The parts of TensorFlow's RaggedTensor and SparseTensor that Keras 2 makes layers of. None has an effect.
RAGGED_METHODS = frozenset(
    _words(
        "from_value_rowids from_row_splits from_row_lengths from_row_starts from_row_limits from_uniform_row_length "
        "from_nested_value_rowids from_nested_row_splits from_nested_row_lengths from_tensor from_sparse"
    )
)
TENSOR_ATTRIBUTES = frozenset(
    _words(
        "values flat_values row_splits nested_row_splits indices dense_shape value_rowids nested_value_rowids nrows "
        "row_starts row_limits row_lengths nested_row_lengths bounding_shape with_values with_flat_values "
        "with_row_splits_dtype merge_dims to_tensor to_sparse"
    )
)
# What tf_keras builds of TensorFlow's feature columns. Some read files or hold functions, so all need trust.
FEATURE_COLUMNS = frozenset(
    _words(
        "DenseFeatures SequenceFeatures NumericColumn BucketizedColumn EmbeddingColumn SharedEmbeddingColumn "
        "HashedCategoricalColumn VocabularyFileCategoricalColumn VocabularyListCategoricalColumn "
        "IdentityCategoricalColumn WeightedCategoricalColumn CrossedColumn IndicatorColumn SequenceCategoricalColumn "
        "SequenceNumericColumn"
    )
)
TYPE_SPECS = frozenset(("TensorSpec", "RaggedTensorSpec", "SparseTensorSpec", "IndexedSlicesSpec"))


@functools.cache
def _names(file: str) -> frozenset[str]:
    folder = resources.files("tflite_recipes.files.models") / "allowed"
    return frozenset((folder / f"{file}.txt").read_text(encoding="utf-8").split())


def tensorflow_functions() -> frozenset[str]:
    """Return the names of TensorFlow's functions that only calculate, as Keras 2 writes them (`math.add`)."""
    return _names("tensorflow_functions")


def tensorflow_ops() -> frozenset[str]:
    """Return the ops of TensorFlow that only calculate, or keep state inside their graph."""
    return _names("tensorflow_ops")


def keras_classes() -> frozenset[str]:
    """Return the classes of both Kerases that neither run code of the file's nor read other files."""
    return _names("keras_classes")


def keras_functions() -> frozenset[str]:
    """Return the functions that both Kerases offer as activations, losses, metrics, initializers and ops."""
    return _names("keras_functions")


def tfmot_classes() -> frozenset[str]:
    """Return the classes by which tensorflow-model-optimization wraps layers."""
    return _names("tfmot_classes")
