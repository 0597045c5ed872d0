#include "model_data.h"

#ifndef MODEL_DATA_SECTION
#define MODEL_DATA_SECTION
#endif

namespace @NAMESPACE@ {

alignas(16) MODEL_DATA_SECTION const unsigned char model_data[kModelBytes] = {
@ROWS@
};

}  // namespace @NAMESPACE@
