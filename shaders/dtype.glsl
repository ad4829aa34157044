// Element types in storage. The numbering is that of DType in engine/core/dtype.h; a kernel learns a
// tensor's type by a specialization constant named *_DTYPE. Kernels see storage as 32-bit words; the bits of
// one element, in the low end of a uint, are its "raw" value. Rounding is done in integers, to nearest even:
// packHalf2x16 may round either way.
#ifndef STITHY_DTYPE
#define STITHY_DTYPE
const uint F32 = 0u, F16 = 1u, BF16 = 2u, I32 = 3u, U8 = 4u, BOOL = 5u;

bool is_word(uint dtype) { return dtype == F32 || dtype == I32; }
bool is_half(uint dtype) { return dtype == F16 || dtype == BF16; }

// The word that holds element `index`, and the element's raw value in that word.
uint word_of(uint index, uint dtype) { return is_word(dtype) ? index : is_half(dtype) ? index >> 1 : index >> 2; }
uint raw_in(uint word, uint index, uint dtype) {
  if (is_word(dtype)) return word;
  if (is_half(dtype)) return (word >> ((index & 1u) * 16u)) & 0xffffu;
  return (word >> ((index & 3u) * 8u)) & 0xffu;
}

// Four 1-byte elements in a word, two 2-byte elements in a word.
uvec4 unpack_bytes(uint word) { return (uvec4(word) >> uvec4(0, 8, 16, 24)) & 0xffu; }
uint pack_bytes(uvec4 raw) { return raw.x | raw.y << 8 | raw.z << 16 | raw.w << 24; }
uvec4 unpack_halves(uvec2 words) {
  return uvec4(words.x & 0xffffu, words.x >> 16, words.y & 0xffffu, words.y >> 16);
}
uvec2 pack_halves(uvec4 raw) { return uvec2(raw.x | raw.y << 16, raw.z | raw.w << 16); }

bool is_nan(float x) { return (floatBitsToUint(x) & 0x7fffffffu) > 0x7f800000u; }
bool is_finite(float x) { return (floatBitsToUint(x) & 0x7fffffffu) < 0x7f800000u; }

uint f32_to_f16(float value) {
  const uint bits = floatBitsToUint(value), sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return sign | 0x7e00u;
  if (magnitude >= 0x477ff000u) return sign | 0x7c00u;  // rounds to 2^16 or more
  if (magnitude < 0x38800000u) {                        // subnormal in f16: in units of 2^-24
    const uint shift = 126u - (magnitude >> 23);
    if (shift > 24u) return sign;
    const uint mantissa = (magnitude & 0x7fffffu) | 0x800000u;
    const uint kept = mantissa >> shift, rest = mantissa & ((1u << shift) - 1u), half_unit = 1u << (shift - 1u);
    return sign | (kept + uint(rest > half_unit || (rest == half_unit && (kept & 1u) != 0u)));
  }
  const uint rebased = magnitude - 0x38000000u;
  return sign | ((rebased + 0xfffu + ((rebased >> 13) & 1u)) >> 13);
}
float f16_to_f32(uint raw) {
  const uint sign = (raw & 0x8000u) << 16, exponent = (raw >> 10) & 31u, mantissa = raw & 0x3ffu;
  if (exponent == 31u) return uintBitsToFloat(sign | 0x7f800000u | (mantissa << 13));
  if (exponent == 0u)
    return uintBitsToFloat(sign | floatBitsToUint(float(mantissa) * 5.9604644775390625e-8));  // 2^-24
  return uintBitsToFloat(sign | ((exponent + 112u) << 23) | (mantissa << 13));
}
uint f32_to_bf16(float value) {
  const uint bits = floatBitsToUint(value);
  if (is_nan(value)) return (bits >> 16) | 0x40u;
  return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}
float bf16_to_f32(uint raw) { return uintBitsToFloat(raw << 16); }

// Towards zero, clamped to the type's range; NaN gives 0.
int f32_to_i32(float value) {
  if (is_nan(value)) return 0;
  if (value >= 2147483648.0) return 0x7fffffff;
  if (value <= -2147483648.0) return int(0x80000000u);
  return int(value);
}

// A raw value of one type as a raw value of another.
uint convert(uint raw, uint from, uint to) {
  if (from == to) return raw;
  if (from == F32 || is_half(from)) {
    const float value = from == F16 ? f16_to_f32(raw) : from == BF16 ? bf16_to_f32(raw) : uintBitsToFloat(raw);
    if (to == F32) return floatBitsToUint(value);
    if (to == F16) return f32_to_f16(value);
    if (to == BF16) return f32_to_bf16(value);
    if (to == BOOL) return uint((floatBitsToUint(value) & 0x7fffffffu) != 0u);
    const int integer = f32_to_i32(value);
    return to == U8 ? uint(clamp(integer, 0, 255)) : uint(integer);
  }
  const int integer = int(raw);  // u8 and bool are not negative
  if (to == I32) return raw;
  if (to == U8) return uint(clamp(integer, 0, 255));
  if (to == BOOL) return uint(integer != 0);
  return to == F32 ? floatBitsToUint(float(integer))
                   : to == F16 ? f32_to_f16(float(integer)) : f32_to_bf16(float(integer));
}
#endif
