// Inputs and outputs of the model @NAME@, as its contract (io_contract.json) has them.
// Each is one type that states the facts; quantize_* makes what an input stores of a real value, dequantize_* a real
// value of what an output stores. Values that are not quantized pass as they are.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "quantization.h"

namespace @NAMESPACE@ {

@PORTS@

}  // namespace @NAMESPACE@
