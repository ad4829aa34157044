// Rows of sampling at given points, and of what detectors need.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "engine/ops.h"
#include "engine/ops_vision.h"
#include "tests/harness.h"

namespace stithy::testing {
namespace {

// ---- grid_sample

// Of an image of 4 x 5; as PyTorch's functional.grid_sample.
Reference sampled(const Reference& x, const Reference& grid, const GridSampleOptions& o) {
  const int64_t channels = x.shape[1], h = x.shape[2], w = x.shape[3], points = grid.shape[1] * grid.shape[2];
  Reference y({x.shape[0], channels, grid.shape[1], grid.shape[2]});
  const auto place = [&](double at, int64_t size) {
    const double n = static_cast<double>(size);
    const double here = o.align_corners ? (at + 1) / 2 * (n - 1) : ((at + 1) * n - 1) / 2;
    return o.border ? std::min(std::max(here, 0.0), n - 1) : here;
  };
  for (int64_t i = 0; i < y.numel(); ++i) {
    const int64_t plane = i / points, p = plane / channels * points + i % points;
    const double at_w = place(grid[2 * p], w), at_h = place(grid[2 * p + 1], h);
    const auto element = [&](double row, double column) {
      if (row < 0 || column < 0 || row >= static_cast<double>(h) || column >= static_cast<double>(w))
        return 0.0;
      return x[(plane * h + static_cast<int64_t>(row)) * w + static_cast<int64_t>(column)];
    };
    if (std::isnan(at_w) || std::isnan(at_h)) {
      y[i] = std::nan("");
    } else if (o.nearest) {
      y[i] = element(std::nearbyint(at_h), std::nearbyint(at_w));
    } else {
      const double row = std::floor(at_h), column = std::floor(at_w), th = at_h - row, tw = at_w - column;
      y[i] = (1 - th) * ((1 - tw) * element(row, column) + tw * element(row, column + 1)) +
             th * ((1 - tw) * element(row + 1, column) + tw * element(row + 1, column + 1));
    }
  }
  return y;
}

Case sample_case(const std::string& name, const GridSampleOptions& o) {
  // Where a sample passes from one pair of elements to the next its derivative jumps.
  std::vector<double> kinks;
  for (const double size : {4.0, 5.0})
    for (double k = -2; k <= size + 1; k += 0.5) {
      const bool at_elements = k == std::floor(k);
      if (at_elements != o.nearest || o.border)
        kinks.push_back(o.align_corners ? 2 * k / (size - 1) - 1 : (2 * k + 1) / size - 1);
    }
  return {.name = name,
          .arguments = {{.shape = {2, 3, 4, 5}},
                        {.shape = {2, 3, 6, 2}, .low = -1.5, .high = 1.5, .avoid = kinks, .margin = 0.005}},
          .build = [=](auto xs) { return std::vector{grid_sample(xs[0], xs[1], o)}; },
          .reference = [=](auto xs) { return std::vector{sampled(xs[0], xs[1], o)}; }};
}
// Coordinates that are far outside, or no numbers.
Case far_case(const std::string& name, bool border) {
  const auto image = [] {
    Array x({1, 1, 4, 5}, DType::f32);
    for (int64_t i = 0; i < 20; ++i) x.set(i, static_cast<double>(i) + 1);
    return x;
  };
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> points{1e30f, 0, -inf, -1e9f, nan, 0, 0, nan, 0.1f, -0.2f};
  return {.name = name,
          .build =
              [=](auto) {
                return std::vector{grid_sample(image(), Array({1, 1, 5, 2}, std::span<const float>(points)),
                                               {.border = border})};
              },
          .reference =
              [=](auto) {
                Reference x({1, 1, 4, 5}), grid({1, 1, 5, 2});
                for (int64_t i = 0; i < 20; ++i) x[i] = static_cast<double>(i) + 1;
                for (int64_t i = 0; i < 10; ++i)
                  grid[i] = std::clamp<double>(points[static_cast<size_t>(i)], -1e6, 1e6);
                return std::vector{sampled(x, grid, {.border = border})};
              }};
}
const bool kGridSampleRow =
    add_row({.op = "grid_sample",
             .cases = {sample_case("bilinear, zeros", {}), sample_case("bilinear, border", {.border = true}),
                       sample_case("bilinear, zeros, corners", {.align_corners = true}),
                       sample_case("bilinear, border, corners", {.border = true, .align_corners = true}),
                       sample_case("nearest, zeros", {.nearest = true}),
                       sample_case("nearest, border, corners",
                                   {.nearest = true, .border = true, .align_corners = true}),
                       far_case("far outside", false), far_case("far outside, border", true)}});

// ---- roi_align

// As torchvision.ops.roi_align computes it, sample by sample.
Reference aligned(const Reference& x, const Reference& rois, int64_t out_h, int64_t out_w,
                  const RoiAlignOptions& o) {
  const int64_t channels = x.shape[1], h = x.shape[2], w = x.shape[3], k = rois.shape[0];
  Reference y({k, channels, out_h, out_w});
  const auto sample = [&](int64_t plane, double row, double column) {
    if (row < -1 || row > static_cast<double>(h) || column < -1 || column > static_cast<double>(w))
      return 0.0;
    const auto split = [](double at, int64_t size, int64_t& low, int64_t& high) {
      at = std::max(at, 0.0);
      low = static_cast<int64_t>(at);
      if (low >= size - 1) {
        low = high = size - 1;
        return 0.0;
      }
      high = low + 1;
      return at - static_cast<double>(low);
    };
    int64_t top, bottom, left, right;
    const double tr = split(row, h, top, bottom), tc = split(column, w, left, right);
    const auto at = [&](int64_t a, int64_t b) { return x[(plane * h + a) * w + b]; };
    return (1 - tr) * ((1 - tc) * at(top, left) + tc * at(top, right)) +
           tr * ((1 - tc) * at(bottom, left) + tc * at(bottom, right));
  };
  int64_t i = 0;
  for (int64_t r = 0; r < k; ++r) {
    const double shift = o.aligned ? 0.5 : 0;
    const auto coordinate = [&](int64_t which) { return rois[5 * r + which] * o.spatial_scale - shift; };
    const double image = rois[5 * r], start_h = coordinate(2), start_w = coordinate(1);
    double size_h = coordinate(4) - start_h, size_w = coordinate(3) - start_w;
    if (!o.aligned) size_h = std::max(size_h, 1.0), size_w = std::max(size_w, 1.0);
    const double bin_h = size_h / static_cast<double>(out_h), bin_w = size_w / static_cast<double>(out_w);
    const auto count = [&](double bin) {
      return o.sampling_ratio ? static_cast<double>(o.sampling_ratio) : std::ceil(bin);
    };
    const double rows = count(bin_h), columns = count(bin_w);
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t a = 0; a < out_h; ++a)
        for (int64_t b = 0; b < out_w; ++b, ++i) {
          if (image < 0 || image >= static_cast<double>(x.shape[0])) {
            y[i] = std::nan("");
            continue;
          }
          for (double s = 0; s < rows; ++s)
            for (double t = 0; t < columns; ++t)
              y[i] += sample(static_cast<int64_t>(image) * channels + c,
                             start_h + static_cast<double>(a) * bin_h + (s + 0.5) * bin_h / rows,
                             start_w + static_cast<double>(b) * bin_w + (t + 0.5) * bin_w / columns);
          y[i] /= std::max(rows * columns, 1.0);
        }
  }
  return y;
}
// Inside, across the border, all of the image and more, smaller than an element, outside, turned around.
const std::vector<float> kRegions{0, 1.2f, 0.7f, 5.3f, 4.9f, 1, -3.1f, 2.2f, 3.4f, 9.6f,
                                  1, -2,   -2,   12,   12,   0, 2.3f,  2.1f, 2.6f, 2.3f,
                                  0, 20,   21,   25,   26,   1, 5,     4.5f, 2.5f, 1.1f};
Case align_case(const std::string& name, const RoiAlignOptions& o, int64_t out_h, int64_t out_w,
                float first_image = 0) {
  std::vector<float> regions = kRegions;
  regions[0] = first_image;
  return {.name = name,
          .arguments = {{.shape = {2, 3, 7, 8}}},
          .build =
              [=](auto xs) {
                return std::vector{
                    roi_align(xs[0], Array({6, 5}, std::span<const float>(regions)), out_h, out_w, o)};
              },
          .reference =
              [=](auto xs) {
                Reference rois({6, 5});
                for (int64_t i = 0; i < 30; ++i) rois[i] = regions[static_cast<size_t>(i)];
                return std::vector{aligned(xs[0], rois, out_h, out_w, o)};
              },
          // Positions of samples are rounded to f32, and a weight is as far off as they are.
          .tolerance = 5e-6,
          .gradient = first_image == 0};
}
const bool kRoiAlignRow =
    add_row({.op = "roi_align",
             .cases = {align_case("as many samples as elements", {}, 3, 2),
                       align_case("two samples", {.sampling_ratio = 2}, 2, 4),
                       align_case("aligned", {.aligned = true}, 3, 3),
                       align_case("aligned, scaled, three samples",
                                  {.spatial_scale = 0.5f, .sampling_ratio = 3, .aligned = true}, 2, 2),
                       align_case("an image that is not there", {.sampling_ratio = 1}, 2, 2, 2)}});

// ---- nms

double overlap(const Reference& boxes, int64_t a, int64_t b) {
  const auto area = [&](int64_t i) {
    return (boxes[4 * i + 2] - boxes[4 * i]) * (boxes[4 * i + 3] - boxes[4 * i + 1]);
  };
  double both = 1;
  for (int64_t d = 0; d < 2; ++d)
    both *= std::max(0.0, std::min(boxes[4 * a + 2 + d], boxes[4 * b + 2 + d]) -
                              std::max(boxes[4 * a + d], boxes[4 * b + d]));
  return both / (area(a) + area(b) - both);
}
// Boxes on a coarse lattice, so that f32 computes overlaps as the reference does, with some equal scores.
Case nms_case(const std::string& name, int64_t n, double threshold, bool equal_scores = false) {
  const auto boxes = [=] {
    Array array({n, 4}, DType::f32);
    for (int64_t i = 0; i < n; ++i) {
      const int64_t x = i * 37 % 29, y = i * 53 % 23, w = 4 + i * 7 % 9, h = 4 + i * 5 % 7;
      const int64_t values[] = {x, y, x + w, y + h};
      for (int64_t k = 0; k < 4; ++k) array.set(4 * i + k, static_cast<double>(values[k]));
    }
    return array;
  };
  const auto score = [=](int64_t i) {
    return equal_scores ? static_cast<double>(i % 3) : std::sin(static_cast<double>(i) * 1.3);
  };
  return {
      .name = name,
      .build =
          [=](auto) {
            Array scores({n}, DType::f32);
            for (int64_t i = 0; i < n; ++i) scores.set(i, score(i));
            const auto [keep, count] = nms(boxes(), scores, static_cast<float>(threshold));
            return std::vector{keep, count};
          },
      .reference =
          [=](auto) {
            const Array array = boxes();
            Reference b({n, 4}), keep({n}, std::vector<double>(static_cast<size_t>(n), -1)), count(Shape{});
            for (int64_t i = 0; i < 4 * n; ++i) b[i] = array.at(i);
            std::vector<int64_t> order(static_cast<size_t>(n)), kept;
            std::iota(order.begin(), order.end(), 0);
            std::stable_sort(order.begin(), order.end(),
                             [&](int64_t p, int64_t q) { return score(p) > score(q); });
            for (const int64_t i : order)
              if (std::ranges::none_of(kept, [&](int64_t k) { return overlap(b, k, i) > threshold; })) {
                keep[static_cast<int64_t>(kept.size())] = static_cast<double>(i);
                kept.push_back(i);
              }
            count[0] = static_cast<double>(kept.size());
            return std::vector{keep, count};
          }};
}
const bool kNmsRow =
    add_row({.op = "nms",
             .cases = {nms_case("150 boxes", 150, 0.3), nms_case("equal scores", 40, 0.21, true),
                       nms_case("a low threshold", 70, 0.01), nms_case("nothing overlaps so much", 20, 0.99),
                       nms_case("one box", 1, 0.5)}});

}  // namespace
}  // namespace stithy::testing
