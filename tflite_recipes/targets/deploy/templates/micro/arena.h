// Working memory of the interpreter: all tensors that are not constants, and its own records.
@WHY@
// What the board itself needs: interpreter.arena_used_bytes() after AllocateTensors(), which main.cc prints. Set it
// with -DARENA_BYTES=...
#pragma once

#include <cstddef>

@SIZE@

namespace @NAMESPACE@ {

constexpr std::size_t kArenaBytes = ARENA_BYTES;

}  // namespace @NAMESPACE@
