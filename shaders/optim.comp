// The optimizers' update rules, in place. An invocation updates ROUNDS times four elements.
// g = grad_scale * dw + l1 * sign(w) + l2 * w; w is first multiplied by 1 - lr * decay. A grad_scale of 0 leaves
// everything as it is. Rates and the step count are read from device memory, so that a recorded program stays valid.
// Elements past the end, which storage is padded for, see a gradient of 0.
// Numerics: complements (1 - beta) and logarithms of the betas come from the host in double precision;
// 1 - beta^t is -expm1(t * log(beta)), exact to fp32 rounding for any t.
#version 460
#extension GL_GOOGLE_include_directive : require
#pragma stithy kernels sgd_update adam_update nadam_update rmsprop_update adagrad_update lion_update
layout(local_size_x = 64, local_size_x_id = 0) in;
#include "grid.glsl"
layout(constant_id = 1) const bool STEP_I32 = false;
layout(constant_id = 2) const bool VECTOR = false;  // dw begins at a multiple of four elements
layout(constant_id = 3) const uint ROUNDS = 1u;

layout(set = 0, binding = 0) readonly buffer DW { float dw[]; };
layout(set = 0, binding = 0) readonly buffer DW4 { vec4 dw_4[]; };
layout(set = 0, binding = 1) readonly buffer Lr { float lr[]; };
layout(set = 0, binding = 2) readonly buffer Step { uint step_count[]; };
layout(set = 0, binding = 3) readonly buffer Scale { float grad_scale[]; };
layout(set = 0, binding = 4) buffer W { vec4 w[]; };

// Every kernel's push constants begin with these.
#define COMMON uint count, dw_offset, lr_offset, step_offset, scale_offset; float l1, l2, decay

float number_of(uint bits) { return STEP_I32 ? float(int(bits)) : uintBitsToFloat(bits); }
#define STEPS number_of(step_count[step_offset])

// 1 - exp(x) for x <= 0.
float one_minus_exp(float x) {
  if (x < -0.5) return 1.0 - exp(x);
  float sum = 1.0;
  for (int i = 9; i > 1; --i) sum = 1.0 + x / float(i) * sum;
  return -x * sum;
}

// From here to END: for vector i, with its value decayed and its gradient g.
#define BEGIN                                                                                                \
  const float scale = grad_scale[scale_offset];                                                              \
  if (scale == 0.0) return;                                                                                  \
  const float rate = lr[lr_offset];                                                                          \
  for (uint round = 0u; round < ROUNDS; ++round) {                                                           \
    const uint i = (group_index() * ROUNDS + round) * gl_WorkGroupSize.x + gl_LocalInvocationID.x;           \
    if (4u * i >= count) return;                                                                             \
    const uvec4 at = 4u * i + uvec4(0u, 1u, 2u, 3u), from = dw_offset + min(at, uvec4(count - 1u));          \
    const vec4 dws = VECTOR ? dw_4[(dw_offset >> 2) + i] : vec4(dw[from.x], dw[from.y], dw[from.z], dw[from.w]); \
    vec4 value = w[i];                                                                                       \
    const vec4 g = mix(vec4(0.0), scale * dws + l1 * sign(value) + l2 * value, lessThan(at, uvec4(count)));  \
    value -= rate * decay * value;
#define END }

#ifdef KERNEL_sgd_update
layout(constant_id = 4) const bool MOMENTUM = false;
layout(constant_id = 5) const bool NESTEROV = false;
layout(constant_id = 6) const bool DAMPENING = false;
layout(set = 0, binding = 5) buffer M { vec4 m[]; };
layout(push_constant) uniform Push { COMMON, momentum, undamped; };

void main() {
  BEGIN
  vec4 direction = g;
  if (MOMENTUM) {
    // The first step takes the whole gradient, as torch.optim.SGD does.
    const float part = DAMPENING && STEPS != 1.0 ? undamped : 1.0;
    const vec4 velocity = momentum * m[i] + part * g;
    m[i] = velocity;
    direction = NESTEROV ? g + momentum * velocity : velocity;
  }
  w[i] = value - rate * direction;
  END
}
#endif

#ifdef KERNEL_adam_update
layout(constant_id = 4) const bool AMSGRAD = false;
layout(set = 0, binding = 5) buffer M { vec4 m[]; };
layout(set = 0, binding = 6) buffer V { vec4 v[]; };
layout(set = 0, binding = 7) buffer LargestV { vec4 largest_v[]; };
layout(push_constant) uniform Push { COMMON, beta1, rest1, log_beta1, beta2, rest2, log_beta2, epsilon; };

void main() {
  const float t = STEPS, root = sqrt(one_minus_exp(t * log_beta2)), complement = one_minus_exp(t * log_beta1);
  BEGIN
  const vec4 mean = beta1 * m[i] + rest1 * g;
  vec4 square = beta2 * v[i] + rest2 * g * g;
  m[i] = mean;
  v[i] = square;
  if (AMSGRAD) {
    square = mix(max(largest_v[i], square), square, isnan(square));
    largest_v[i] = square;
  }
  w[i] = value - rate / complement * mean / (sqrt(square) / root + epsilon);
  END
}
#endif

#ifdef KERNEL_nadam_update
layout(set = 0, binding = 5) buffer M { vec4 m[]; };
layout(set = 0, binding = 6) buffer V { vec4 v[]; };
layout(set = 0, binding = 7) readonly buffer MuProduct { float mu_product[]; };
layout(push_constant) uniform Push {
  COMMON, beta1, rest1, beta2, rest2, log_beta2, epsilon, momentum_decay;
  uint mu_offset;
};

float mu_of(float t) { return beta1 * (1.0 - 0.5 * exp(-0.040821994520255166 * t * momentum_decay)); }  // 0.96^...

void main() {
  const float t = STEPS, complement = one_minus_exp(t * log_beta2), mu = mu_of(t), next = mu_of(t + 1.0);
  const float product = mu_product[mu_offset];
  const float of_g = (1.0 - mu) / (1.0 - product), of_mean = next / (1.0 - product * next);
  BEGIN
  const vec4 mean = beta1 * m[i] + rest1 * g;
  const vec4 square = beta2 * v[i] + rest2 * g * g;
  m[i] = mean;
  v[i] = square;
  w[i] = value - rate * (of_g * g + of_mean * mean) / (sqrt(square / complement) + epsilon);
  END
}
#endif

#ifdef KERNEL_rmsprop_update
layout(constant_id = 4) const bool MOMENTUM = false;
layout(constant_id = 5) const bool CENTERED = false;
layout(set = 0, binding = 5) buffer MeanSquare { vec4 mean_square[]; };
layout(set = 0, binding = 6) buffer M { vec4 m[]; };
layout(set = 0, binding = 7) buffer Mean { vec4 mean[]; };
layout(push_constant) uniform Push { COMMON, alpha, rest, epsilon, momentum; };

void main() {
  BEGIN
  const vec4 square = alpha * mean_square[i] + rest * g * g;
  mean_square[i] = square;
  vec4 variance = square;
  if (CENTERED) {
    const vec4 average = alpha * mean[i] + rest * g;
    mean[i] = average;
    variance -= average * average;
  }
  vec4 direction = g / (sqrt(variance) + epsilon);
  if (MOMENTUM) {
    direction += momentum * m[i];
    m[i] = direction;
  }
  w[i] = value - rate * direction;
  END
}
#endif

#ifdef KERNEL_adagrad_update
layout(set = 0, binding = 5) buffer Sum { vec4 sum[]; };
layout(push_constant) uniform Push { COMMON, lr_decay, epsilon; };

void main() {
  const float slowed = lr_decay == 0.0 ? 1.0 : 1.0 + (STEPS - 1.0) * lr_decay;
  BEGIN
  const vec4 total = sum[i] + g * g;
  sum[i] = total;
  w[i] = value - rate / slowed * g / (sqrt(total) + epsilon);
  END
}
#endif

#ifdef KERNEL_lion_update
layout(set = 0, binding = 5) buffer M { vec4 m[]; };
layout(push_constant) uniform Push { COMMON, beta1, rest1, beta2, rest2; };

void main() {
  BEGIN
  const vec4 mean = m[i], direction = beta1 * mean + rest1 * g;
  m[i] = beta2 * mean + rest2 * g;
  w[i] = value - rate * mix(sign(direction), direction, isnan(direction));
  END
}
#endif
