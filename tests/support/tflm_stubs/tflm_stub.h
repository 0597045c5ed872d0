// Stands in for TensorFlow Lite Micro where its sources are not at hand: the few declarations that firmware uses, with
// an interpreter for "models" of its own, which hands each input on to the output of the same number.
//
// Such a model is a row of 32-bit words: version, number of ops, inputs, outputs, then of each tensor type, bytes, scale
// (a float), zero point. Tensors lie in the arena one behind the other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>

#define TFLITE_SCHEMA_VERSION (3)

enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 };
enum TfLiteType {
  kTfLiteFloat32 = 1,
  kTfLiteInt32 = 2,
  kTfLiteUInt8 = 3,
  kTfLiteInt64 = 4,
  kTfLiteBool = 6,
  kTfLiteInt16 = 7,
  kTfLiteInt8 = 9,
  kTfLiteUInt32 = 16,
  kTfLiteUInt16 = 17,
};
struct TfLiteQuantizationParams {
  float scale;
  std::int32_t zero_point;
};
struct TFLMRegistration {
  void* init;
};
struct TfLiteTensor {
  TfLiteType type;
  void* data;
  TfLiteQuantizationParams params;
  std::size_t bytes;
};

namespace tflite {

template <typename T>
constexpr TfLiteType typeToTfLiteType();
template <>
constexpr TfLiteType typeToTfLiteType<float>() { return kTfLiteFloat32; }
template <>
constexpr TfLiteType typeToTfLiteType<std::int32_t>() { return kTfLiteInt32; }
template <>
constexpr TfLiteType typeToTfLiteType<std::uint8_t>() { return kTfLiteUInt8; }
template <>
constexpr TfLiteType typeToTfLiteType<std::int64_t>() { return kTfLiteInt64; }
template <>
constexpr TfLiteType typeToTfLiteType<bool>() { return kTfLiteBool; }
template <>
constexpr TfLiteType typeToTfLiteType<std::int16_t>() { return kTfLiteInt16; }
template <>
constexpr TfLiteType typeToTfLiteType<std::int8_t>() { return kTfLiteInt8; }
template <>
constexpr TfLiteType typeToTfLiteType<std::uint32_t>() { return kTfLiteUInt32; }
template <>
constexpr TfLiteType typeToTfLiteType<std::uint16_t>() { return kTfLiteUInt16; }

template <typename T>
T* GetTensorData(TfLiteTensor* tensor) {
  return static_cast<T*>(tensor->data);
}

struct Model {
  std::int32_t words[4];
  std::uint32_t version() const { return static_cast<std::uint32_t>(words[0]); }
};
inline const Model* GetModel(const void* data) { return static_cast<const Model*>(data); }
inline void InitializeTarget() {}

class MicroOpResolver {
 public:
  int count = 0;
};

class MicroAllocator {
 public:
  static MicroAllocator* Create(std::uint8_t* arena, std::size_t size) {
    static MicroAllocator one;
    one.arena = arena;
    one.size = size;
    return &one;
  }
  std::uint8_t* arena;
  std::size_t size;
};

class MicroResourceVariables {
 public:
  static MicroResourceVariables* Create(MicroAllocator*, int) {
    static MicroResourceVariables one;
    return &one;
  }
};

class MicroInterpreter {
 public:
  MicroInterpreter(const Model* model, const MicroOpResolver& resolver, std::uint8_t* arena, std::size_t size)
      : words_(model->words), resolver_(resolver), arena_(arena), size_(size) {}
  MicroInterpreter(const Model* model, const MicroOpResolver& resolver, MicroAllocator* allocator,
                   MicroResourceVariables*)
      : MicroInterpreter(model, resolver, allocator->arena, allocator->size) {}

  TfLiteStatus AllocateTensors() {
    const std::int32_t tensors = words_[2] + words_[3];
    if (resolver_.count != words_[1] || tensors > kMost) {
      return kTfLiteError;
    }
    for (std::int32_t i = 0; i < tensors; ++i) {
      const std::int32_t* told = words_ + 4 + 4 * i;
      TfLiteTensor& made = tensors_[i];
      made.type = static_cast<TfLiteType>(told[0]);
      made.bytes = static_cast<std::size_t>(told[1]);
      std::memcpy(&made.params.scale, told + 2, sizeof(float));
      made.params.zero_point = told[3];
      made.data = arena_ + used_;
      used_ += (made.bytes + 15) / 16 * 16;
    }
    return used_ <= size_ ? kTfLiteOk : kTfLiteError;
  }
  TfLiteStatus Reset() {
    std::printf("reset\n");
    return kTfLiteOk;
  }
  TfLiteStatus Invoke() {
    for (std::int32_t i = 0; i < words_[2] && i < words_[3]; ++i) {
      std::memcpy(output(i)->data, input(i)->data, input(i)->bytes);
    }
    return kTfLiteOk;
  }
  TfLiteTensor* input(std::size_t index) { return &tensors_[index]; }
  TfLiteTensor* output(std::size_t index) { return &tensors_[static_cast<std::size_t>(words_[2]) + index]; }
  std::size_t arena_used_bytes() const { return used_; }

 private:
  static constexpr std::int32_t kMost = 64;
  const std::int32_t* words_;
  const MicroOpResolver& resolver_;
  std::uint8_t* arena_;
  std::size_t size_;
  std::size_t used_ = 0;
  TfLiteTensor tensors_[kMost] = {};
};

}  // namespace tflite
