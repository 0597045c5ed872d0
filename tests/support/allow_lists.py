"""Derive what a model file may name without trust from the installed TensorFlow, Keras and tf_keras.

Run as a script, it writes the lists of `tflite_recipes/files/models/allowed/`. Tests compare the lists with it.
"""

from __future__ import annotations

import builtins
import dis
import inspect
import re
import sys
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path


def _words(text: str) -> list[str]:
    return text.split()


FOLDER = Path(__file__).parents[2] / "tflite_recipes" / "files" / "models" / "allowed"

# Modules of TensorFlow that only calculate: what their functions reach is checked below.
_PURE_MODULES = re.compile(
    r"tensorflow\.python\.ops\.("
    r"gen_(math|array|nn|image|linalg|string|spectral|sparse|parsing|bitwise|special_math|random|stateless_random|"
    r"stateless_random_ops_v2|uniform_quant|audio|ctc|set|manip|count|ragged_array|ragged_math|ragged_conversion|"
    r"candidate_sampling)(_ops)?|"
    r"(math|array|nn|sparse|check|string|linalg|random|stateless_random|special_math|parsing|candidate_sampling|ctc|"
    r"clip|embedding|sort|manip|bincount|histogram|random_crop)_ops|numerics|confusion_matrix|array_ops_stack|nn_impl|"
    r"nn_impl_distribute|image_ops_impl|sets_impl|linalg\.linalg_impl|signal\.\w+|ragged\.\w+|tensor_getitem_override|"
    r"numpy_ops\.np_(math|array)_ops|control_flow_assert)|"
    r"tensorflow\.python\.framework\.(constant_op|tensor_conversion)|tf_keras\.src\.(activations|losses|metrics.*)"
)
_PREFIXES = _words(
    "math math.special nn nn.experimental image strings linalg linalg.experimental signal bitwise ragged sparse sets "
    "dtypes __operators__ random quantization audio io debugging experimental.numpy spectral manip raw_ops"
)
_FROM_KERAS = ("keras.backend", "keras.activations", "keras.losses", "keras.metrics")
# Pure functions of modules that hold others too.
_SINGLE = set(
    _words("dynamic_stitch dynamic_partition DynamicStitch DynamicPartition ParallelDynamicStitch ctc_loss ctc_loss_v2")
)
# Global switches, and ops that stop the process or read a file that an attribute names.
_NOT = re.compile(
    r".*(fixed_unigram|learned_unigram|FixedUnigram|LearnedUnigram|all_candidate|AllCandidate|immutable_const|"
    r"ImmutableConst|set_random_seed|enable_numpy|placeholder|Placeholder|DebugGradient|debug_gradient).*|"
    r"keras\.\w+\.(get|serialize|deserialize)|.*\.(Print|print)\w*"
)
_BACKEND = _words(
    "abs all any arange argmax argmin batch_dot batch_flatten batch_normalization bias_add binary_crossentropy cast "
    "categorical_crossentropy clip concatenate constant conv1d conv2d conv2d_transpose conv3d cos ctc_batch_cost "
    "ctc_decode ctc_label_dense_to_sparse cumprod cumsum depthwise_conv2d dot dropout elu equal exp expand_dims eye "
    "flatten gather greater greater_equal hard_sigmoid in_train_phase in_test_phase int_shape is_sparse l2_normalize "
    "less less_equal local_conv1d local_conv2d log logsumexp max maximum mean min minimum ndim not_equal one_hot ones "
    "ones_like permute_dimensions pool2d pool3d pow prod random_bernoulli random_binomial random_normal random_uniform "
    "relu repeat repeat_elements reshape resize_images resize_volumes reverse round separable_conv2d shape sigmoid "
    "sign sin softmax softplus softsign sparse_categorical_crossentropy spatial_2d_padding spatial_3d_padding sqrt "
    "square squeeze stack std stop_gradient sum switch tanh temporal_padding tile to_dense transpose "
    "truncated_normal var zeros zeros_like"
)

# Ops that reach files, devices, other processes or Python, that end the process, or that only a server needs.
REACHING_OPS = re.compile(
    r".*(File|PyFunc|Reader|Dataset|Iterator|Rpc|Summary|Summaries|TPU|Tpu|Collective|Nccl|Xla|Dump|DTensor|Mlir|"
    r"Proto|Csr|SparseCore|Dedup|Embedding[A-Z]|BoostedTrees|SharedMemory|MemoryCache|SeedGenerator|Statistics|"
    r"Profile|Session|Minibatch|Mesh|Relayout|Infeed|Outfeed|Heartbeat|HostCast|StatsAggregator|ThreadPool).*|"
    r"_?(Host)?(Send|Recv)|_.*|Debug.*|Abort|ImportEvent|ImmutableConst|FixedUnigram.*|LoadAndRemapMatrix|RecordInput|"
    r"GenerateVocabRemapping|FakeQueue|RemoteCall|Sleep.*|Timestamp|Skipgram|NegTrain|Sdca.*|Attr.*|Test.*|"
    r"Snapshot.*|Old|None|A|B|Simple|Polymorphic.*|TypeList.*|N[A-Z]?(In|Out|Ints|Poly).*|\w*Restrict|"
    r"(Two|Ref|Op|Int|Float|Foo|Func|Out|In|List|Mixed|Reserved|Resource(Create|Initialized|Using)|Copy|Stub)"
    r"(With|Float|Int|Refs|Attr|In|Out|Type|Op|Input|Output|ToMesh|Resource|T|List|Struct|Default|Args|Host).*|"
    r".*>.*|ConstructionFails|GraphDefVersion|Requires.*|KernelLabel.*|Binary|Unary|SyncDevice|"
    r"(Restore|Save)(Slice|Slices|V2)?|MergeV2Checkpoints|DistributedSave|WindowOp|DevicePlacementOp|"
    r"StoreMinibatch.*|GlobalIterId|UpdateTaskId.*|Send|Recv|MakeWeakResourceHandle|CheckPinned|CalibrationStat.*"
)


def functions() -> Iterator[str]:
    """Yield the names under which TensorFlow offers its pure functions, as Keras 2 writes them into files."""
    import tensorflow as tf  # noqa: F401
    import tf_keras  # noqa: F401
    from tensorflow.python.util import tf_export

    prefixes = {"", "compat.v1", *_PREFIXES, *(f"compat.v1.{name}" for name in _PREFIXES), *_FROM_KERAS}
    for name, symbol in tf_export._NAME_TO_SYMBOL_MAPPING.items():
        prefix, _, last = name.rpartition(".")
        if prefix not in prefixes or isinstance(symbol, type) or not callable(symbol) or _NOT.fullmatch(name):
            continue
        module = getattr(_unwrapped(symbol), "__module__", "") or ""
        if prefix == "keras.backend":
            if last in _BACKEND:
                yield name
        elif last in _SINGLE or (_PURE_MODULES.fullmatch(module) and not effects(symbol)):
            yield name


_PARAMETERS = {"fn", "func", "function", "body", "true_fn", "false_fn", "f", "op", "cond", "vocab_file", "filename"}
_EFFECTS = re.compile(
    r"(os|posix|io|shutil|subprocess|importlib|pickle|marshal|ctypes|socket|tempfile|urllib|"
    r".*\.(file_io|gfile|gen_io_ops|script_ops|gen_script_ops|summary_ops_v2|gen_summary_ops|load_library|"
    r"gen_dataset_ops|gen_experimental_dataset_ops|gen_debug_ops|gen_decode_proto_ops|gen_encode_proto_ops))(\..*)?"
)
# What every function of TensorFlow goes through: dispatch, contexts, conversion of arguments.
_FRAMEWORK = re.compile(
    r"tensorflow\.python\.(framework|eager|util|platform|autograph|distribute|client|training|trackable)\b.*|"
    r"tensorflow\.python\.ops\.(control_flow\w*|cond\w*|while\w*|variable\w*|resource_variable_ops|handle_data_util|"
    r"custom_gradient|init_ops\w*|logging_ops)|(?!tensorflow|tf_keras).*"
)


# Functions that are known to call nothing but calculations, at any depth.
_PURE: set[object] = set()


def effects(function: object) -> str:
    """Return what a function takes or calls, at any depth, that is more than a calculation; "" for a pure one."""
    seen: set[object] = set()
    reached = _effects(function, seen)
    if not reached:
        _PURE.update(seen)
    return reached


def _effects(function: object, seen: set[object]) -> str:
    plain = _unwrapped(function)
    if not isinstance(plain, types.FunctionType) or plain in seen or (seen and plain in _PURE):
        return ""
    if not seen and (risky := _PARAMETERS & set(inspect.signature(plain).parameters)):
        return f"takes {sorted(risky)}"
    if seen and _FRAMEWORK.fullmatch(plain.__module__ or ""):
        return ""
    seen.add(plain)
    for name, *attributes in _globals_used(plain.__code__):
        value = plain.__globals__.get(name, getattr(builtins, name, None))
        if name in ("open", "exec", "eval", "__import__") and name not in plain.__globals__:
            return name
        for attribute in attributes:
            if isinstance(value, types.ModuleType) and _EFFECTS.fullmatch(value.__name__):
                return f"{value.__name__}.{attribute}"
            value = getattr(value, attribute, None) if isinstance(value, types.ModuleType) else None
        if isinstance(value, types.FunctionType):
            if _EFFECTS.fullmatch(value.__module__ or ""):
                return f"{value.__module__}.{value.__name__}"
            if reached := _effects(value, seen):
                return reached
    return ""


def _unwrapped(function: object) -> object:
    from tensorflow.python.util import tf_decorator

    plain = tf_decorator.unwrap(function)[1]
    while hasattr(plain, "__wrapped__"):
        plain = plain.__wrapped__
    return plain


def _globals_used(code: types.CodeType) -> Iterator[list[str]]:
    """Yield each global that code loads, with the attributes that it takes from it."""
    chain: list[str] = []
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_ATTR", "LOAD_METHOD") and chain:
            chain.append(instruction.argval)
            continue
        if chain:
            yield chain
        chain = [instruction.argval] if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME") else []
    if chain:
        yield chain
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _globals_used(constant)


def ops() -> Iterator[str]:
    """Yield the ops of the installed TensorFlow that only calculate, or keep state inside the graph."""
    from tensorflow.core.framework import op_def_pb2
    from tensorflow.python.client import pywrap_tf_session

    listed = op_def_pb2.OpList()
    listed.ParseFromString(pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList()))
    kept = (
        "_Arg",
        "_Retval",
        "_SwitchN",
        "ShardedFilename",
        "ShardedFilespec",
        "InitializeTableFromTextFile",
        "InitializeTableFromTextFileV2",
    )
    yield from (op.name for op in listed.op if op.name in kept or not REACHING_OPS.fullmatch(op.name))


_PACKAGES = _words("layers models ops optimizers losses metrics initializers regularizers constraints activations")
# They run code of the file's, load other models, read files, or call any function.
_UNSAFE = set(
    _words(
        "Lambda TFSMLayer TorchModuleWrapper JaxLayer FlaxLayer TFOpLambda SlicingOpLambda ClassMethod InstanceMethod "
        "InstanceProperty TensorFlowOpLayer DenseFeatures SequenceFeatures DynamicLookup DynamicEmbedding "
        "Function Operation DataLayer DeviceWrapper TFDConcat TFDIdentity FeatureSpace Feature"
    )
)


def keras_classes() -> Iterator[str]:
    """Yield the classes of layers, losses, metrics, optimizers and the like in both versions of Keras."""
    import keras
    import tf_keras
    from tf_keras.src.layers import serialization

    serialization.populate_deserializable_objects()
    objects = [*serialization.LOCAL.ALL_OBJECTS.items()]
    for root, packages in ((keras, (*_PACKAGES, "dtype_policies", "quantizers", "random")), (tf_keras, _PACKAGES)):
        wanted = tuple(f"{root.__name__}.src.{package}" for package in packages)
        for name, module in list(sys.modules.items()):
            if name.startswith(wanted):
                objects += [(key, value) for key, value in vars(module).items()]
    modules = ("keras.src.", "tf_keras.src.")
    for name, value in objects:
        if isinstance(value, type) and value.__module__.startswith(modules) and hasattr(value, "from_config"):
            yield from {name, value.__name__} - _UNSAFE if value.__name__ not in _UNSAFE else ()
    policies = ("Policy", "PolicyV1", "LossScaleOptimizer", "LossScaleOptimizerV3", "InputSpec", "Functional")
    yield from (*policies, "DTypePolicyMap", "FloatDTypePolicy", "CuDNNLSTM", "CuDNNGRU", "add", "subtract")
    yield from ("multiply", "average", "maximum", "minimum", "concatenate", "dot", "Input")


_NOT_OF_KERAS = ("get", "serialize", "deserialize", "custom_gradient")


def keras_functions() -> Iterator[str]:
    """Yield the functions that both Kerases offer as activations, losses, metrics, initializers and ops."""
    import keras
    import tf_keras

    for library in (keras, tf_keras):
        for package in ("activations", "losses", "metrics", "initializers", "regularizers", "constraints", "ops"):
            module = getattr(library, package, None)
            for name, value in vars(module).items() if module else ():
                if not isinstance(value, types.FunctionType) or name in _NOT_OF_KERAS:
                    continue
                if not _PARAMETERS & set(inspect.signature(value).parameters):
                    yield name


def tfmot_classes() -> Iterator[str]:
    """Yield the classes by which tensorflow-model-optimization wraps layers; none where it is not installed."""
    try:
        import tensorflow_model_optimization as tfmot
    except ImportError:
        return
    import tf_keras

    keras = tfmot.quantization.keras, tfmot.sparsity.keras, tfmot.clustering.keras
    for scope in (keras[0].quantize_scope, keras[1].prune_scope, keras[2].cluster_scope):
        with scope():
            from tf_keras.src.saving import object_registration

            yield from object_registration._THREAD_LOCAL_CUSTOM_OBJECTS.__dict__
    for name, module in list(sys.modules.items()):
        if name.startswith("tensorflow_model_optimization.python.core.") and not name.endswith("_test"):
            for key, value in vars(module).items():
                if not isinstance(value, type) or not value.__module__.startswith("tensorflow_model_opt"):
                    continue
                if hasattr(value, "from_config") and not issubclass(value, tf_keras.callbacks.Callback):
                    yield key


def lists() -> dict[str, set[str]]:
    """Return the names of each list by its file."""
    return {
        "tensorflow_functions": set(functions()),
        "tensorflow_ops": set(ops()),
        "keras_classes": set(keras_classes()),
        "keras_functions": set(keras_functions()),
        "tfmot_classes": set(tfmot_classes()),
    }


if __name__ == "__main__":
    for name, names in lists().items():
        text = textwrap.fill(" ".join(sorted(names)), 118, break_long_words=False, break_on_hyphens=False)
        (FOLDER / f"{name}.txt").write_text(f"{text}\n")
        print(name, len(names))
