// The optimizers' update rules, in place. One invocation updates one element.
// g = grad_scale * dw + l1 * sign(w) + l2 * w; w is first multiplied by 1 - lr * decay. A grad_scale of 0 leaves
// everything as it is. Rates and the step count are read from device memory, so that a recorded program stays valid.
// Numerics: complements (1 - beta) and logarithms of the betas come from the host in double precision;
// 1 - beta^t is -expm1(t * log(beta)), exact to fp32 rounding for any t.
#version 460
#extension GL_GOOGLE_include_directive : require
#pragma stithy kernels sgd_update adam_update nadam_update rmsprop_update adagrad_update lion_update
layout(local_size_x = 64, local_size_x_id = 0) in;
#include "grid.glsl"
layout(constant_id = 1) const bool STEP_I32 = false;

layout(set = 0, binding = 0) readonly buffer DW { float dw[]; };
layout(set = 0, binding = 1) readonly buffer Lr { float lr[]; };
layout(set = 0, binding = 2) readonly buffer Step { uint step_count[]; };
layout(set = 0, binding = 3) readonly buffer Scale { float grad_scale[]; };
layout(set = 0, binding = 4) buffer W { float w[]; };

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

#define GRADIENT(i, value) (grad_scale[scale_offset] * dw[dw_offset + i] + l1 * sign(value) + l2 * value)
#define BEGIN                                                        \
  const uint i = invocation_index();                                 \
  if (i >= count || grad_scale[scale_offset] == 0.0) return;         \
  const float rate = lr[lr_offset];                                  \
  float value = w[i];                                                \
  const float g = GRADIENT(i, value);                                \
  value -= rate * decay * value

#ifdef KERNEL_sgd_update
layout(constant_id = 2) const bool MOMENTUM = false;
layout(constant_id = 3) const bool NESTEROV = false;
layout(constant_id = 4) const bool DAMPENING = false;
layout(set = 0, binding = 5) buffer M { float m[]; };
layout(push_constant) uniform Push { COMMON, momentum, undamped; };

void main() {
  BEGIN;
  float direction = g;
  if (MOMENTUM) {
    // The first step takes the whole gradient, as torch.optim.SGD does.
    float velocity = momentum * m[i] + g;
    if (DAMPENING && STEPS != 1.0) velocity = momentum * m[i] + undamped * g;
    m[i] = velocity;
    direction = NESTEROV ? g + momentum * velocity : velocity;
  }
  w[i] = value - rate * direction;
}
#endif

#ifdef KERNEL_adam_update
layout(constant_id = 2) const bool AMSGRAD = false;
layout(set = 0, binding = 5) buffer M { float m[]; };
layout(set = 0, binding = 6) buffer V { float v[]; };
layout(set = 0, binding = 7) buffer LargestV { float largest_v[]; };
layout(push_constant) uniform Push { COMMON, beta1, rest1, log_beta1, beta2, rest2, log_beta2, epsilon; };

void main() {
  BEGIN;
  const float t = STEPS;
  const float mean = beta1 * m[i] + rest1 * g;
  float square = beta2 * v[i] + rest2 * g * g;
  m[i] = mean;
  v[i] = square;
  if (AMSGRAD) {
    square = isnan(square) ? square : max(largest_v[i], square);
    largest_v[i] = square;
  }
  const float scale = sqrt(one_minus_exp(t * log_beta2));
  w[i] = value - rate / one_minus_exp(t * log_beta1) * mean / (sqrt(square) / scale + epsilon);
}
#endif

#ifdef KERNEL_nadam_update
layout(set = 0, binding = 5) buffer M { float m[]; };
layout(set = 0, binding = 6) buffer V { float v[]; };
layout(set = 0, binding = 7) readonly buffer MuProduct { float mu_product[]; };
layout(push_constant) uniform Push {
  COMMON, beta1, rest1, beta2, rest2, log_beta2, epsilon, momentum_decay;
  uint mu_offset;
};

float mu_of(float t) { return beta1 * (1.0 - 0.5 * exp(-0.040821994520255166 * t * momentum_decay)); }  // 0.96^...

void main() {
  BEGIN;
  const float t = STEPS;
  const float mean = beta1 * m[i] + rest1 * g;
  const float square = beta2 * v[i] + rest2 * g * g;
  m[i] = mean;
  v[i] = square;
  const float denominator = sqrt(square / one_minus_exp(t * log_beta2)) + epsilon;
  const float mu = mu_of(t), next = mu_of(t + 1.0), product = mu_product[mu_offset];
  w[i] = value - rate * ((1.0 - mu) / (1.0 - product) * g + next / (1.0 - product * next) * mean) / denominator;
}
#endif

#ifdef KERNEL_rmsprop_update
layout(constant_id = 2) const bool MOMENTUM = false;
layout(constant_id = 3) const bool CENTERED = false;
layout(set = 0, binding = 5) buffer MeanSquare { float mean_square[]; };
layout(set = 0, binding = 6) buffer M { float m[]; };
layout(set = 0, binding = 7) buffer Mean { float mean[]; };
layout(push_constant) uniform Push { COMMON, alpha, rest, epsilon, momentum; };

void main() {
  BEGIN;
  const float square = alpha * mean_square[i] + rest * g * g;
  mean_square[i] = square;
  float variance = square;
  if (CENTERED) {
    const float average = alpha * mean[i] + rest * g;
    mean[i] = average;
    variance -= average * average;
  }
  float direction = g / (sqrt(variance) + epsilon);
  if (MOMENTUM) {
    direction += momentum * m[i];
    m[i] = direction;
  }
  w[i] = value - rate * direction;
}
#endif

#ifdef KERNEL_adagrad_update
layout(set = 0, binding = 5) buffer Sum { float sum[]; };
layout(push_constant) uniform Push { COMMON, lr_decay, epsilon; };

void main() {
  BEGIN;
  const float total = sum[i] + g * g;
  sum[i] = total;
  const float decayed = lr_decay == 0.0 ? rate : rate / (1.0 + (STEPS - 1.0) * lr_decay);
  w[i] = value - decayed * g / (sqrt(total) + epsilon);
}
#endif

#ifdef KERNEL_lion_update
layout(set = 0, binding = 5) buffer M { float m[]; };
layout(push_constant) uniform Push { COMMON, beta1, rest1, beta2, rest2; };

void main() {
  BEGIN;
  const float mean = m[i], direction = beta1 * mean + rest1 * g;
  m[i] = beta2 * mean + rest2 * g;
  w[i] = value - rate * (isnan(direction) ? direction : sign(direction));
}
#endif
