// Elementary functions in f32, to about two units in the last place on any device: Vulkan leaves GLSL's own
// loose (exp to 3 + 2|x| ulp, log and sin only absolutely) and says nothing of large arguments. The
// polynomials are those of Moshier's Cephes library (1984-2000). NaN in gives NaN out.
#ifndef STITHY_MATH
#define STITHY_MATH
#include "dtype.glsl"

float nan_value() { return uintBitsToFloat(0x7fc00000u); }
float infinity() { return uintBitsToFloat(0x7f800000u); }

// (exp(r) - 1 - r) / r^2 for |r| <= ln(2) / 2.
float exp_tail(float r) {
  float p = 1.9875691500e-4;
  p = p * r + 1.3981999507e-3;
  p = p * r + 8.3334519073e-3;
  p = p * r + 4.1665795894e-2;
  p = p * r + 1.6666665459e-1;
  return p * r + 5.0000001201e-1;
}

float exp_(float x) {
  if (is_nan(x)) return x;
  x = clamp(x, -104.0, 89.0);
  const float n = roundEven(x * 1.44269504088896341);
  precise float r = x - n * 0.693359375;  // ln(2) in two parts: n times the first is exact
  r = r + n * 2.12194440e-4;
  const float y = exp_tail(r) * r * r + r + 1.0;
  // 2^n in two factors, since n may be beyond the range of exponents.
  const int half_n = int(n) >> 1;
  return y * uintBitsToFloat(uint(half_n + 127) << 23) * uintBitsToFloat(uint(int(n) - half_n + 127) << 23);
}

float expm1_(float x) { return abs(x) < 0.35 ? exp_tail(x) * x * x + x : exp_(x) - 1.0; }

float log_(float x) {
  if (is_nan(x) || x == infinity()) return x;
  if (!(x > 0.0)) return x == 0.0 ? -infinity() : nan_value();
  const bool small = x < 1.17549435e-38;  // subnormal
  const uint bits = floatBitsToUint(small ? x * 8388608.0 : x);
  int e = int(bits >> 23) - (small ? 126 + 23 : 126);
  float m = uintBitsToFloat((bits & 0x7fffffu) | 0x3f000000u);  // [0.5, 1)
  if (m < 0.707106781186547524) {
    m = m + m;
    e = e - 1;
  }
  const float z = m - 1.0, z2 = z * z;
  float p = 7.0376836292e-2;
  p = p * z - 1.1514610310e-1;
  p = p * z + 1.1676998740e-1;
  p = p * z - 1.2420140846e-1;
  p = p * z + 1.4249322787e-1;
  p = p * z - 1.6668057665e-1;
  p = p * z + 2.0000714765e-1;
  p = p * z - 2.4999993993e-1;
  p = p * z + 3.3333331174e-1;
  precise float y = p * z * z2;
  y = y - float(e) * 2.12194440e-4;
  y = y - 0.5 * z2;
  y = y + z;
  return y + float(e) * 0.693359375;
}

float log1p_(float x) {
  if (is_nan(x) || x == infinity() || x == -1.0) return x == -1.0 ? -infinity() : x;
  precise const float u = 1.0 + x;
  precise const float lost = x - (u - 1.0);  // what rounding 1 + x dropped
  return u == 1.0 ? x : log_(u) + lost / u;
}

float tanh_(float x) {
  const float e = expm1_(2.0 * min(abs(x), 10.0)), t = e / (e + 2.0);
  return is_nan(x) ? x : x < 0.0 ? -t : t;
}

float sigmoid_(float x) {
  const float e = exp_(-abs(x)), r = 1.0 / (1.0 + e);
  return x < 0.0 ? e * r : r;
}

// 1 - erf(x) for x >= 1.
float erfc_tail(float x) {
  const float q = 1.0 / x, y = q * q;
  float p;
  if (x < 2.0) {
    p = 2.326819970068386e-2;
    p = p * y - 1.387039388740657e-1;
    p = p * y + 3.687424674597105e-1;
    p = p * y - 5.824733027278666e-1;
    p = p * y + 6.210004621745983e-1;
    p = p * y - 4.944515323274145e-1;
    p = p * y + 3.404879937665872e-1;
    p = p * y - 2.741127028184656e-1;
    p = p * y + 5.638259427386472e-1;
  } else {
    p = -1.047766399936249e+1;
    p = p * y + 1.297719955372516e+1;
    p = p * y - 7.495518717768503e+0;
    p = p * y + 2.921019019210786e+0;
    p = p * y - 1.015265279202700e+0;
    p = p * y + 4.218463358204948e-1;
    p = p * y - 2.820767439740514e-1;
    p = p * y + 5.641895067754075e-1;
  }
  return x > 11.0 ? 0.0 : exp_(-x * x) * q * p;
}

// erf(x) for |x| <= 1.
float erf_centre(float x) {
  const float y = x * x;
  float p = 7.853861353153693e-5;
  p = p * y - 8.010193625184903e-4;
  p = p * y + 5.188327685732524e-3;
  p = p * y - 2.685381193529856e-2;
  p = p * y + 1.128358514861418e-1;
  p = p * y - 3.761262582423300e-1;
  return x * (p * y + 1.128379165726710e+0);
}

float erf_(float x) {
  const float a = abs(x), r = a < 1.0 ? erf_centre(a) : 1.0 - erfc_tail(a);
  return is_nan(x) ? x : x < 0.0 ? -r : r;
}
// Keeps its relative precision where erf is close to 1.
float erfc_(float x) {
  if (is_nan(x)) return x;
  if (abs(x) < 1.0) return 1.0 - erf_centre(x);
  return x < 0.0 ? 2.0 - erfc_tail(-x) : erfc_tail(x);
}

// 2 / pi in binary, 32 bits an entry.
const uint kTwoOverPi[8] = uint[8](0xa2f9836eu, 0x4e441529u, 0xfc2757d1u, 0xf534ddc0u, 0xdb629599u, 0x3c439041u,
                                   0xfe5163abu, 0xdebbc561u);
uint two_over_pi_bits(int first) {  // 32 of them; bit 0 has the weight 1/2, those before are zero
  if (first <= -32) return 0u;
  if (first < 0) return kTwoOverPi[0] >> uint(-first);
  const uint word = uint(first) >> 5, shift = uint(first) & 31u;
  return shift == 0u ? kTwoOverPi[word] : (kTwoOverPi[word] << shift) | (kTwoOverPi[word + 1u] >> (32u - shift));
}

// |x| = (quadrant + 4 k) * pi/2 + r with |r| <= pi/4; |x| finite.
float reduce_angle(float a, out uint quadrant) {
  if (a < 256.0) {
    const float n = roundEven(a * 0.636619772367581343);
    quadrant = uint(n) & 3u;
    precise float r = a - n * 1.5703125;  // pi/2 in three parts (Cody and Waite 1980)
    r = r - n * 4.837512969970703125e-4;
    return r - n * 7.54978995489188216e-8;
  }
  // Payne and Hanek 1983: the bits of a * 2/pi below the weight 4, in 64-bit integer arithmetic.
  const uint bits = floatBitsToUint(a), m = (bits & 0x7fffffu) | 0x800000u;
  const int first = int(bits >> 23) - 150 - 2;
  uint high, low, next_high, next_low, carry;
  umulExtended(m, two_over_pi_bits(first + 32), high, low);
  umulExtended(m, two_over_pi_bits(first + 64), next_high, next_low);
  low = uaddCarry(low, next_high, carry);
  const uint top = m * two_over_pi_bits(first) + high + carry;
  quadrant = ((top + 0x20000000u) >> 30) & 3u;
  const int fraction = int(top << 2 | low >> 30);  // in units of 2^-32 quadrants, nearest quadrant taken off
  return float(fraction) * 3.6572952e-10;          // pi/2 * 2^-32
}

float sin_of_quadrant(float r, uint quadrant) {
  const float z = r * r;
  float s = -1.9515295891e-4;
  s = s * z + 8.3321608736e-3;
  s = s * z - 1.6666654611e-1;
  s = s * z * r + r;
  float c = 2.443315711809948e-5;
  c = c * z - 1.388731625493765e-3;
  c = c * z + 4.166664568298827e-2;
  c = c * z * z - 0.5 * z + 1.0;
  const float y = (quadrant & 1u) != 0u ? c : s;
  return (quadrant & 2u) != 0u ? -y : y;
}
float sin_(float x) {
  if (!is_finite(x)) return nan_value();
  uint quadrant;
  const float r = reduce_angle(abs(x), quadrant);
  return sin_of_quadrant(x < 0.0 ? -r : r, x < 0.0 ? (4u - quadrant) & 3u : quadrant);
}
float cos_(float x) {
  if (!is_finite(x)) return nan_value();
  uint quadrant;
  const float r = reduce_angle(abs(x), quadrant);
  return sin_of_quadrant(r, (quadrant + 1u) & 3u);
}

// The sign and size of a power apart, so that a negative base works for integer exponents (C's pow).
float pow_(float a, float b) {
  if (b == 0.0 || a == 1.0) return 1.0;
  if (is_nan(a) || is_nan(b)) return nan_value();
  if (b == 2.0) return a * a;
  const float size = abs(a);
  const bool integer = b == floor(b), odd = integer && abs(b) < 16777216.0 && mod(abs(b), 2.0) == 1.0;
  if (a < 0.0 && !integer && a != -infinity()) return nan_value();
  float y;
  if (size == 1.0) {
    y = 1.0;
  } else if (size == 0.0 || size == infinity() || !is_finite(b)) {
    y = (size > 1.0) == (b > 0.0) ? infinity() : 0.0;
  } else {
    y = exp_(b * log_(size));
  }
  return odd && (floatBitsToUint(a) >> 31) != 0u ? -y : y;
}
#endif
