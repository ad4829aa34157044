// Matrix products.
#include <algorithm>

#include "engine/graph/op.h"
#include "engine/ops.h"
#include "shaders/matmul.h"
#include "shaders/sum_slices.h"

namespace stithy {
namespace {

constexpr int kBatchDims = kMaxRank - 2;

uint32_t u32(int64_t value) { return static_cast<uint32_t>(value); }
int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// One operand as the kernel walks it: element strides along its own dimension (m or n), along k, and along
// the batch dimensions of the product (0 where it is broadcast).
struct Operand {
  Ref storage;
  int64_t offset = 0, size = 0, stride = 0, k_stride = 0;
  std::array<int64_t, kBatchDims> batch{};

  bool vec4_batches() const {
    return std::all_of(batch.begin(), batch.end(), [](int64_t s) { return s % 4 == 0; });
  }
  bool vec4_along_k() const {
    return k_stride == 1 && offset % 4 == 0 && (stride % 4 == 0 || size == 1) && vec4_batches();
  }
  bool vec4_along_size(int64_t k) const {
    return stride == 1 && size % 4 == 0 && offset % 4 == 0 && (k_stride % 4 == 0 || k == 1) && vec4_batches();
  }
};

// A_LAYOUT, B_LAYOUT of an operand in tiles `width` wide.
uint32_t layout_of(const Operand& o, uint32_t width, int64_t k) {
  return o.vec4_along_k() ? 1 : width % 4 == 0 && o.vec4_along_size(k) ? 2 : 0;
}

struct Problem {
  Operand a, b;
  int64_t k = 0, batches = 1;
  std::array<int64_t, kBatchDims> shape{1, 1, 1, 1};
  int64_t c_m = 0, c_n = 1;
};

Problem problem_of(const Node& n, Launch& launch) {
  Problem p;
  const Shape& shape = n.out().shape;
  const int rank = shape.rank(), batch_dims = rank - 2;
  const auto operand = [&](int i, int own, int k_axis) {
    const Tensor& x = n.in(i);
    const int r = x.rank();
    Operand o{.storage = launch.in(i),
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

// In which tiles a product is computed.
struct Tile {
  uint32_t local_size = 256, lanes = 1, lanes_n = 16, rows = 4, cols = 4;
  int64_t target_groups = 256;  // fewer leave the device idle: k is cut

  std::string label() const {
    return cat("tile ", local_size / lanes_n * rows, "x", lanes_n * cols, " of ", rows, "x", cols,
               lanes > 1 ? " shared" : "", target_groups > 1 ? " split" : "");
  }
  friend bool operator==(const Tile&, const Tile&) = default;
};

// The first is good without measuring, the last is the plain one.
std::vector<Tile> tiles_of(const vk::DeviceInfo& device, const Problem& p) {
  Tile plain;
  plain.lanes_n = p.b.size <= 16 ? 4 : 16;
  plain.local_size = std::min(256u, device.max_workgroup_invocations);
  std::vector<Tile> tiles;
  const auto add = [&](const Tile& tile) {
    if (std::ranges::find(tiles, tile) == tiles.end()) tiles.push_back(tile);
  };
  if (device.is_cpu() && device.fixed_subgroup_size) {
    plain.local_size = plain.lanes_n = device.subgroup_size;
    plain.target_groups = 16;
    Tile tile = plain;
    tile.lanes = device.subgroup_size;
    tile.rows = p.a.size == 1 ? 1 : p.a.size <= 4 ? 4 : p.a.size <= 8 ? 8 : 16;
    tile.cols = p.b.size <= tile.lanes                                               ? 1
                : divide_up(p.b.size, 8 * tile.lanes) * divide_up(p.a.size, 16) >= 8 ? 8
                                                                                     : 4;
    add(tile);
    // Larger ones compile for many seconds on some CPU drivers.
    for (const auto& [rows, cols] : {std::pair{8u, 4u}, {8u, 8u}, {16u, 4u}, {16u, 8u}})
      if (rows < 2 * p.a.size && (cols - 4) * tile.lanes < p.b.size) {
        tile.rows = rows, tile.cols = cols;
        add(tile);
      }
  } else {
    add(plain);
    for (const auto& [rows, cols] : {std::pair{4u, 8u}, {8u, 4u}, {8u, 8u}}) {
      Tile tile = plain;
      tile.rows = rows, tile.cols = cols;
      add(tile);
    }
  }
  plain.target_groups = 1;
  add(plain);
  return tiles;
}

void launch_matmul(const Node& n, Launch& launch) {
  const Problem p = problem_of(n, launch);
  const int64_t count = n.out().shape.numel();
  if (count == 0) return;
  const std::vector<Tile> tiles = tiles_of(launch.device(), p);
  Choice choice{.key = cat("f32 ", size_bucket(p.a.size), "x", size_bucket(p.k), "x", size_bucket(p.b.size),
                           " batch ", size_bucket(p.batches), " read ", layout_of(p.a, 4, p.k),
                           layout_of(p.b, 4, p.k), p.c_n == 1 ? "" : " transposed"),
                .labels = {},
                .plain = tiles.size() - 1};
  for (const Tile& tile : tiles) choice.labels.push_back(tile.label());
  const Tile tile = tiles[launch.choose(std::move(choice))];
  const int64_t groups = divide_up(p.a.size, tile.local_size / tile.lanes_n * tile.rows) *
                         divide_up(p.b.size, tile.lanes_n * tile.cols) * p.batches;
  // A small product of long sums is cut along k; more slices than 64 or shorter ones than 256 do not pay.
  int64_t slices = std::clamp<int64_t>(tile.target_groups / groups, 1, std::clamp<int64_t>(p.k / 256, 1, 64));
  const int64_t k_chunk = divide_up(divide_up(std::max<int64_t>(p.k, 1), slices), 4) * 4;
  slices = divide_up(std::max<int64_t>(p.k, 1), k_chunk);

  const Ref c = slices == 1 ? launch.out() : launch.scratch(static_cast<uint64_t>(slices * count) * 4);
  shaders::matmul kernel{.a = p.a.storage, .b = p.b.storage, .c = c};
  kernel.spec = {.local_size_x = tile.local_size,
                 .LANES = tile.lanes,
                 .LANES_N = tile.lanes_n,
                 .ROWS = tile.rows,
                 .COLS = tile.cols,
                 .A_LAYOUT = layout_of(p.a, tile.rows, p.k),
                 .B_LAYOUT = layout_of(p.b, tile.cols, p.k),
                 .C_VEC4 = p.c_n == 1 && p.c_m % 4 == 0 && tile.cols % 4 == 0};
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
  launch(kernel, launch.grid(static_cast<uint64_t>(groups * slices)));
  if (slices > 1) {
    shaders::sum_slices sum{.x = c, .y = launch.out()};
    sum.push = {.count = u32(count), .slices = u32(slices)};
    launch(sum, launch.grid(static_cast<uint64_t>(divide_up(count, sum.spec.local_size_x))));
  }
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
