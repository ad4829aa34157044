#include "nn/explain.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "engine/core/error.h"
#include "engine/graph/program.h"
#include "engine/ops.h"
#include "engine/ops_vision.h"

namespace stithy::nn {
namespace {

// The logits of the asked classes, [n].
Tensor class_scores(const char* where, Module& model, const Tensor& x, std::span<const int32_t> classes) {
  if (x.dtype() != DType::f32 || x.rank() < 2)
    throw Error(where, cat("expected x as f32 [n, ...], got ", x.dtype(), " ", x.shape()));
  const int64_t n = x.dim(0);
  if (static_cast<int64_t>(classes.size()) != n)
    throw Error(where, cat(classes.size(), " classes for ", n, " items"));
  const EvaluationMode mode(model);
  const Tensor logits = model(x);
  if (logits.rank() != 2 || logits.dim(0) != n)
    throw Error(where, cat("the model gives ", logits.shape(), ", not [", n, ", classes]"));
  for (const int32_t c : classes)
    if (c < 0 || c >= logits.dim(1))
      throw Error(where, cat("class ", c, " is not in 0 to ", logits.dim(1) - 1));
  return sum(logits * one_hot(Tensor(Array({n}, classes)), logits.dim(1)), {1});
}

void check_planes(const char* where, const Array& x) {
  if (x.shape().rank() < 3) throw Error(where, cat("expected x as [n, ..., height, width], got ", x.shape()));
}

}  // namespace

Array input_gradient(Module& model, const Array& x, std::span<const int32_t> classes) {
  const Tensor in = input("x", x.shape(), x.dtype());
  const Tensor score = sum(class_scores("input_gradient", model, in, classes));
  Program program({gradients(score, std::array{in})[0]});
  const Feed feed{in, &x};
  program.submit({&feed, 1});
  return program.read(0);
}

Attributions integrated_gradients(Module& model, const Array& x, std::span<const int32_t> classes,
                                  int64_t steps, float baseline) {
  if (steps < 1) throw Error("integrated_gradients", cat("steps ", steps, " is less than 1"));
  const Tensor in = input("x", x.shape(), x.dtype());
  const Tensor scores = class_scores("integrated_gradients", model, in, classes);
  Program program({gradients(sum(scores), std::array{in})[0], scores});
  const int64_t n = x.shape()[0], size = x.numel() / n;
  // The point at `share` of the way from the baseline to x.
  const auto run_at = [&](double share) {
    Array point(x.shape(), DType::f32);
    for (int64_t i = 0; i < x.numel(); ++i) point.set(i, baseline + share * (x.at(i) - baseline));
    const Feed feed{in, &point};
    program.submit({&feed, 1});
  };
  std::vector<double> mean(static_cast<size_t>(x.numel()));
  for (int64_t step = 0; step < steps; ++step) {
    run_at((static_cast<double>(step) + 0.5) / static_cast<double>(steps));
    const Array gradient = program.read(0);
    for (int64_t i = 0; i < x.numel(); ++i)
      mean[static_cast<size_t>(i)] += gradient.at(i) / static_cast<double>(steps);
  }
  run_at(0);
  const Array low = program.read(1);
  run_at(1);
  const Array high = program.read(1);
  Attributions result{Array(x.shape(), DType::f32), {}};
  for (int64_t item = 0; item < n; ++item) {
    double sum = 0;
    for (int64_t i = item * size; i < (item + 1) * size; ++i) {
      const double value = (x.at(i) - baseline) * mean[static_cast<size_t>(i)];
      result.values.set(i, value);
      sum += value;
    }
    const double whole = high.at(item) - low.at(item);
    result.completeness_error.push_back(std::abs(sum - whole) / std::max(std::abs(whole), 1e-12));
  }
  return result;
}

Array grad_cam(Module& model, const std::string& layer, const Array& x, std::span<const int32_t> classes) {
  check_planes("grad_cam", x);
  const Tensor in = input("x", x.shape(), x.dtype());
  const CallTrace trace;
  const Tensor score = sum(class_scores("grad_cam", model, in, classes));
  Tensor features;
  std::string layers;
  for (const CallTrace::Call& call : trace.calls()) {
    if (call.path == layer) features = call.output;
    layers += " " + call.path;
  }
  if (!features.defined())
    throw Error("grad_cam", cat("the model has no layer '", layer, "'"), cat("its layers are", layers));
  if (features.rank() != 4)
    throw Error("grad_cam",
                cat("layer '", layer, "' gives ", features.shape(), ", not [n, channels, height, width]"));
  const Tensor weights = mean(gradients(score, std::array{features})[0], {2, 3}, true);
  const Tensor map = relu(sum(weights * features, {1}, true));
  const Shape& s = x.shape();
  const int64_t height = s[s.rank() - 2], width = s[s.rank() - 1];
  Program program({squeeze(upsample(map, {height, width}, Interpolation::linear), 1)});
  const Feed feed{in, &x};
  program.submit({&feed, 1});
  return program.read(0);
}

Array occlusion(Module& model, const Array& x, std::span<const int32_t> classes, int64_t window,
                int64_t stride, float fill) {
  check_planes("occlusion", x);
  const Shape& s = x.shape();
  const int64_t n = s[0], height = s[s.rank() - 2], width = s[s.rank() - 1];
  if (window < 1 || window > std::min(height, width) || stride < 1 || stride > window)
    throw Error("occlusion", cat("windows of ", window, ", ", stride, " apart, do not cover ", s));
  const Tensor in = input("x", s, x.dtype()), kept = input("kept", {height, width});
  Program program({class_scores("occlusion", model, in * kept + fill * (1.0f - kept), classes)});
  Array mask({height, width}, DType::f32);
  const auto scores = [&] {
    const Feed feeds[] = {{in, &x}, {kept, &mask}};
    program.submit(feeds);
    return program.read(0);
  };
  const auto fill_mask = [&](int64_t top, int64_t left, int64_t size, float value) {
    for (int64_t y = top; y < top + size; ++y)
      for (int64_t j = left; j < left + size; ++j) mask.set(y * width + j, value);
  };
  std::ranges::fill(mask.values<float>(), 1.0f);
  const Array whole = scores();
  const auto starts = [&](int64_t size) {
    std::vector<int64_t> list;
    for (int64_t at = 0; at + window < size; at += stride) list.push_back(at);
    list.push_back(size - window);
    return list;
  };
  Array drop({n, height, width}, DType::f32), covered({height, width}, DType::f32);
  for (const int64_t top : starts(height))
    for (const int64_t left : starts(width)) {
      fill_mask(top, left, window, 0);
      const Array changed = scores();
      fill_mask(top, left, window, 1);
      for (int64_t y = top; y < top + window; ++y)
        for (int64_t j = left; j < left + window; ++j) {
          const int64_t at = y * width + j;
          covered.set(at, covered.at(at) + 1);
          for (int64_t i = 0; i < n; ++i)
            drop.set(i * height * width + at, drop.at(i * height * width + at) + whole.at(i) - changed.at(i));
        }
    }
  for (int64_t i = 0; i < drop.numel(); ++i) drop.set(i, drop.at(i) / covered.at(i % (height * width)));
  return drop;
}

}  // namespace stithy::nn
