// The model @NAME@ as a constant array.
// sha256 of its bytes: @SHA256@
#pragma once

#include <cstddef>

namespace @NAMESPACE@ {

constexpr std::size_t kModelBytes = @BYTES@;

// Aligned to 16 bytes, which the interpreter and an Ethos-U's command stream need. A constant: it stays in flash. To
// put it elsewhere, define MODEL_DATA_SECTION, as __attribute__((section("..."))) for example.
extern const unsigned char model_data[kModelBytes];

}  // namespace @NAMESPACE@
