// A workgroup works on one row of a matrix: its lanes walk the row together, then combine what they have.
// Before the include: GL_KHR_shader_subgroup_basic and _arithmetic.
#ifndef STITHY_ROW
#define STITHY_ROW
#include "grid.glsl"
#include "math.glsl"

layout(local_size_x = 64, local_size_x_id = 0) in;
layout(constant_id = 1) const bool ONE_SUBGROUP = false;  // a workgroup is one subgroup: no barriers

shared float of_subgroup[256];

// The sum, or the largest, of all lanes' values, in every lane; in a fixed order.
float row_sum(float value) {
  value = subgroupAdd(value);
  if (!ONE_SUBGROUP) {
    barrier();
    if (subgroupElect()) of_subgroup[gl_SubgroupID] = value;
    barrier();
    value = of_subgroup[0];
    for (uint s = 1u; s < gl_NumSubgroups; ++s) value += of_subgroup[s];
  }
  return value;
}
float row_max(float value) {
  value = subgroupMax(value);
  if (!ONE_SUBGROUP) {
    barrier();
    if (subgroupElect()) of_subgroup[gl_SubgroupID] = value;
    barrier();
    value = of_subgroup[0];
    for (uint s = 1u; s < gl_NumSubgroups; ++s) value = max(value, of_subgroup[s]);
  }
  return value;
}

// sum.x + sum.y += x (Kahan 1965): a long row costs no accuracy. Start with vec2(0); the sum is sum.x.
void accumulate(inout vec2 sum, float x) {
  precise const float y = x - sum.y;
  precise const float t = sum.x + y;
  precise const float lost = (t - sum.x) - y;
  sum = vec2(t, lost);
}

#define ROW_BEGIN(rows)              \
  const uint row = group_index();    \
  if (row >= rows) return;           \
  const uint lane = gl_LocalInvocationID.x, lanes = gl_WorkGroupSize.x
#define FOR_ROW(i, count) for (uint i = lane; i < count; i += lanes)
#endif
