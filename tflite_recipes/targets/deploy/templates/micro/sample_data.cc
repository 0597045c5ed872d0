#include "sample_data.h"

#include <cmath>

#ifndef NO_SAMPLE

namespace @NAMESPACE@ {

@ARRAYS@

}  // namespace @NAMESPACE@

#endif
