// y = f(a, b), element by element; an invocation makes four consecutive elements. Broadcasting is strides of
// 0. The functions: pointwise.glsl. Operands are f32, or i32 where INTEGER, or bool for the logical ops.
#version 450
#extension GL_GOOGLE_include_directive : require
#pragma stithy variants OP: add sub mul div minimum maximum pow larger_share equal not_equal less less_equal greater greater_equal logical_and logical_or tanh_grad sigmoid_grad clamp_grad relu_grad leaky_relu_grad elu_grad gelu_grad gelu_tanh_grad silu_grad softplus_grad mish_grad hardswish_grad hardsigmoid_grad
#include "grid.glsl"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform Push {
  uint count, a_offset, b_offset;
  uint shape[6], a_strides[6], b_strides[6];
  float p0, p1;  // the op's attributes
} push;
#include "elements.glsl"
#include "pointwise.glsl"
layout(constant_id = 2) const uint A_MODE = 3u;
layout(constant_id = 3) const uint B_MODE = 3u;
layout(constant_id = 4) const bool INTEGER = false;

#if defined OP_logical_and || defined OP_logical_or
const uint DTYPE = BOOL;
#else
const uint DTYPE = F32;
#endif
#if defined OP_equal || defined OP_not_equal || defined OP_less || defined OP_less_equal || \
    defined OP_greater || defined OP_greater_equal || defined OP_logical_and || defined OP_logical_or
const uint Y_DTYPE = BOOL;
#else
const uint Y_DTYPE = F32;
#endif

#define JOIN(A, B) A##B
#define FUNCTION(NAME) JOIN(op_, NAME)
uint apply(uint a, uint b) {
#if defined OP_logical_and || defined OP_logical_or
  return raw_of(FUNCTION(OP)(a != 0u, b != 0u));
#elif defined OP_clamp_grad || defined OP_leaky_relu_grad || defined OP_elu_grad
  return raw_of(FUNCTION(OP)(uintBitsToFloat(a), uintBitsToFloat(b), vec2(push.p0, push.p1)));
#else
  return INTEGER ? raw_of(FUNCTION(OP)(int(a), int(b)))
                 : raw_of(FUNCTION(OP)(uintBitsToFloat(a), uintBitsToFloat(b)));
#endif
}

INPUT(a, 0)
INPUT(b, 1)
OUTPUT(y, 2)
LOADER(a, A_MODE, DTYPE, push.a_strides, push.a_offset)
LOADER(b, B_MODE, DTYPE, push.b_strides, push.b_offset)
STORER(y, Y_DTYPE)

void main() {
  const uint i = invocation_index() * 4u;
  if (i >= push.count) return;
  const uvec4 a4 = load_a(i), b4 = load_b(i);
  store_y(i, uvec4(apply(a4.x, b4.x), apply(a4.y, b4.y), apply(a4.z, b4.z), apply(a4.w, b4.w)));
}
