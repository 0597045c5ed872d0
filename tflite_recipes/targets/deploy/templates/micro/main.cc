// Runs the model once, on the sample that is built in, and prints what comes out.
// Exit status: 0 as LiteRT gave it (or there is no sample to compare with), 1 an output differs, 2 it does not run.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <type_traits>

#include "arena.h"
#include "model_data.h"
#include "op_resolver.h"
#include "sample_data.h"
#include "tensor_io.h"
@INCLUDES@
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/system_setup.h"
#include "tensorflow/lite/schema/schema_generated.h"

#ifndef ARENA_SECTION
#define ARENA_SECTION
#endif

namespace {

namespace model = @NAMESPACE@;

constexpr int kDone = 0;
constexpr int kDiffers = 1;
constexpr int kFailed = 2;

// Kernels may round otherwise than LiteRT's, by one step; in float they add up in another order.
constexpr long long kSteps = 1;
constexpr float kFloatTolerance = 1e-4f;
constexpr std::size_t kPrinted = 32;

alignas(16) ARENA_SECTION std::uint8_t arena[model::kArenaBytes];

int failed(const char* what) {
  std::printf("failed: %s\n", what);
  return kFailed;
}

// The tensor's values, or null where it is not what tensor_io.h says.
template <typename Port>
typename Port::Stored* values(TfLiteTensor* tensor) {
  using Stored = typename Port::Stored;
  bool same = tensor != nullptr && tensor->type == tflite::typeToTfLiteType<Stored>() &&
              tensor->bytes == Port::kElements * sizeof(Stored);
  if (same && Port::kScale != 0.0f) {
    same = tensor->params.scale == Port::kScale && tensor->params.zero_point == Port::kZeroPoint;
  }
  if (!same) {
    std::printf("%s is not what tensor_io.h says of it\n", Port::kName);
    return nullptr;
  }
  return tflite::GetTensorData<Stored>(tensor);
}

// Real values, or zeros where there are none, as the input stores them.
template <typename Port, typename Real>
bool fill(tflite::MicroInterpreter& interpreter, typename Port::Stored (*quantize)(Real), const Real* real) {
  typename Port::Stored* stored = values<Port>(interpreter.input(Port::kIndex));
  if (stored == nullptr) {
    return false;
  }
  for (std::size_t i = 0; i < Port::kElements; ++i) {
    stored[i] = quantize(real == nullptr ? Real() : real[i]);
  }
  return true;
}

template <typename Number>
void print(Number value) {
  if constexpr (std::is_floating_point_v<Number>) {
    std::printf(" %.6g", static_cast<double>(value));
  } else if constexpr (sizeof(Number) > 4 || std::is_same_v<Number, std::uint32_t>) {
    std::printf(" %lld", static_cast<long long>(value));
  } else {
    std::printf(" %ld", static_cast<long>(value));
  }
}

template <typename Port>
bool agrees(typename Port::Stored value, typename Port::Stored expected) {
  if constexpr (std::is_floating_point_v<typename Port::Stored>) {
    return std::fabs(value - expected) <= kFloatTolerance * std::fmax(1.0f, std::fabs(expected));
  } else {
    const long long steps = static_cast<long long>(value) - static_cast<long long>(expected);
    const long long allowed = Port::kScale != 0.0f ? kSteps : 0;
    return -allowed <= steps && steps <= allowed;
  }
}

// What an output holds, stored and real; whether it is what is expected.
template <typename Port, typename Real>
bool show(tflite::MicroInterpreter& interpreter, Real (*dequantize)(typename Port::Stored),
          const typename Port::Stored* expected) {
  const typename Port::Stored* stored = tflite::GetTensorData<typename Port::Stored>(interpreter.output(Port::kIndex));
  std::size_t different = 0;
  std::printf("%s: stored, real%s\n", Port::kName, expected == nullptr ? "" : ", stored by LiteRT");
  for (std::size_t i = 0; i < Port::kElements; ++i) {
    const bool same = expected == nullptr || agrees<Port>(stored[i], expected[i]);
    different += same ? 0 : 1;
    if (i < kPrinted) {
      std::printf("  [%u]", static_cast<unsigned>(i));
      print(stored[i]);
      print(dequantize(stored[i]));
      if (expected != nullptr) {
        print(expected[i]);
      }
      std::printf("%s\n", same ? "" : "  <- differs");
    }
  }
  if (Port::kElements > kPrinted) {
    std::printf("  ... %u in all\n", static_cast<unsigned>(Port::kElements));
  }
  if (expected != nullptr) {
    std::printf("%s: %u of %u differ too much\n", Port::kName, static_cast<unsigned>(different),
                static_cast<unsigned>(Port::kElements));
  }
  return different == 0;
}

}  // namespace

int main() {
  tflite::InitializeTarget();
  const tflite::Model* flatbuffer = tflite::GetModel(model::model_data);
  if (flatbuffer->version() != TFLITE_SCHEMA_VERSION) {
    return failed("the model is of another version of the file format");
  }
  static model::OpResolver resolver;
  if (model::add_ops(resolver) != kTfLiteOk) {
    return failed("the kernels cannot be registered");
  }
@INTERPRETER@
  if (interpreter.AllocateTensors() != kTfLiteOk) {
    return failed("the tensors cannot be allocated: a kernel is missing, or the arena is too small");
  }
  std::printf("arena: %u of %u bytes used\n", static_cast<unsigned>(interpreter.arena_used_bytes()),
              static_cast<unsigned>(model::kArenaBytes));
@RESET@  bool ready = true;
@FILL@
  if (!ready) {
    return failed("an input or output is another than expected");
  }
  if (interpreter.Invoke() != kTfLiteOk) {
    return failed("the model cannot be invoked");
  }
  bool same = true;
@SHOW@
  return same ? kDone : kDiffers;
}
