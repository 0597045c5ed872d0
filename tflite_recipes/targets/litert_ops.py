"""TensorFlow ops that the converter has no LiteRT kernel for, and what helps.

Measured op by op with TensorFlow 2.21 by `python benchmarks/probe_ops.py`, which a test asks again. An op that is not
listed here may lack a kernel too: the converter has the last word, and what is listed is only said before it is tried.
"""

from __future__ import annotations

# Run by TensorFlow's own kernels where the Flex delegate is linked (`conversion.select_tf_ops`).
ONLY_FLEX = frozenset(
    """
    AdjustContrastv2 AdjustHue AdjustSaturation Angle ApproximateEqual AsString Atan AvgPool3D Bincount BitwiseAnd
    BitwiseOr Cholesky Complex Conj ConjugateTranspose Cosh CropAndResize DecodeBase64 DenseBincount Diag
    EncodeBase64 Erf FFT FFT2D FakeQuantWithMinMaxVarsPerChannel HSVToRGB IFFT IFFT2D IRFFT IRFFT2D InTopKV2 Invert
    LeftShift ListDiff LogMatrixDeterminant MatrixDeterminant MatrixDiagPart MatrixDiagPartV2 MatrixDiagPartV3
    MatrixInverse MatrixSetDiagV3 MatrixTriangularSolve MaxPool3D MaxPoolWithArgmax Mfcc PopulationCount Qr RGBToHSV
    RaggedRange RaggedTensorToTensor RandomShuffle RegexReplace ResizeBicubic SegmentMax SegmentMean SegmentMin
    SegmentProd SerializeTensor Sinh SparseSegmentMean SparseSegmentSqrtN SparseSegmentSum StaticRegexReplace
    StringLength StringLower StringSplitV2 StringStrip StringToHashBucketFast StringToNumber Substr Tan
    UnsortedSegmentJoin UpperBound
    """.split()  # noqa: SIM905
)
# Nobody has a kernel: the application registers one (`conversion.allow_custom_ops`).
ONLY_CUSTOM = frozenset(
    """
    Acos Acosh Asin Asinh Atanh BandedTriangularSolve BesselI0 BesselI0e BesselI1 BesselI1e BesselJ0 BesselJ1
    BesselK0 BesselK0e BesselK1 BesselK1e BesselY0 BesselY1 Betainc Cross Dawsn Digamma Erfc Erfinv Expint FFTND
    FresnelCos FresnelSin IFFTND IRFFTND Igamma Igammac IsotonicRegression LowerBound Lu MatrixSolve
    MatrixSquareRoot Mod Ndtri NextAfter NonDeterministicInts NthElement Polygamma RFFTND ResizeArea
    ScaleAndTranslate SegmentMaxV2 SegmentMinV2 SegmentProdV2 SegmentSumV2 SelfAdjointEigV2 SparseTensorDenseAdd
    Spence StringUpper Svd TridiagonalSolve TruncateMod UnravelIndex Zeta
    """.split()  # noqa: SIM905
)
# Substitutions that compute the same.
REMEDIES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("ResizeBicubic", "ResizeArea", "ScaleAndTranslate"), ("resize",)),
    **dict.fromkeys(("MaxPool3D", "AvgPool3D"), ("pooling_3d",)),
    **dict.fromkeys(("Erf", "Erfc"), ("erf",)),
    **dict.fromkeys(("FFT", "FFT2D", "IFFT", "IFFT2D", "IRFFT", "IRFFT2D", "RFFT", "RFFT2D"), ("fourier",)),
    **dict.fromkeys(("Angle", "Conj", "Complex"), ("fourier",)),
}
# Ops that work on text: a model that starts with them can be cut behind them.
TEXT = frozenset(("StringLower", "StringUpper", "StringSplitV2", "StaticRegexReplace", "RegexReplace"))
# Ops that can be had, or substituted, only where the sizes that they work on are known.
OF_FIXED_SIZE = frozenset(
    """
    AvgPool3D Conv2D DepthwiseConv2dNative MaxPool3D ResizeArea ResizeBicubic ScaleAndTranslate StridedSlice
    """.split()  # noqa: SIM905
)
# Ops that LiteRT has at float32, so that a message that it has none speaks of another type.
FLOAT_ONLY = frozenset({"Conv2D", "BiasAdd", "MatMul", "DepthwiseConv2dNative", "Conv2DBackpropInput"})
