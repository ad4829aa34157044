// Running statistics of batch normalisation, in place: mean += rate (batch mean - mean), the same for the variance, of
// which the batch's is made unbiased first, and the count of batches + 1. Where rate < 0 it is 1 / the new count: the
// cumulative average. One workgroup, since all of it reads the count before it changes.
#version 460
#extension GL_GOOGLE_include_directive : require
layout(local_size_x = 64, local_size_x_id = 0) in;
#include "grid.glsl"

layout(set = 0, binding = 0) buffer RunningMean { float running_mean[]; };
layout(set = 0, binding = 1) buffer RunningVar { float running_var[]; };
layout(set = 0, binding = 2) buffer Batches { int batches[]; };
layout(set = 0, binding = 3) readonly buffer Mean { float mean[]; };
layout(set = 0, binding = 4) readonly buffer Var { float var[]; };
layout(push_constant) uniform Push {
  uint channels, mean_offset, var_offset;
  float rate, unbiased;  // m / (m - 1)
};

void main() {
  const int count = batches[0] + 1;
  const float part = rate < 0.0 ? 1.0 / float(count) : rate;
  for (uint i = gl_LocalInvocationID.x; i < channels; i += gl_WorkGroupSize.x) {
    running_mean[i] += part * (mean[mean_offset + i] - running_mean[i]);
    running_var[i] += part * (unbiased * var[var_offset + i] - running_var[i]);
  }
  barrier();
  if (gl_LocalInvocationID.x == 0u) batches[0] = count;
}
