// @WHAT@
// With NO_SAMPLE defined none of it is built, and main.cc runs on zeros.
#pragma once

#include "tensor_io.h"

namespace @NAMESPACE@ {

#ifdef NO_SAMPLE
@ABSENT@
#else
@PRESENT@
#endif

}  // namespace @NAMESPACE@
