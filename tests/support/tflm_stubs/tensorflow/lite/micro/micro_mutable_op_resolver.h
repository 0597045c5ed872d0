// The methods are those of TensorFlow Lite Micro's header at commit 90b983c2b3f1480642e040bbd2ddb37b998f3424.
#pragma once

#include "tflm_stub.h"

namespace tflite {

template <unsigned int Most>
class MicroMutableOpResolver : public MicroOpResolver {
 public:
#define OP(name) \
  TfLiteStatus Add##name() { return ++count > static_cast<int>(Most) ? kTfLiteError : kTfLiteOk; }
  OP(Abs) OP(Add) OP(AddN) OP(ArgMax) OP(ArgMin) OP(AssignVariable) OP(AveragePool2D) OP(BatchMatMul)
  OP(BatchToSpaceNd) OP(BroadcastArgs) OP(BroadcastTo) OP(CallOnce) OP(Cast) OP(Ceil) OP(CircularBuffer)
  OP(Concatenation) OP(Conv2D) OP(Cos) OP(CumSum) OP(Decode) OP(Delay) OP(DepthToSpace) OP(DepthwiseConv2D)
  OP(Dequantize) OP(DetectionPostprocess) OP(Div) OP(DynamicUpdateSlice) OP(Elu) OP(EmbeddingLookup) OP(Energy)
  OP(Equal) OP(EthosU) OP(Exp) OP(ExpandDims) OP(FftAutoScale) OP(Fill) OP(FilterBank) OP(FilterBankLog)
  OP(FilterBankSpectralSubtraction) OP(FilterBankSquareRoot) OP(Floor) OP(FloorDiv) OP(FloorMod) OP(Framer)
  OP(FullyConnected) OP(Gather) OP(GatherNd) OP(Greater) OP(GreaterEqual) OP(HardSwish) OP(If) OP(Irfft)
  OP(L2Normalization) OP(L2Pool2D) OP(LeakyRelu) OP(Less) OP(LessEqual) OP(Log) OP(LogSoftmax) OP(LogicalAnd)
  OP(LogicalNot) OP(LogicalOr) OP(Logistic) OP(MaxPool2D) OP(Maximum) OP(Mean) OP(Minimum) OP(MirrorPad) OP(Mul)
  OP(Neg) OP(NotEqual) OP(OverlapAdd) OP(PCAN) OP(Pack) OP(Pad) OP(PadV2) OP(Prelu) OP(Quantize) OP(ReadVariable)
  OP(ReduceAll) OP(ReduceMax) OP(ReduceMin) OP(Relu) OP(Relu6) OP(Reshape) OP(ResizeBilinear)
  OP(ResizeNearestNeighbor) OP(ReverseV2) OP(Rfft) OP(Round) OP(Rsqrt) OP(SelectV2) OP(Shape) OP(Sin) OP(Slice)
  OP(Softmax) OP(SpaceToBatchNd) OP(SpaceToDepth) OP(Split) OP(SplitV) OP(Sqrt) OP(Square) OP(SquaredDifference)
  OP(Squeeze) OP(Stacker) OP(StridedSlice) OP(Sub) OP(Sum) OP(Svdf) OP(Tanh) OP(Transpose) OP(TransposeConv)
  OP(UnidirectionalSequenceLSTM) OP(Unpack) OP(VarHandle) OP(While) OP(Window) OP(ZerosLike)
#undef OP
  TfLiteStatus AddCustom(const char*, const TFLMRegistration* registration) {
    return registration == nullptr || ++count > static_cast<int>(Most) ? kTfLiteError : kTfLiteOk;
  }
};

}  // namespace tflite
