// A stand-in for what predict.cc uses of LiteRT's experimental C API: it writes down that it was called.
#ifndef TESTS_LITERT_STUBS_C_API_EXPERIMENTAL_H_
#define TESTS_LITERT_STUBS_C_API_EXPERIMENTAL_H_

#include "tflite/c/c_api.h"

inline TfLiteStatus TfLiteInterpreterResetVariableTensors(TfLiteInterpreter*) {
  std::ofstream("resets.txt", std::ios::app) << "reset\n";
  return kTfLiteOk;
}

#endif
