// shaders/conv.comp states the formulas.
#include "engine/ops/conv.h"

#include <algorithm>
#include <numeric>

#include "engine/graph/plan.h"
#include "engine/ops/elements.h"
#include "engine/ops/product.h"
#include "engine/ops/rows.h"
#include "shaders/conv.h"
#include "shaders/conv_shared.h"
#include "shaders/copy.h"
#include "shaders/sum_slices.h"

namespace stithy {
namespace {

uint32_t u32(int64_t value) { return static_cast<uint32_t>(value); }
int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

ConvAxes spatial(const Shape& shape) {
  ConvAxes axes{1, 1, 1};
  const int n = shape.rank() - 2;
  for (int i = 0; i < n; ++i) axes[static_cast<size_t>(kConvAxes - n + i)] = shape[2 + i];
  return axes;
}
int64_t product(const ConvAxes& axes) { return axes[0] * axes[1] * axes[2]; }

// Strides of the axes of a dense tensor.
ConvAxes dense(const ConvAxes& size) { return {size[1] * size[2], size[2], 1}; }

// Output place q of an axis sees the input at base + q step + t tap_step for t below taps.
struct Problem {
  int64_t batches = 1, groups = 1, channels = 1, rows = 1;  // channels in and out of a group
  ConvAxes in{}, out{}, base{}, step{}, taps{}, tap_step{};
  int64_t y_offset = 0, y_row = 0;
  ConvAxes y_step{};
  int64_t w_offset = 0, w_group = 0, w_row = 0, w_channel = 0;
  ConvAxes w_tap{};

  double multiplications() const {
    return static_cast<double>(batches * groups * channels * rows) *
           static_cast<double>(product(out) * product(taps));
  }
};

// y = conv(x, w): also the problem whose weights' gradient is sought.
Problem forward_problem(const ConvGeometry& o, const Shape& x, const Shape& w, const Shape& y) {
  Problem p{.batches = x[0],
            .groups = o.groups,
            .channels = w[1],
            .rows = w[0] / o.groups,
            .in = spatial(x),
            .out = spatial(y),
            .step = o.stride,
            .taps = spatial(w),
            .tap_step = o.dilation};
  for (size_t d = 0; d < kConvAxes; ++d) p.base[d] = -o.padding[d];
  p.y_row = product(p.out);
  p.y_step = dense(p.out);
  p.w_tap = dense(p.taps);
  p.w_channel = product(p.taps);
  p.w_row = p.channels * p.w_channel;
  p.w_group = p.rows * p.w_row;
  return p;
}

// y = conv_transpose(x, w): for each remainder of the output's places by the stride a convolution of its own,
// with those taps that reach it from whole places of x.
std::vector<Problem> transposed_problems(const ConvGeometry& o, const Shape& x, const Shape& w,
                                         const Shape& y) {
  const ConvAxes taps = spatial(w), out = spatial(y), tap_strides = dense(taps), y_strides = dense(out);
  Problem whole{.batches = x[0],
                .groups = o.groups,
                .channels = w[0] / o.groups,
                .rows = w[1],
                .in = spatial(x),
                .step = {1, 1, 1},
                .y_row = product(out),
                .w_row = product(taps)};
  whole.w_channel = whole.rows * whole.w_row;
  whole.w_group = whole.channels * whole.w_channel;
  std::vector<Problem> problems;
  ConvAxes phase{};
  for (phase[0] = 0; phase[0] < o.stride[0]; ++phase[0])
    for (phase[1] = 0; phase[1] < o.stride[1]; ++phase[1])
      for (phase[2] = 0; phase[2] < o.stride[2]; ++phase[2]) {
        Problem p = whole;
        for (size_t d = 0; d < kConvAxes; ++d) {
          const int64_t s = o.stride[d], shared = std::gcd(s, o.dilation[d]), every = s / shared;
          p.out[d] = divide_up(out[d] - phase[d], s);
          p.y_offset += phase[d] * y_strides[d];
          p.y_step[d] = s * y_strides[d];
          int64_t first = 0;  // tap
          while (first < std::min(taps[d], every) &&
                 (phase[d] + o.padding[d] - first * o.dilation[d]) % s != 0)
            ++first;
          if (first == std::min(taps[d], every)) {  // none reaches these places: the sum of no channels is 0
            p.channels = 0;
            p.taps[d] = p.tap_step[d] = 1;
            continue;
          }
          // From the last to the first, so that they ascend in x.
          p.taps[d] = divide_up(taps[d] - first, every);
          p.tap_step[d] = o.dilation[d] / shared;
          p.base[d] = (phase[d] + o.padding[d] - first * o.dilation[d]) / s - (p.taps[d] - 1) * p.tap_step[d];
          p.w_tap[d] = -every * tap_strides[d];
          p.w_offset += (first + (p.taps[d] - 1) * every) * tap_strides[d];
        }
        if (product(p.out) > 0) problems.push_back(p);
      }
  return problems;
}

// ConvAxes of a single tap that covers all are walked as one: a strip need not end with a row of an image.
Problem merged(Problem p) {
  const auto plain = [&](size_t d) {
    return p.taps[d] == 1 && p.step[d] == 1 && p.base[d] == 0 && p.in[d] == p.out[d];
  };
  for (size_t d = kConvAxes - 1; d > 0; --d)
    for (size_t outer = d; outer-- > 0 && plain(d) && plain(outer) &&
                           (p.out[outer] == 1 || p.y_step[outer] == p.out[d] * p.y_step[d]);) {
      p.in[d] *= p.in[outer];
      p.out[d] = p.in[d];
      p.in[outer] = p.out[outer] = 1;
    }
  return p;
}

// Taps along w that are unrolled together.
int64_t unrolled_taps(int64_t taps) {
  if (taps <= 11) return taps;
  int64_t most = 8;
  while (taps % most != 0) --most;
  return most;
}

// One way to compute a problem.
struct Candidate {
  uint32_t local_size = 64, lanes = 1, rows = 4, cols = 4, channels = 1, unroll = 1;
  bool texels = false, vectors = false;  // vectors: x is read so
  bool by_rows = false;                  // of the weights' gradient: conv_weight_rows
  uint32_t k_tile = 0, lanes_n = 16;     // of tiles in shared memory; 0 for none

  int64_t tile_m() const { return local_size / lanes_n * rows; }
  int64_t tile_n() const { return lanes_n * cols; }
  std::string label() const {
    if (k_tile) return cat("shared memory ", tile_m(), "x", tile_n(), " of ", rows, "x", cols);
    if (by_rows) return cat("a workgroup a weight, strips of ", cols);
    return cat(texels ? "texels " : "registers ", rows, "x", cols, channels > 1 ? cat("x", channels) : "",
               lanes > 1 ? " broadcast" : "", vectors ? " vectors" : "",
               unroll > 1 ? cat(" unrolled ", unroll) : "");
  }
  friend bool operator==(const Candidate&, const Candidate&) = default;
};
using Candidates = std::vector<Candidate>;

void add(Candidates& candidates, const Candidate& candidate) {
  if (std::ranges::find(candidates, candidate) == candidates.end()) candidates.push_back(candidate);
}

// The width of a strip of at most `most`: few strips with few idle columns. A strip costs two columns beside
// its own.
uint32_t strip_of(int64_t size, int64_t most) {
  const auto cost = [&](int64_t width) { return divide_up(size, width) * (width + 2); };
  int64_t best = 1;
  for (int64_t width = 2; width <= most; ++width)
    if (cost(width) <= cost(best)) best = width;
  return u32(best);
}

// Few blocks of up to `most` of `count` channels, all alike.
uint32_t block_of(int64_t count, int64_t most) {
  return u32(divide_up(count, divide_up(count, std::max<int64_t>(most, 1))));
}

bool fits_texels(const vk::DeviceInfo& device, const Tensor& x) {
  return device.texel_alignment <= std::max<uint64_t>(device.storage_alignment, 16) &&  // windows, too
         storage_bytes(
             x.node()->out(x.output()).storage_node->out(x.node()->out(x.output()).storage_output)) /
                 16 <=
             device.max_texel_elements;
}
bool whole_vectors(std::initializer_list<int64_t> values) {
  return std::ranges::all_of(values, [](int64_t v) { return v % 4 == 0; });
}
// Where segments of strips of `cols` lie within vectors of x; 4 where they do not lie alike.
uint32_t phase_of(const Problem& p, int64_t x_offset, int64_t cols) {
  if (!whole_vectors({p.in[2], x_offset, cols * p.step[2]}) || unrolled_taps(p.taps[2]) != p.taps[2])
    return 4;
  return u32((p.base[2] % 4 + 4) % 4);
}

// Tiles of shared memory for a product m x k x n, the best first: little of a tile may be idle, and tiles
// enough fill the device. An invocation has at most `most_sums`.
void add_tiles(Candidates& candidates, const vk::DeviceInfo& device, int64_t m, int64_t k, int64_t n,
               uint32_t most_sums) {
  constexpr int64_t kFill = 160;
  if (device.is_cpu() || m < 8 || k < 8 || n < 8) return;
  Candidates tiles;
  for (const Candidate& tile : {Candidate{.local_size = 256, .rows = 8, .cols = 8, .k_tile = 8},
                                Candidate{.local_size = 128, .rows = 8, .cols = 4, .k_tile = 16},
                                Candidate{.local_size = 64, .rows = 4, .cols = 4, .k_tile = 16}}) {
    if (tile.rows * tile.cols > most_sums) continue;
    const int64_t shared = (tile.tile_m() + tile.tile_n() + 8) * tile.k_tile * 4;
    if (tile.local_size <= device.max_workgroup_invocations && shared <= device.shared_memory)
      tiles.push_back(tile);
  }
  const auto cost = [&](const Candidate& t) {
    const int64_t groups = divide_up(m, t.tile_m()) * divide_up(n, t.tile_n());
    // The time of a tile, by what it computes and what it loads, in rounds that the device takes.
    return divide_up(groups, kFill) * t.tile_m() * t.tile_n() * (16 + 1024 / (t.tile_m() + t.tile_n()));
  };
  std::ranges::stable_sort(tiles, {}, cost);
  for (const Candidate& tile : tiles) add(candidates, tile);
}

bool is_one_subgroup(const vk::DeviceInfo& device) { return device.is_cpu() && device.fixed_subgroup_size; }

// The first is good without measuring, the last is the plain one.
Candidates conv_candidates(const vk::DeviceInfo& device, const Problem& p, const Tensor& x, const Tensor& w) {
  Candidates candidates;
  const int64_t taps = unrolled_taps(p.taps[2]);
  const bool texels =
      device.fast_texels && p.rows % 4 == 0 && fits_texels(device, x) && fits_texels(device, w);
  const auto offer = [&](int64_t rows, int64_t cols, int64_t most) {
    const uint32_t width = strip_of(p.out[2], cols), lanes = device.subgroup_size;
    // More products in a row compile for many seconds.
    uint32_t block = block_of(p.rows, std::min(rows, most / (width * taps)));
    const int64_t unroll = p.taps[1] * width * taps * block <= most ? p.taps[1] : 1;
    if (texels) block = u32(divide_up(block, 4) * 4);
    add(candidates, {.local_size = lanes,
                     .lanes = !texels && block > 1 ? lanes : 1,
                     .rows = block,
                     .cols = width,
                     .unroll = u32(unroll),
                     .texels = texels,
                     .vectors = phase_of(p, x.offset(), width) < 4});
  };
  if (is_one_subgroup(device)) {
    if (device.fast_texels) {
      // What these drivers do with sums that are not in registers costs more than loading the weights more
      // often.
      offer(4, 16, 300);
      offer(16, 16, 1200);
      offer(16, 8, 600);
    } else {
      offer(16, 8, 1200);
      offer(16, 8, 600);
      offer(8, 8, 600);
      offer(32, 8, 1200);
    }
  }
  add_tiles(candidates, device, p.rows, p.channels * product(p.taps), p.batches * product(p.out),
            device.few_registers ? 16 : 64);
  const uint32_t rows = block_of(p.rows, device.few_registers ? 2 : 4);
  add(candidates, {.local_size = std::min(64u, device.max_workgroup_invocations),
                   .rows = rows,
                   .cols = rows == 1 && !device.is_cpu() ? 1 : strip_of(p.out[2], 4)});
  return candidates;
}

Candidates weight_candidates(const vk::DeviceInfo& device, const Problem& p, const Tensor& x,
                             const Tensor& dy) {
  Candidates candidates;
  const int64_t taps = unrolled_taps(p.taps[2]), sums = p.channels * product(p.taps) / taps;
  const bool texels = device.fast_texels && fits_texels(device, x) && fits_texels(device, dy);
  const auto offer = [&](int64_t rows, int64_t channels) {
    const uint32_t lanes = device.subgroup_size, width = strip_of(p.out[2], 8);
    const int64_t each = std::clamp<int64_t>(sums / lanes, 1, channels);
    add(candidates, {.local_size = lanes,
                     .lanes = texels ? 1 : lanes,
                     .rows = block_of(p.rows, std::min<int64_t>(rows, 640 / (width * taps * each))),
                     .cols = width,
                     .channels = u32(each),
                     .texels = texels,
                     .vectors = phase_of(p, x.offset(), width) < 4});
  };
  const bool few = p.rows * sums < 64;
  const Candidate by_rows{.rows = 1, .cols = strip_of(p.out[2], 8), .by_rows = true};
  if (few) add(candidates, by_rows);
  // Places that do not lie in fours take registers of their own: with 64 sums NVK (Mesa 26.2.6, Ampere)
  // spills 22.
  add_tiles(candidates, device, p.rows, p.batches * product(p.out), p.channels * product(p.taps),
            device.few_registers || p.out[2] % 4 != 0 || dy.offset() % 4 != 0 ? 32 : 64);
  if (is_one_subgroup(device)) {
    offer(16, taps == 1 ? 4 : texels ? 2 : 1);
    offer(8, taps == 1 ? 8 : 2);
  }
  if (!few) add(candidates, by_rows);
  add(candidates, {.local_size = std::min(64u, device.max_workgroup_invocations),
                   .rows = block_of(p.rows, device.few_registers ? 1 : 4),
                   .cols = strip_of(p.out[2], 4)});
  return candidates;
}

Candidate choose(Launch& launch, const char* kernel, const Problem& p, const Candidates& candidates) {
  std::string key = cat(kernel, " f32 batch ", size_bucket(p.batches * p.groups), " channels ",
                        size_bucket(p.channels), " to ", size_bucket(p.rows), " size");
  for (size_t d = 0; d < kConvAxes; ++d) {
    key += cat(d ? "x" : " ", size_bucket(p.out[d]));
    if (p.taps[d] > 1 || p.step[d] > 1) key += cat("(", p.taps[d], ",", p.step[d], ",", p.tap_step[d], ")");
  }
  Choice choice{.key = key, .labels = {}, .plain = candidates.size() - 1};
  for (const Candidate& candidate : candidates) choice.labels.push_back(candidate.label());
  return candidates[launch.choose(std::move(choice))];
}

template <class Kernel>
void fill_kernel(Kernel& kernel, const Problem& p, const Candidate& candidate, int64_t x_offset) {
  auto& spec = kernel.spec;
  spec.local_size_x = candidate.local_size;
  spec.ROWS = candidate.rows;
  spec.COLS = candidate.cols;
  int64_t taps = p.taps[2];
  if constexpr (requires { spec.K_TILE; }) {
    spec.K_TILE = candidate.k_tile;
    spec.LANES_N = candidate.lanes_n;
    spec.QUADS = p.out[2] % 4 == 0;
  } else {
    taps = unrolled_taps(taps);
    spec.BLOCKS_W = u32(p.taps[2] / taps);
    spec.X_PHASE = candidate.vectors ? phase_of(p, x_offset, candidate.cols) : 4;
  }
  spec.TAPS_D = u32(p.taps[0]), spec.TAPS_H = u32(p.taps[1]), spec.TAPS_W = u32(taps);
  spec.STEP_D = u32(p.step[0]), spec.STEP_H = u32(p.step[1]), spec.STEP_W = u32(p.step[2]);
  spec.TAP_STEP_D = u32(p.tap_step[0]), spec.TAP_STEP_H = u32(p.tap_step[1]),
  spec.TAP_STEP_W = u32(p.tap_step[2]);
  kernel.push.batches = u32(p.batches);
  kernel.push.groups = u32(p.groups);
  kernel.push.channels = u32(p.channels);
  kernel.push.rows = u32(p.rows);
  for (size_t d = 0; d < kConvAxes; ++d) {
    kernel.push.in_size[d] = u32(p.in[d]);
    kernel.push.out_size[d] = u32(p.out[d]);
    kernel.push.base[d] = static_cast<int32_t>(p.base[d]);
  }
}

int64_t strips_of(const Problem& p, const Candidate& candidate) {
  return p.batches * p.out[0] * p.out[1] * divide_up(p.out[2], candidate.cols);
}

// The weights with their rows side by side.
Ref pack_weights(Problem& p, const Tensor& w, const Ref& ref, Launch& launch) {
  const Shape shape{p.groups, p.channels, p.taps[0], p.taps[1], p.taps[2], p.rows};
  const Shape strides{p.w_group, p.w_channel, p.w_tap[0], p.w_tap[1], p.w_tap[2], p.w_row};
  const Elements elements =
      walk_elements(shape, {{strides, w.offset() + p.w_offset}, {contiguous_strides(shape), 0}});
  shaders::copy copy{.x = ref, .y = launch.scratch(static_cast<uint64_t>(shape.numel()) * 4)};
  copy.push = {.count = elements.count, .x_offset = elements[0].offset};
  std::ranges::copy(elements.shape, std::begin(copy.push.shape));
  std::ranges::copy(elements[0].strides, std::begin(copy.push.x_strides));
  copy.spec.DIMS = elements.dims;
  copy.spec.X_MODE = elements[0].mode;
  copy.spec.X_DTYPE = copy.spec.Y_DTYPE = static_cast<uint32_t>(DType::f32);
  launch_elements(launch, copy, elements.count);
  p.w_offset = 0;
  p.w_row = 1;
  const ConvAxes taps = dense(p.taps);
  for (size_t d = 0; d < kConvAxes; ++d) p.w_tap[d] = taps[d] * p.rows;
  p.w_channel = product(p.taps) * p.rows;
  p.w_group = p.channels * p.w_channel;
  return copy.y;
}

// A single tap: the weights, a matrix, times each item of the batch.
bool is_product(const Problem& p) {
  return product(p.taps) == 1 && p.groups == 1 && p.channels > 0 && p.out[0] == 1 && p.out[1] == 1 &&
         p.in == p.out && p.base == ConvAxes{} && p.step[2] == 1 && p.y_step[2] == 1;
}
void launch_as_product(const Problem& p, const Tensor& x, const Tensor& w, Launch& launch) {
  const auto bytes = [](const Ref& ref) { return storage_bytes(ref.node->out(ref.output)); };
  Product product{.k = p.channels, .batches = p.batches, .c_m = p.out[2]};
  product.a = {.storage = launch.in(1),
               .bytes = bytes(launch.in(1)),
               .offset = w.offset(),
               .size = p.rows,
               .stride = p.w_row,
               .k_stride = p.w_channel};
  product.b = {.storage = launch.in(0),
               .bytes = bytes(launch.in(0)),
               .offset = x.offset(),
               .size = p.in[2],
               .stride = 1,
               .k_stride = p.in[2]};
  product.shape.back() = p.batches;
  product.b.batch.back() = p.batches > 1 ? p.channels * p.in[2] : 0;
  launch_product(launch, product, launch.out(), false);
}

// y = the sum of `number` slices, `stride` elements apart.
void launch_slices(Launch& launch, const Ref& slices, const Ref& y, int64_t count, int64_t number,
                   int64_t stride) {
  launch(
      shaders::sum_slices{
          .x = slices, .y = y, .push = {.count = u32(count), .slices = u32(number), .stride = u32(stride)}},
      launch.grid(static_cast<uint64_t>(divide_up(count, 64))));
}

// The most slices of `count` elements that memory is spent on.
int64_t most_slices(const Launch& launch, int64_t count) {
  const uint64_t bytes = std::min<uint64_t>(launch.binding_limit(), 64 << 20);
  return std::max<int64_t>(1, static_cast<int64_t>(bytes / 4) / count);
}

void launch_problem(const Problem& whole, const Tensor& x, const Tensor& w, Launch& launch) {
  Problem p = merged(whole);
  if (is_product(p)) return launch_as_product(p, x, w, launch);
  const Candidate candidate = choose(launch, "conv", p, conv_candidates(launch.device(), p, x, w));
  const bool dense_weights = p.w_tap == dense(p.taps) && p.w_channel == product(p.taps) && p.w_offset == 0;
  const bool packs = p.channels > 0 && (candidate.texels || (candidate.k_tile && !dense_weights));
  const Ref weights = packs ? pack_weights(p, w, launch.in(1), launch) : launch.in(1);
  const auto fill = [&](auto kernel) {
    kernel.x = launch.in(0);
    kernel.w = weights;
    kernel.y = launch.out();
    fill_kernel(kernel, p, candidate, x.offset());
    kernel.spec.Y_VEC4 =
        p.y_step[2] == 1 && whole_vectors({candidate.cols, p.out[2], p.y_offset, p.y_row,
                                           p.out[0] == 1 ? 0 : p.y_step[0], p.out[1] == 1 ? 0 : p.y_step[1]});
    kernel.push.x_offset = u32(x.offset());
    kernel.push.w_offset = u32(p.w_offset + (packs ? 0 : w.offset()));
    kernel.push.y_offset = u32(p.y_offset);
    kernel.push.y_row = u32(p.y_row);
    kernel.push.w_group = u32(p.w_group);
    kernel.push.w_row = u32(p.w_row);
    for (size_t d = 0; d < kConvAxes; ++d) kernel.push.y_step[d] = u32(p.y_step[d]);
    return kernel;
  };
  if (candidate.k_tile) {
    auto kernel = fill(shaders::conv_shared{});
    const int64_t k = p.channels * product(p.taps), count = p.batches * p.groups * p.rows * product(p.out);
    kernel.push.w_k = u32(packs ? p.rows : 1);
    const bool aligned = whole_vectors({kernel.push.w_offset, p.w_group, packs ? p.rows : p.w_row});
    kernel.spec.W_LAYOUT = packs ? (aligned ? 2 : 0) : aligned ? 1 : 3;
    const int64_t groups = divide_up(p.rows, candidate.tile_m()) *
                           divide_up(p.batches * product(p.out), candidate.tile_n()) * p.groups;
    // Only dense outputs can be made of slices; more than 64, or shorter ones than 256, do not pay.
    int64_t slices = p.y_offset == 0 && count == launch.out().node->out().shape.numel()
                         ? std::clamp<int64_t>(256 / groups, 1, std::clamp<int64_t>(k / 256, 1, 64))
                         : 1;
    slices = std::min(slices, most_slices(launch, count));
    const int64_t k_chunk = divide_up(divide_up(k, slices), candidate.k_tile) * candidate.k_tile;
    slices = divide_up(k, k_chunk);
    kernel.push.k_chunk = u32(k_chunk);
    kernel.push.y_slice = u32(count);
    if (slices > 1) kernel.y = launch.scratch(static_cast<uint64_t>(slices * count) * 4);
    launch(kernel, launch.grid(static_cast<uint64_t>(groups * slices)));
    if (slices > 1) launch_slices(launch, kernel.y, launch.out(), count, slices, count);
    return;
  }
  const auto call = [&](auto kernel) {
    kernel.spec.LANES = candidate.lanes;
    kernel.spec.W_VEC4 = packs;
    kernel.spec.UNROLL_H = candidate.unroll;
    kernel.push.w_channel = u32(p.w_channel);
    for (size_t d = 0; d < kConvAxes; ++d) kernel.push.w_tap[d] = u32(p.w_tap[d]);
    launch(kernel, launch.grid(static_cast<uint64_t>(
                       divide_up(p.rows, candidate.rows) *
                       divide_up(strips_of(p, candidate), candidate.local_size) * p.groups)));
  };
  if (candidate.texels)
    call(fill(shaders::conv_texel{}));
  else
    call(fill(shaders::conv{}));
}

// dw of the problem's batch; x and dy begin at the parts' offsets.
void launch_weight_of(const Problem& p, const Candidate& candidate, const Part& x, const Part& dy,
                      const Ref& y, Launch& launch) {
  const int64_t sums = p.channels * product(p.taps) / unrolled_taps(p.taps[2]);
  const int64_t count = p.groups * p.rows * p.channels * product(p.taps);
  // What is cut into slices: strips, or places; and the workgroups of one slice.
  const int64_t length = candidate.k_tile ? p.batches * product(p.out) : strips_of(p, candidate);
  const int64_t groups =
      p.groups * (candidate.k_tile ? divide_up(p.rows, candidate.tile_m()) *
                                         divide_up(p.channels * product(p.taps), candidate.tile_n())
                  : candidate.by_rows ? p.rows * sums
                                      : divide_up(p.rows, candidate.rows) *
                                            divide_up(sums, candidate.local_size * candidate.channels));
  const int64_t wanted = launch.device().is_cpu() ? 16 : 512, shortest = candidate.k_tile ? 256 : 32;
  int64_t slices = std::clamp<int64_t>(wanted / groups, 1, std::clamp<int64_t>(length / shortest, 1, 256));
  slices = std::min(slices, most_slices(launch, count));
  const int64_t unit = std::max(candidate.k_tile, 1u);
  const int64_t chunk = divide_up(divide_up(std::max<int64_t>(length, 1), slices), unit) * unit;
  slices = divide_up(std::max<int64_t>(length, 1), chunk);
  const Ref dw = slices == 1 ? y : launch.scratch(static_cast<uint64_t>(slices * count) * 4);
  const auto fill = [&](auto kernel) {
    fill_kernel(kernel, p, candidate, x.offset);
    kernel.x = x.ref;
    kernel.dy = dy.ref;
    kernel.dw = dw;
    kernel.push.x_offset = x.offset;
    kernel.push.dy_offset = dy.offset;
    if constexpr (requires { kernel.push.k_chunk; })
      kernel.push.k_chunk = u32(chunk);
    else
      kernel.push.slice_strips = u32(chunk);
    kernel.push.slices = u32(slices);
    return kernel;
  };
  const auto grid = [&] { return launch.grid(static_cast<uint64_t>(groups * slices)); };
  if (candidate.k_tile) {
    auto kernel = fill(shaders::conv_weight_shared{});
    kernel.spec.QUADS = kernel.spec.QUADS && dy.offset % 4 == 0;
    launch(kernel, grid());
  } else if (candidate.by_rows) {
    launch_rows(launch, fill(shaders::conv_weight_rows{}), static_cast<uint64_t>(groups * slices),
                static_cast<uint64_t>(chunk));
  } else {
    const auto call = [&](auto kernel) {
      kernel.spec.LANES = candidate.lanes;
      kernel.spec.CHANNELS = candidate.channels;
      kernel.spec.DY_VEC4 = whole_vectors({candidate.cols, p.out[2], dy.offset});
      launch(kernel, grid());
    };
    if (candidate.texels)
      call(fill(shaders::conv_weight_texel{}));
    else
      call(fill(shaders::conv_weight{}));
  }
  if (slices > 1) launch_slices(launch, dw, y, count, slices, count);
}

}  // namespace

void launch_conv(const Node& n, Launch& launch) {
  if (n.out().shape.numel() == 0) return;
  launch_problem(forward_problem(n.attrs<ConvGeometry>(), n.in(0).shape(), n.in(1).shape(), n.out().shape),
                 n.in(0), n.in(1), launch);
}

void launch_conv_transpose(const Node& n, Launch& launch) {
  if (n.out().shape.numel() == 0) return;
  for (const Problem& p :
       transposed_problems(n.attrs<ConvGeometry>(), n.in(0).shape(), n.in(1).shape(), n.out().shape))
    launch_problem(p, n.in(0), n.in(1), launch);
}

void launch_conv_weight(const Node& n, Launch& launch) {
  const Tensor &x = n.in(0), &dy = n.in(1);
  const int64_t count = n.out().shape.numel();
  if (count == 0) return;
  const Problem p = merged(forward_problem(n.attrs<ConvGeometry>(), x.shape(), n.out().shape, dy.shape()));
  const vk::DeviceInfo& device = launch.device();
  const Candidate candidate = choose(launch, "conv_weight", p, weight_candidates(device, p, x, dy));
  if (!beyond_binding(x, device) && !beyond_binding(dy, device))
    return launch_weight_of(p, candidate, {launch.in(0), u32(x.offset())}, {launch.in(1), u32(dy.offset())},
                            launch.out(), launch);
  const auto item = [](const Tensor& t) { return static_cast<uint64_t>(t.numel() / t.dim(0)); };
  const uint64_t items = std::min({rows_at_once(launch, "conv_weight", item(x), 1),
                                   rows_at_once(launch, "conv_weight", item(dy), 1), uint64_t(p.batches)});
  const uint64_t parts = (uint64_t(p.batches) + items - 1) / items;
  const uint64_t alignment = launch.window_alignment(),
                 slot = (uint64_t(count) * 4 + alignment - 1) / alignment * alignment / 4;
  const Ref sums = launch.scratch(parts * slot * 4);
  for (uint64_t part = 0; part < parts; ++part) {
    Problem of_part = p;
    of_part.batches =
        std::min<int64_t>(static_cast<int64_t>(items), p.batches - static_cast<int64_t>(part * items));
    const auto window = [&](int input, const Tensor& t) {
      return part_of(launch, launch.in(input), static_cast<uint64_t>(t.offset()) + part * items * item(t),
                     static_cast<uint64_t>(of_part.batches) * item(t));
    };
    Candidate possible = candidate;
    const Part x_part = window(0, x);
    possible.vectors = candidate.vectors && phase_of(p, x_part.offset, candidate.cols) < 4;
    launch_weight_of(of_part, possible, x_part, window(1, dy),
                     part_of(launch, sums, part * slot, static_cast<uint64_t>(count)).ref, launch);
  }
  launch_slices(launch, sums, launch.out(), count, static_cast<int64_t>(parts), static_cast<int64_t>(slot));
}

}  // namespace stithy
