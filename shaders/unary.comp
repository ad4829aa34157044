// y = f(x), element by element; an invocation makes four consecutive elements. The functions: pointwise.glsl.
#version 450
#extension GL_GOOGLE_include_directive : require
#pragma stithy variants OP: neg abs sign exp log sqrt rsqrt reciprocal square sin cos tanh sigmoid erf floor ceil round log1p expm1 clamp relu leaky_relu elu gelu gelu_tanh silu softplus mish hardswish hardsigmoid isnan isfinite logical_not
#include "grid.glsl"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform Push {
  uint count, x_offset;
  uint shape[6], x_strides[6];
  float p0, p1;  // the op's attributes
} push;
#include "elements.glsl"
#include "pointwise.glsl"
layout(constant_id = 2) const uint X_MODE = 3u;

#if defined OP_logical_not
const uint X_DTYPE = BOOL;
#else
const uint X_DTYPE = F32;
#endif
#if defined OP_logical_not || defined OP_isnan || defined OP_isfinite
const uint Y_DTYPE = BOOL;
#else
const uint Y_DTYPE = F32;
#endif

#define JOIN(A, B) A##B
#define FUNCTION(NAME) JOIN(op_, NAME)
#if defined OP_logical_not
uint apply(uint x) { return raw_of(FUNCTION(OP)(x != 0u)); }
#elif defined OP_clamp || defined OP_leaky_relu || defined OP_elu
uint apply(uint x) { return raw_of(FUNCTION(OP)(uintBitsToFloat(x), vec2(push.p0, push.p1))); }
#else
uint apply(uint x) { return raw_of(FUNCTION(OP)(uintBitsToFloat(x))); }
#endif

INPUT(x, 0)
OUTPUT(y, 1)
LOADER(x, X_MODE, X_DTYPE, push.x_strides, push.x_offset)
STORER(y, Y_DTYPE)

void main() {
  const uint i = invocation_index() * 4u;
  if (i >= push.count) return;
  const uvec4 x4 = load_x(i);
  store_y(i, uvec4(apply(x4.x), apply(x4.y), apply(x4.z), apply(x4.w)));
}
