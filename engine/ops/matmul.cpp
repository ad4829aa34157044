// Matrix products.
#include <algorithm>
#include <numeric>

#include "engine/graph/op.h"
#include "engine/graph/plan.h"
#include "engine/ops.h"
#include "engine/ops/product.h"
#include "engine/ops/rows.h"
#include "shaders/matmul.h"
#include "shaders/matmul_dot.h"
#include "shaders/matmul_shared.h"
#include "shaders/sum_slices.h"

namespace stithy {
namespace {

uint32_t u32(int64_t value) { return static_cast<uint32_t>(value); }
int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

using Operand = ProductOperand;
using Problem = Product;

// A_LAYOUT, B_LAYOUT of an operand in tiles `width` wide.
uint32_t layout_of(const Operand& o, uint32_t width, int64_t k) {
  return o.vec4_along_k() ? 1 : width % 4 == 0 && o.vec4_along_size(k) ? 2 : 0;
}

Problem problem_of(const Node& n, Launch& launch) {
  Problem p;
  const Shape& shape = n.out().shape;
  const int rank = shape.rank(), batch_dims = rank - 2;
  const auto operand = [&](int i, int own, int k_axis) {
    const Tensor& x = n.in(i);
    const int r = x.rank();
    Operand o{.storage = launch.in(i),
              .bytes = storage_bytes(launch.in(i).node->out(launch.in(i).output)),
              .offset = x.offset(),
              .size = x.shape()[r + own],
              .stride = x.strides()[r + own],
              .k_stride = x.strides()[r + k_axis]};
    for (int d = 0; d < batch_dims; ++d) {
      const int axis = d - batch_dims + r - 2;
      if (axis >= 0 && x.shape()[axis] != 1)
        o.batch[static_cast<size_t>(kBatchDims - batch_dims + d)] = x.strides()[axis];
    }
    return o;
  };
  p.a = operand(0, -2, -1);
  p.b = operand(1, -1, -2);
  p.k = n.in(0).shape().back();
  p.c_m = p.b.size;
  for (int d = 0; d < batch_dims; ++d) {
    p.shape[static_cast<size_t>(kBatchDims - batch_dims + d)] = shape[d];
    p.batches *= shape[d];
  }
  // A batch of a against one b is one tall a, where the strides allow.
  for (size_t d = kBatchDims; d-- > 0;) {
    if (p.shape[d] == 1) continue;
    if (p.b.batch[d] != 0 || p.a.batch[d] != p.a.stride * p.a.size) break;
    p.a.size *= p.shape[d];
    p.batches /= p.shape[d];
    p.shape[d] = 1;
    p.a.batch[d] = 0;
  }
  // A narrow product is computed as its transpose: lanes lie along n, and few columns would leave most idle.
  if (p.b.size < 32 && p.a.size > p.b.size) {
    std::swap(p.a, p.b);
    std::swap(p.c_m, p.c_n);
  }
  return p;
}

// The kernels that can compute a product. A family of cooperative matrices will stand before `shared`.
enum class Family : uint8_t {
  plain,   // registers alone
  texel,   // the same, operands read as texel buffers
  shared,  // parts of the operands in shared memory
  dot      // a workgroup an element, or a few
};

// One way to compute a product: by which kernel, in which tiles, in how many parts of k.
struct Candidate {
  Family family = Family::plain;
  uint32_t local_size = 256, lanes = 1, lanes_n = 16, rows = 4, cols = 4, k_tile = 16;
  int64_t target_groups = 256;  // fewer leave the device idle: k is cut

  int64_t tile_m() const { return family == Family::dot ? rows : local_size / lanes_n * rows; }
  int64_t tile_n() const { return family == Family::dot ? 1 : lanes_n * cols; }
  int64_t groups(const Problem& p) const {
    return divide_up(p.a.size, tile_m()) * divide_up(p.b.size, tile_n()) * p.batches;
  }
  std::string label() const {
    constexpr const char* kNames[] = {"registers ", "texels ", "shared memory ", "dot "};
    return cat(kNames[static_cast<size_t>(family)], tile_m(), "x", tile_n(), " of ", rows, "x", cols,
               lanes > 1 ? " broadcast" : "", target_groups > 1 ? " split" : "");
  }
  friend bool operator==(const Candidate&, const Candidate&) = default;
};
using Candidates = std::vector<Candidate>;

void add(Candidates& candidates, const Candidate& candidate) {
  if (std::ranges::find(candidates, candidate) == candidates.end()) candidates.push_back(candidate);
}

bool fits_texels(const vk::DeviceInfo& device, const Operand& o) {
  return device.texel_alignment <= kAlignment && o.bytes / 16 <= device.max_texel_elements;
}

// For CPU drivers: one subgroup a workgroup, no barriers.
void add_cpu_candidates(Candidates& candidates, const vk::DeviceInfo& device, const Problem& p) {
  // Single elements are no faster as texels.
  const bool texels = layout_of(p.a, 4, p.k) && layout_of(p.b, 4, p.k) && fits_texels(device, p.a) &&
                      fits_texels(device, p.b);
  const uint32_t lanes = device.subgroup_size;
  // Few blocks of up to `most` rows, all alike.
  const auto rows_of = [&](int64_t most) {
    const int64_t rows = divide_up(p.a.size, divide_up(p.a.size, most));
    return u32(rows == 1 ? 1 : divide_up(rows, 4) * 4);
  };
  const auto offer = [&](int64_t most_rows, uint32_t cols, bool from_texels, bool broadcast) {
    const uint32_t rows = rows_of(most_rows);
    // The most columns that leave work for all cores.
    while (cols > 4 && divide_up(p.b.size, cols * lanes) * divide_up(p.a.size, rows) < 8) cols /= 2;
    add(candidates, {.family = from_texels && texels ? Family::texel : Family::plain,
                     .local_size = lanes,
                     .lanes = broadcast ? lanes : 1,
                     .lanes_n = lanes,
                     .rows = rows,
                     .cols = p.b.size <= lanes ? 1 : cols,
                     .target_groups = 16});
  };
  // Larger ones compile for many seconds on some CPU drivers.
  const bool from_texels = device.fast_texels, broadcast = !device.slow_broadcast;
  // Sixteen columns pay where there are no broadcasts, and the product runs longer than it compiles.
  const bool large =
      2.0 * static_cast<double>(p.a.size * p.b.size * p.batches) * static_cast<double>(p.k) > 1e8;
  if (large && !broadcast) offer(16, 16, from_texels, broadcast);
  offer(16, 8, from_texels, broadcast);
  if (!broadcast) offer(16, 16, from_texels, broadcast);
  offer(16, 4, from_texels, broadcast);
  offer(8, 8, from_texels, broadcast);
  offer(16, 8, !from_texels, broadcast);
  offer(16, 8, from_texels, !broadcast);
}

void add_gpu_candidates(Candidates& candidates, const vk::DeviceInfo& device, const Problem& p) {
  struct Tile {
    uint32_t local_size, rows, cols, k_tile;
  };
  // Neighbours along n are 16. The first that fills the device is taken, else the last that fits.
  constexpr Tile kTiles[] = {{256, 8, 8, 8}, {128, 8, 4, 16}, {64, 4, 4, 16}};
  constexpr int64_t kFill = 160;
  Candidates tiles;
  for (const Tile& t : kTiles) {
    if (device.few_registers && t.rows * t.cols > 32) continue;
    const Candidate candidate{.family = Family::shared,
                              .local_size = t.local_size,
                              .rows = t.rows,
                              .cols = t.cols,
                              .k_tile = t.k_tile};
    const int64_t shared = (candidate.tile_m() + candidate.tile_n() + 8) * candidate.k_tile * 4;
    if (t.local_size <= device.max_workgroup_invocations && shared <= device.shared_memory)
      tiles.push_back(candidate);
  }
  const auto fills = [&](const Candidate& candidate) { return candidate.groups(p) >= kFill; };
  const auto best = std::ranges::find_if(tiles, fills);
  if (best != tiles.end())
    std::rotate(tiles.begin(), best, best + 1);
  else
    std::ranges::reverse(tiles);
  for (const Candidate& tile : tiles) add(candidates, tile);
}

// The first is good without measuring, the last is the plain one.
Candidates candidates_of(const vk::DeviceInfo& device, const Problem& p) {
  Candidate plain;
  plain.lanes_n = p.b.size <= 16 ? 4 : 16;
  plain.local_size = std::min(256u, device.max_workgroup_invocations);
  const bool one_subgroup = device.is_cpu() && device.fixed_subgroup_size;
  if (one_subgroup) plain.local_size = plain.lanes_n = device.subgroup_size;
  // Four rows by four columns, of which few lie side by side, spill up to 11 on Intel's up to mtl.
  if (device.few_registers) plain.cols = 1;

  Candidates candidates;
  if (p.a.size <= 4) {
    // Few rows: each column of b is read once, whatever the tile.
    const uint32_t rows = p.a.size == 1 ? 1 : 4;
    Candidate wide = plain;
    wide.rows = rows;
    if (layout_of(p.b, 4, p.k) != 0) wide.cols = 4;
    wide.lanes_n = wide.local_size = one_subgroup ? device.subgroup_size : 64;
    const Candidate dot{.family = Family::dot, .lanes_n = 1, .rows = rows, .cols = 1};
    const bool along_k = p.a.k_stride == 1 && p.b.k_stride == 1;
    if (along_k && !one_subgroup) add(candidates, dot);
    if (!one_subgroup) add(candidates, wide);
    if (one_subgroup) add_cpu_candidates(candidates, device, p);
    if (along_k) add(candidates, dot);
  } else if (one_subgroup) {
    add_cpu_candidates(candidates, device, p);
  } else {
    add_gpu_candidates(candidates, device, p);
  }
  plain.target_groups = 1;
  add(candidates, plain);
  return candidates;
}

// The call of one of the families' kernels: their arguments, constants and push constants have the same
// names.
template <class Kernel>
Kernel call_of(const Problem& p, const Candidate& candidate, int64_t k_chunk, Ref c) {
  Kernel kernel{.a = p.a.storage, .b = p.b.storage, .c = c};
  kernel.spec.local_size_x = candidate.local_size;
  kernel.spec.ROWS = candidate.rows;
  kernel.spec.A_LAYOUT = layout_of(p.a, candidate.rows, p.k);
  kernel.spec.B_LAYOUT = layout_of(p.b, candidate.cols, p.k);
  kernel.push = {.m = u32(p.a.size),
                 .n = u32(p.b.size),
                 .k = u32(p.k),
                 .a_offset = u32(p.a.offset),
                 .a_m = u32(p.a.stride),
                 .a_k = u32(p.a.k_stride),
                 .b_offset = u32(p.b.offset),
                 .b_k = u32(p.b.k_stride),
                 .b_n = u32(p.b.stride),
                 .c_m = u32(p.c_m),
                 .c_n = u32(p.c_n),
                 .k_chunk = u32(k_chunk),
                 .batches = u32(p.batches)};
  for (size_t d = 0; d < kBatchDims; ++d) {
    kernel.push.shape[d] = u32(p.shape[d]);
    kernel.push.a_batch[d] = u32(p.a.batch[d]);
    kernel.push.b_batch[d] = u32(p.b.batch[d]);
  }
  if constexpr (requires { kernel.spec.COLS; }) {
    kernel.spec.LANES_N = candidate.lanes_n;
    kernel.spec.COLS = candidate.cols;
    kernel.spec.C_VEC4 = p.c_n == 1 && p.c_m % 4 == 0 && candidate.cols % 4 == 0;
  }
  if constexpr (requires { kernel.spec.LANES; }) kernel.spec.LANES = candidate.lanes;
  if constexpr (requires { kernel.spec.K_TILE; }) {
    kernel.spec.K_TILE = candidate.k_tile;
    // A last vec4 that is not whole would need its parts masked.
    const auto by_elements = [&](uint32_t layout, const Operand& o) {
      return layout == 0 || (layout == 1 && p.k % 4 != 0) ? (o.k_stride == 1 ? 3 : 0) : layout;
    };
    kernel.spec.A_LAYOUT = by_elements(kernel.spec.A_LAYOUT, p.a);
    kernel.spec.B_LAYOUT = by_elements(kernel.spec.B_LAYOUT, p.b);
  }
  return kernel;
}

void launch_sum(Launch& launch, const Ref& slices, const Ref& y, int64_t count, int64_t number,
                int64_t stride) {
  shaders::sum_slices sum{.x = slices, .y = y};
  sum.push = {.count = u32(count), .slices = u32(number), .stride = u32(stride)};
  launch(sum, launch.grid(static_cast<uint64_t>(divide_up(count, sum.spec.local_size_x))));
}

}  // namespace

void launch_product(Launch& launch, const Problem& p, const Ref& c, bool gaps) {
  const Candidates candidates = candidates_of(launch.device(), p);
  Choice choice{.key = cat("f32 ", size_bucket(p.a.size), "x", size_bucket(p.k), "x", size_bucket(p.b.size),
                           " batch ", size_bucket(p.batches), " read ", layout_of(p.a, 4, p.k),
                           layout_of(p.b, 4, p.k), p.c_n == 1 ? "" : " transposed"),
                .labels = {},
                .plain = candidates.size() - 1};
  for (const Candidate& candidate : candidates) choice.labels.push_back(candidate.label());
  const Candidate candidate = candidates[launch.choose(std::move(choice))];
  // A small product of long sums is cut along k; more slices than 64 or shorter ones than 256 do not pay.
  int64_t slices = gaps ? 1
                        : std::clamp<int64_t>(candidate.target_groups / candidate.groups(p), 1,
                                              std::clamp<int64_t>(p.k / 256, 1, 64));
  const int64_t k_chunk = divide_up(divide_up(std::max<int64_t>(p.k, 1), slices), 4) * 4;
  slices = divide_up(std::max<int64_t>(p.k, 1), k_chunk);
  const int64_t count = p.count();
  const Ref y = slices == 1 ? c : launch.scratch(static_cast<uint64_t>(slices * count) * 4);
  const auto groups = static_cast<uint64_t>(candidate.groups(p) * slices);
  switch (candidate.family) {
    case Family::plain:
      launch(call_of<shaders::matmul>(p, candidate, k_chunk, y), launch.grid(groups));
      break;
    case Family::texel:
      launch(call_of<shaders::matmul_texel>(p, candidate, k_chunk, y), launch.grid(groups));
      break;
    case Family::shared:
      launch(call_of<shaders::matmul_shared>(p, candidate, k_chunk, y), launch.grid(groups));
      break;
    case Family::dot:
      launch_rows(launch, call_of<shaders::matmul_dot>(p, candidate, k_chunk, y), groups,
                  static_cast<uint64_t>(k_chunk));
      break;
  }
  if (slices > 1) launch_sum(launch, y, c, count, slices, count);
}

namespace {

// Cuts a product whose tensors are larger than a binding into products of windows: first batches, then rows
// and columns; sums along k are cut into slices where an operand's rows would otherwise all reach too far.
class ProductPieces {
 public:
  ProductPieces(const Node& node, Launch& launch)
      : node_(node),
        launch_(launch),
        out_alignment_(static_cast<int64_t>(launch.window_alignment() / 4)),
        alignment_(std::max<int64_t>(out_alignment_, kAlignment / 4)) {}

  // `c` is the first element of the output that p makes.
  void cut(const Problem& p, int64_t c) {
    const bool a_fits = fits(p, p.a), b_fits = fits(p, p.b), c_fits = fits(p, c);
    if (p.batches > 1 && !(a_fits && b_fits && c_fits)) return cut_batches(p, c);
    if ((!c_fits && p.c_m >= p.c_n) || (!a_fits && p.a.stride >= p.a.k_stride))
      return cut_size<&Problem::a>(p, c);
    if (!c_fits || (!b_fits && p.b.stride >= p.b.k_stride)) return cut_size<&Problem::b>(p, c);
    add(p, c);
  }

 private:
  // The elements from the first that is touched to the last.
  struct Extent {
    int64_t first = 0, count = 0;
  };
  static Extent extent_of(const Problem& p, const Operand& o) {
    int64_t first = o.offset, last = o.offset;
    const auto reach = [&](int64_t size, int64_t stride) {
      (stride < 0 ? first : last) += (size - 1) * stride;
    };
    reach(o.size, o.stride);
    reach(p.k, o.k_stride);
    for (size_t d = 0; d < kBatchDims; ++d) reach(p.shape[d], o.batch[d]);
    return {first, last - first + 1};
  }
  static Extent extent_of(const Problem& p, int64_t c) {
    if (p.batches > 1) return {c, p.count()};
    return {c, (p.a.size - 1) * p.c_m + (p.b.size - 1) * p.c_n + 1};
  }
  // Small operands are bound whole; outputs are from their first element on.
  bool fits(const Problem& p, const Operand& o) const {
    return whole(o) || uint64_t(extent_of(p, o).count + alignment_) * 4 <= launch_.binding_limit();
  }
  bool fits(const Problem& p, int64_t c) const {
    return uint64_t(divide_up(extent_of(p, c).count, 4)) * 16 <= launch_.binding_limit();
  }
  bool whole(const Operand& o) const { return o.bytes <= launch_.binding_limit(); }

  [[noreturn]] void refuse() const {
    const Tensor* large = &node_.inputs[beyond_binding(node_.in(0), launch_.device()) ? 0 : 1];
    refuse_pieces(
        node_, beyond_binding(*large, launch_.device()) ? large->node()->out(large->output()) : node_.out(),
        launch_.device());
  }

  void cut_batches(const Problem& p, int64_t c) {
    size_t d = 0;
    while (p.shape[d] == 1) ++d;
    const int64_t step = p.count() / p.shape[d];
    halve(p.shape[d], step, [&](int64_t begin, int64_t count) {
      Problem part = p;
      part.batches = p.batches / p.shape[d] * count;
      part.shape[d] = count;
      part.a.offset += begin * p.a.batch[d];
      part.b.offset += begin * p.b.batch[d];
      cut(part, c + begin * step);
    });
  }
  template <Operand Problem::*kOperand>
  void cut_size(const Problem& p, int64_t c) {
    const Operand& operand = p.*kOperand;
    const int64_t step = kOperand == &Problem::a ? p.c_m : p.c_n;
    halve(operand.size, step, [&](int64_t begin, int64_t count) {
      Problem part = p;
      (part.*kOperand).size = count;
      (part.*kOperand).offset += begin * operand.stride;
      cut(part, c + begin * step);
    });
  }
  // Two parts; the second begins where a window of the output may, `step` elements of it to an index.
  template <class Part>
  void halve(int64_t size, int64_t step, const Part& part) {
    const int64_t unit = out_alignment_ / std::gcd(out_alignment_, step),
                  half = divide_up(size, 2 * unit) * unit;
    if (half >= size) refuse();
    part(0, half);
    part(half, size - half);
  }

  Operand bound(const Problem& p, const Operand& operand) {
    Operand o = operand;
    if (whole(o)) return o;
    const Extent extent = extent_of(p, o);
    const int64_t begin = extent.first / alignment_ * alignment_, count = extent.first + extent.count - begin;
    o.storage = window(o.storage, begin, count);
    o.bytes = uint64_t(divide_up(count, 4)) * 16;
    o.offset -= begin;
    return o;
  }
  Ref window(const Ref& ref, int64_t first, int64_t count) {
    return launch_.window(ref, static_cast<uint64_t>(first) * 4,
                          static_cast<uint64_t>(divide_up(count, 4) * 16));
  }
  void add(const Problem& p, int64_t c) {
    const Extent out = extent_of(p, c);
    const Ref y =
        out.count == node_.out().shape.numel() ? launch_.out() : window(launch_.out(), c, out.count);
    int64_t chunk = std::max<int64_t>(p.k, 1);
    const auto part_of_k = [&](int64_t begin) {
      Problem part = p;
      part.k = std::min(chunk, p.k - begin);
      part.a.offset += begin * p.a.k_stride;
      part.b.offset += begin * p.b.k_stride;
      return part;
    };
    for (; chunk > 1; chunk = divide_up(chunk, 8) * 4) {
      const Problem first = part_of_k(0);
      if (fits(first, first.a) && fits(first, first.b)) break;
      if (chunk <= 4) refuse();
    }
    const int64_t parts = divide_up(std::max<int64_t>(p.k, 1), chunk);
    const bool gaps = out.count != p.count();
    const int64_t stride = divide_up(p.count(), out_alignment_) * out_alignment_;
    if (parts > 1 && (gaps || static_cast<uint64_t>(parts * stride) * 4 > launch_.binding_limit())) refuse();
    if (calls_ += static_cast<size_t>(parts); calls_ > kMostPieces) refuse();
    const Ref slices = parts > 1 ? launch_.scratch(static_cast<uint64_t>(parts * stride) * 4) : y;
    for (int64_t i = 0; i < parts; ++i) {
      Problem part = part_of_k(i * chunk);
      const Operand a = bound(part, part.a);
      part.b = bound(part, part.b);
      part.a = a;
      launch_product(launch_, part, parts > 1 ? window(slices, i * stride, p.count()) : y, gaps);
    }
    if (parts > 1) launch_sum(launch_, slices, y, p.count(), parts, stride);
  }

  const Node& node_;
  Launch& launch_;
  const int64_t out_alignment_, alignment_;  // of windows, in elements: the output's; operands', texels too
  size_t calls_ = 0;
};

void launch_matmul(const Node& n, Launch& launch) {
  if (n.out().shape.numel() == 0) return;
  const Problem p = problem_of(n, launch);
  if (needs_pieces(n, launch.device()))
    ProductPieces(n, launch).cut(p, 0);
  else
    launch_product(launch, p, launch.out(), false);
}

// True where the last two axes lie in storage as those of a transposed matrix do.
bool is_transposed(const Tensor& x) {
  const int r = x.rank();
  return x.strides()[r - 2] == 1 && x.strides()[r - 1] != 1;
}

// a * b, laid out in memory as `like`, whose gradient it is: so a transposed weight's is the weight's without
// a copy.
Tensor product_like(const Tensor& a, const Tensor& b, const Tensor& like) {
  return is_transposed(like) ? transpose(matmul(transpose(b), transpose(a))) : matmul(a, b);
}

std::vector<Tensor> matmul_gradient(const Backward& g) {
  const Tensor a = g.x(0), b = g.x(1), dy = g.dy();
  std::vector<Tensor> dxs(2);
  if (g.needs(0)) dxs[0] = sum_to(product_like(dy, transpose(b), a), a.shape());
  if (g.needs(1)) {
    // One long product instead of a batch of products that would be summed afterwards.
    if (b.rank() == 2 && a.rank() > 2)
      dxs[1] = product_like(transpose(reshape(a, {-1, a.dim(-1)})), reshape(dy, {-1, dy.dim(-1)}), b);
    else
      dxs[1] = sum_to(product_like(transpose(a), dy, b), b.shape());
  }
  return dxs;
}

double matmul_flops(const Node& n) {
  return 2.0 * static_cast<double>(n.out().shape.numel()) * static_cast<double>(n.in(0).shape().back());
}

[[maybe_unused]] const bool kCut = define_cut(launch_makes_windows, {"matmul"});
const OpDef& kMatmul = define_op({.name = "matmul",
                                  .launch = launch_matmul,
                                  .fuses_output = true,
                                  .gradient = matmul_gradient,
                                  .flops = matmul_flops});

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b) {
  for (const Tensor* x : {&a, &b}) {
    if (x->dtype() != DType::f32)
      throw Error("matmul", cat("an operand is ", x->dtype(), " ", x->shape(), ", but f32 is needed"),
                  "use cast()");
    if (x->rank() == 0)
      throw Error("matmul", cat("cannot multiply ", a.shape(), " by ", b.shape(), ": a scalar is no matrix"),
                  "use mul()");
  }
  if (a.rank() == 1) return squeeze(matmul(unsqueeze(a, 0), b), b.rank() == 1 ? 0 : -2);
  if (b.rank() == 1) return squeeze(matmul(a, unsqueeze(b, 1)), -1);
  if (a.dim(-1) != b.dim(-2))
    throw Error("matmul",
                cat("cannot multiply ", a.shape(), " by ", b.shape(), ": ", a.dim(-1), " columns meet ",
                    b.dim(-2), " rows"),
                a.dim(-1) == b.dim(-1) ? "transpose(b) would fit" : "");
  const auto batch_of = [](const Tensor& x) {
    return Shape(std::span(x.shape().begin(), static_cast<size_t>(x.rank() - 2)));
  };
  Shape shape = broadcast("matmul", batch_of(a), batch_of(b));
  shape.push_back(a.dim(-2));
  shape.push_back(b.dim(-1));
  return make_node(kMatmul, {}, {a, b}, {{shape}});
}

}  // namespace stithy
