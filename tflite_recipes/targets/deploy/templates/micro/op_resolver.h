// The kernels that the model needs, and no other: what is not named here is not linked.
#pragma once

#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"

namespace @NAMESPACE@ {
@OWN@
using OpResolver = tflite::MicroMutableOpResolver<@COUNT@>;

// Once, before the interpreter is made.
inline TfLiteStatus add_ops(OpResolver& resolver) {
@OPS@
  return kTfLiteOk;
}

}  // namespace @NAMESPACE@
