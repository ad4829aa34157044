// Random numbers from the generator's state (seed, step), a stream and the element's index; an invocation makes four.
//   random    uniform: low + (high - low) u;  normal: mean + deviation z (Box and Muller 1958);  bernoulli: u < p
//   dropout   y = x * scale where u >= p, else 0 (Srivastava et al. 2014); the gradient is the same with dy for x
#version 460
#extension GL_GOOGLE_include_directive : require
#pragma stithy kernels random dropout
#include "math.glsl"
#include "philox.glsl"
layout(local_size_x = 64, local_size_x_id = 0) in;
#include "grid.glsl"

layout(set = 0, binding = 0) readonly buffer State { uvec4 state[]; };

#ifdef KERNEL_random
layout(constant_id = 1) const uint KIND = 0;  // 0 uniform, 1 normal, 2 bernoulli
layout(set = 0, binding = 1) writeonly buffer Y { vec4 y[]; };
layout(push_constant) uniform Push { uint count, stream; float p0, p1; };

// Two normal numbers from two words; 1 - u is never 0.
vec2 normal_pair(vec2 u) {
  const float radius = sqrt(-2.0 * log_(1.0 - u.x)), angle = 6.283185307179586 * u.y;
  return radius * vec2(cos_(angle), sin_(angle));
}

void main() {
  const uint i = invocation_index();
  if (i * 4u >= count) return;
  const vec4 u = random_uniform(random_words(i, stream, state[0]));
  vec4 value;
  if (KIND == 0u) {
    precise const vec4 scaled = u * (p1 - p0);
    precise const vec4 moved = scaled + p0;
    value = moved;
    // Rounding may reach the end of the range, which is not part of it.
    for (int e = 0; e < 4; ++e)
      if (value[e] >= p1 && p1 > p0) value[e] = p0;
  } else if (KIND == 1u) {
    value = vec4(normal_pair(u.xy), normal_pair(u.zw)) * p1 + p0;
  } else {
    value = vec4(lessThan(u, vec4(p0)));
  }
  y[i] = value;
}
#endif

#ifdef KERNEL_dropout
layout(set = 0, binding = 1) readonly buffer X { float x[]; };
layout(set = 0, binding = 2) writeonly buffer Y { vec4 y[]; };
layout(push_constant) uniform Push { uint count, x_offset, stream; float p, scale; };

void main() {
  const uint i = invocation_index();
  if (i * 4u >= count) return;
  const vec4 u = random_uniform(random_words(i, stream, state[0]));
  vec4 value = vec4(0);
  for (uint e = 0u; e < 4u; ++e)
    if (u[e] >= p && i * 4u + e < count) value[e] = x[x_offset + i * 4u + e] * scale;
  y[i] = value;
}
#endif
