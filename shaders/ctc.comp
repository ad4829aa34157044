// Connectionist temporal classification (Graves et al. 2006): the loss -log p(target) of labels without alignment, of
// log-probabilities lp [t, n, classes]. With blanks between, before and behind the labels of a target, l of them, there
// are 2 l + 1 states; a path stays, goes on by one, or, between labels that differ, skips a blank. In logarithms:
//   ctc_alpha  alpha[t, s], of all paths that begin and reach state s at step t: an invocation per state of a step, a
//              call per step
//   ctc_loss   -log of the sum of the last two states at the last step: an invocation per element of the batch
//   ctc_beta   beta[t, s], of all paths from there to the end, what step t emits not included: as ctc_alpha, backwards
//   ctc_grad   dlp[t, n, c] = -dloss sum over the states s of class c of exp(alpha + beta + loss): an invocation per
//              element
// A target that no path makes has an infinite loss, and a gradient of NaN where dloss is not 0. A length or a label out
// of range gives NaN.
#version 460
#extension GL_GOOGLE_include_directive : require
#pragma stithy kernels ctc_alpha ctc_loss ctc_beta ctc_grad
#include "grid.glsl"
#include "math.glsl"

layout(local_size_x_id = 0) in;

layout(set = 0, binding = 0) readonly buffer InputLengths { int input_lengths[]; };
layout(set = 0, binding = 1) readonly buffer TargetLengths { int target_lengths[]; };
layout(set = 0, binding = 2) readonly buffer Targets { int targets[]; };
layout(set = 0, binding = 3) readonly buffer Lp { float lp[]; };
layout(push_constant) uniform Push {
  uint steps, batch, classes, longest, blank, step;  // longest: labels of a row of targets
  uint input_lengths_offset, target_lengths_offset, targets_offset, lp_offset, dloss_offset;
};

int input_length(uint n) { return input_lengths[input_lengths_offset + n]; }
int target_length(uint n) { return target_lengths[target_lengths_offset + n]; }
bool in_range(uint n) {
  return input_length(n) >= 0 && uint(input_length(n)) <= steps && target_length(n) >= 0 &&
         uint(target_length(n)) <= longest;
}
uint states() { return 2u * longest + 1u; }
uint label(uint n, uint s) { return s % 2u == 0u ? blank : uint(targets[targets_offset + n * longest + s / 2u]); }
float emission(uint t, uint n, uint c) {
  return c < classes ? lp[lp_offset + (t * batch + n) * classes + c] : nan_value();
}
// Whether a path may go from s - 2 to s.
bool skips(uint n, uint s) { return s % 2u == 1u && s > 2u && label(n, s) != label(n, s - 2u); }

float log_sum(float a, float b, float c) {
  const float largest = is_nan(a) || is_nan(b) || is_nan(c) ? nan_value() : max(max(a, b), c);
  if (largest == -infinity()) return largest;
  return largest + log_(exp_(a - largest) + exp_(b - largest) + exp_(c - largest));
}

#ifdef KERNEL_ctc_alpha
layout(set = 0, binding = 4) buffer Alpha { float alpha[]; };

void main() {
  const uint i = invocation_index();
  if (i >= batch * states()) return;
  const uint n = i / states(), s = i - n * states();
  if (!in_range(n) || int(step) >= input_length(n) || s > 2u * uint(target_length(n))) return;
  const uint at = (step * batch + n) * states() + s, before = at - batch * states();
  const float least = -infinity();
  float reached;
  if (step == 0u)
    reached = s < 2u ? 0.0 : least;
  else
    reached = log_sum(alpha[before], s > 0u ? alpha[before - 1u] : least, skips(n, s) ? alpha[before - 2u] : least);
  alpha[at] = reached + emission(step, n, label(n, s));
}
#endif

#ifdef KERNEL_ctc_loss
layout(set = 0, binding = 4) readonly buffer Alpha { float alpha[]; };
layout(set = 0, binding = 5) writeonly buffer Loss { float loss[]; };

void main() {
  const uint n = invocation_index();
  if (n >= batch) return;
  if (!in_range(n)) {
    loss[n] = nan_value();
    return;
  }
  const uint length = uint(input_length(n)), last = 2u * uint(target_length(n));
  if (length == 0u) {
    loss[n] = last == 0u ? 0.0 : infinity();
    return;
  }
  const uint at = ((length - 1u) * batch + n) * states() + last;
  loss[n] = -log_sum(alpha[at], last > 0u ? alpha[at - 1u] : -infinity(), -infinity());
}
#endif

#ifdef KERNEL_ctc_beta
layout(set = 0, binding = 4) buffer Beta { float beta[]; };

void main() {
  const uint i = invocation_index();
  if (i >= batch * states()) return;
  const uint n = i / states(), s = i - n * states();
  if (!in_range(n) || int(step) >= input_length(n)) return;
  const uint last = 2u * uint(target_length(n));
  if (s > last) return;
  const uint at = (step * batch + n) * states() + s, after = at + batch * states(), t = step + 1u;
  const float least = -infinity();
  if (int(t) == input_length(n)) {
    beta[at] = s + 1u >= last ? 0.0 : least;
    return;
  }
  const float stays = beta[after] + emission(t, n, label(n, s));
  float goes = least, jumps = least;
  if (s < last) goes = beta[after + 1u] + emission(t, n, label(n, s + 1u));
  if (s + 1u < last && skips(n, s + 2u)) jumps = beta[after + 2u] + emission(t, n, label(n, s + 2u));
  beta[at] = log_sum(stays, goes, jumps);
}
#endif

#ifdef KERNEL_ctc_grad
layout(set = 0, binding = 4) readonly buffer Alpha { float alpha[]; };
layout(set = 0, binding = 5) readonly buffer Beta { float beta[]; };
layout(set = 0, binding = 6) readonly buffer Loss { float loss[]; };
layout(set = 0, binding = 7) readonly buffer Dloss { float dloss[]; };
layout(set = 0, binding = 8) writeonly buffer Dlp { float dlp[]; };

void main() {
  const uint i = invocation_index();
  if (i >= steps * batch * classes) return;
  const uint row = i / classes, c = i - row * classes, t = row / batch, n = row - t * batch;
  const float d = dloss[dloss_offset + n];
  float sum = 0.0;
  if (d != 0.0 && !in_range(n)) sum = nan_value();
  if (d != 0.0 && in_range(n) && int(t) < input_length(n)) {
    const uint count = 2u * uint(target_length(n)) + 1u;
    for (uint s = 0u; s < count; ++s)
      if (label(n, s) == c) sum += exp_(alpha[row * states() + s] + beta[row * states() + s] + loss[n]);
    if (is_nan(loss[n]) || loss[n] == infinity()) sum = nan_value();
  }
  dlp[i] = d == 0.0 ? 0.0 : -d * sum;
}
#endif
