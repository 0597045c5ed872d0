// A stand-in for LiteRT's C API, as far as predict.cc uses it: it keeps what it is fed in fedN.bin, and gives back what
// stands in givenN.bin. A "model" is a text file: numbers of inputs and outputs, then type and bytes of each.
#ifndef TESTS_LITERT_STUBS_C_API_H_
#define TESTS_LITERT_STUBS_C_API_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 };
enum TfLiteType {
  kTfLiteNoType = 0,
  kTfLiteFloat32 = 1,
  kTfLiteInt32 = 2,
  kTfLiteUInt8 = 3,
  kTfLiteInt64 = 4,
  kTfLiteString = 5,
  kTfLiteBool = 6,
  kTfLiteInt16 = 7,
  kTfLiteInt8 = 9,
};
struct TfLiteTensor {
  TfLiteType type;
  size_t size;
  std::string file;
};
struct TfLiteModel {
  std::vector<TfLiteTensor> inputs, outputs;
};
struct TfLiteOperator;
struct TfLiteInterpreterOptions {};
struct TfLiteInterpreter {
  TfLiteModel* model;
};

inline TfLiteModel* TfLiteModelCreateFromFile(const char* path) {
  std::ifstream file(path);
  size_t inputs = 0, outputs = 0;
  if (!(file >> inputs >> outputs)) return nullptr;
  TfLiteModel* model = new TfLiteModel;
  for (size_t i = 0; i < inputs + outputs; ++i) {
    int type = 0;
    size_t size = 0;
    file >> type >> size;
    const bool is_input = i < inputs;
    const std::string name = is_input ? "fed" + std::to_string(i) : "given" + std::to_string(i - inputs);
    (is_input ? model->inputs : model->outputs).push_back({static_cast<TfLiteType>(type), size, name + ".bin"});
  }
  return model;
}
inline void TfLiteModelDelete(TfLiteModel* model) { delete model; }
inline TfLiteInterpreterOptions* TfLiteInterpreterOptionsCreate() { return new TfLiteInterpreterOptions; }
inline void TfLiteInterpreterOptionsDelete(TfLiteInterpreterOptions* options) { delete options; }
inline void TfLiteInterpreterOptionsSetNumThreads(TfLiteInterpreterOptions*, int32_t) {}
inline void TfLiteInterpreterOptionsAddOperator(TfLiteInterpreterOptions*, TfLiteOperator*) {
  std::ofstream("operators.txt", std::ios::app) << "added\n";
}
inline TfLiteInterpreter* TfLiteInterpreterCreate(const TfLiteModel* model, const TfLiteInterpreterOptions*) {
  return new TfLiteInterpreter{const_cast<TfLiteModel*>(model)};
}
inline void TfLiteInterpreterDelete(TfLiteInterpreter* interpreter) { delete interpreter; }
inline TfLiteStatus TfLiteInterpreterResizeInputTensor(TfLiteInterpreter*, int32_t index, const int* sizes,
                                                       int32_t count) {
  std::ofstream file("resized.txt", std::ios::app);
  file << index << ": ";
  for (int32_t i = 0; i < count; ++i) file << sizes[i] << " ";
  file << "\n";
  return kTfLiteOk;
}
inline TfLiteStatus TfLiteInterpreterAllocateTensors(TfLiteInterpreter*) { return kTfLiteOk; }
inline TfLiteStatus TfLiteInterpreterInvoke(TfLiteInterpreter*) { return kTfLiteOk; }
inline TfLiteTensor* TfLiteInterpreterGetInputTensor(const TfLiteInterpreter* interpreter, int32_t index) {
  return &interpreter->model->inputs.at(index);
}
inline const TfLiteTensor* TfLiteInterpreterGetOutputTensor(const TfLiteInterpreter* interpreter, int32_t index) {
  return &interpreter->model->outputs.at(index);
}
inline TfLiteType TfLiteTensorType(const TfLiteTensor* tensor) { return tensor->type; }
inline size_t TfLiteTensorByteSize(const TfLiteTensor* tensor) { return tensor->size; }
inline TfLiteStatus TfLiteTensorCopyFromBuffer(TfLiteTensor* tensor, const void* data, size_t size) {
  if (size != tensor->size) return kTfLiteError;
  std::ofstream(tensor->file, std::ios::binary).write(static_cast<const char*>(data), size);
  return kTfLiteOk;
}
inline TfLiteStatus TfLiteTensorCopyToBuffer(const TfLiteTensor* tensor, void* data, size_t size) {
  std::ifstream file(tensor->file, std::ios::binary);
  return file.read(static_cast<char*>(data), size) ? kTfLiteOk : kTfLiteError;
}

#endif  // TESTS_LITERT_STUBS_C_API_H_
