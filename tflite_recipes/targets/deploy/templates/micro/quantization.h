// Real values to stored ones and back: real = scale * (stored - zero_point).
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace @NAMESPACE@ {

// What numbers of a type are computed in: float holds 16 bits exactly, and is what small processors have in hardware.
template <typename Stored>
using Computed = std::conditional_t<(sizeof(Stored) <= 2), float, double>;

// Rounded to the nearest step, a tie to the even one, and saturated; NaN becomes the least value. Needs the rounding
// mode that a program starts with, and no -ffast-math.
template <typename Stored>
inline Stored quantized(float value, float scale, std::int32_t zero_point) {
  using Number = Computed<Stored>;
  const Number quotient = static_cast<Number>(value) / static_cast<Number>(scale);
  Number steps = std::nearbyint(quotient);
  // In float a quotient beside a tie may end on it; only this case is worth the slower double.
  if (std::fabs(quotient - steps) == static_cast<Number>(0.5)) {
    steps = static_cast<Number>(std::nearbyint(static_cast<double>(value) / static_cast<double>(scale)));
  }
  const Number zero = static_cast<Number>(zero_point);
  const Number least = static_cast<Number>(std::numeric_limits<Stored>::min()) - zero;
  const Number most = static_cast<Number>(std::numeric_limits<Stored>::max()) - zero;
  if (!(steps > least)) {
    steps = least;
  }
  if (steps > most) {
    steps = most;
  }
  return static_cast<Stored>(static_cast<std::int64_t>(steps) + zero_point);
}

template <typename Stored>
inline float dequantized(Stored value, float scale, std::int32_t zero_point) {
  using Number = Computed<Stored>;
  const Number steps = static_cast<Number>(static_cast<std::int64_t>(value) - zero_point);
  return static_cast<float>(static_cast<Number>(scale) * steps);
}

}  // namespace @NAMESPACE@
