// Ops that choose elements by index.
#include <algorithm>
#include <numeric>

#include "engine/ops.h"
#include "engine/ops/elements.h"
#include "engine/ops/rows.h"
#include "shaders/embedding.h"
#include "shaders/fill.h"
#include "shaders/gather.h"
#include "shaders/one_hot.h"
#include "shaders/scatter_add.h"

namespace stithy {
namespace {

uint32_t u32(int64_t value) { return static_cast<uint32_t>(value); }
std::array<uint32_t, kMaxRank> aligned(const Shape& shape, uint32_t before) {
  std::array<uint32_t, kMaxRank> six;
  six.fill(before);
  for (int d = 0; d < shape.rank(); ++d)
    six[static_cast<size_t>(kMaxRank - shape.rank() + d)] = u32(shape[d]);
  return six;
}
Groups groups_of(const Launch& launch, uint64_t invocations) { return launch.grid((invocations + 63) / 64); }
double no_flops(const Node&) { return 0; }

struct Axis {
  int axis = 0;
};

void launch_gather(const Node& n, Launch& launch) {
  const Tensor &x = n.in(0), &index = n.in(1);
  const int axis = n.attrs<Axis>().axis;
  const int64_t count = index.numel();
  launch(shaders::gather{.x = launch.in(0),
                         .index = launch.in(1),
                         .y = launch.out(),
                         .push = {.count = u32(count),
                                  .axis = u32(kMaxRank - x.rank() + axis),
                                  .length = u32(x.shape()[axis]),
                                  .x_offset = u32(x.offset()),
                                  .index_offset = u32(index.offset()),
                                  .shape = aligned(index.shape(), 1),
                                  .x_strides = aligned(x.strides(), 0)}},
         groups_of(launch, static_cast<uint64_t>(count)));
}

void launch_scatter_add(const Node& n, Launch& launch) {
  const Tensor &x = n.in(0), &index = n.in(1), &source = n.in(2);
  const int64_t count = x.numel(), length = index.shape()[n.attrs<Axis>().axis];
  shaders::scatter_add kernel{.x = launch.in(0),
                              .index = launch.in(1),
                              .source = launch.in(2),
                              .y = launch.out(),
                              .push = {.count = u32(count),
                                       .axis = u32(kMaxRank - x.rank() + n.attrs<Axis>().axis),
                                       .x_offset = u32(x.offset()),
                                       .index_offset = u32(index.offset()),
                                       .source_offset = u32(source.offset()),
                                       .shape = aligned(x.shape(), 1),
                                       .index_shape = aligned(index.shape(), 1),
                                       .index_strides = aligned(index.strides(), 0)}};
  // The kernel's other loop turns once an axis.
  const int64_t range = int64_t{launch.device().most_turns} - 2 * kMaxRank;
  for (int64_t begin = 0; begin == 0 || begin < length; begin += range) {
    kernel.spec.IS_FIRST = begin == 0;
    kernel.push.begin = u32(begin);
    kernel.push.end = u32(std::min(begin + range, length));
    launch(kernel, groups_of(launch, static_cast<uint64_t>(count)));
  }
}

// The indices, and the elements that they choose, read and written.
double chosen_bytes(const Node& n) {
  return 4 * static_cast<double>(n.in(1).numel() + 2 * n.out().shape.numel());
}

const OpDef& kScatterAdd =
    define_op({.name = "scatter_add",
               .dtypes = "f32 i32",
               .launch = launch_scatter_add,
               .gradient = [](const Backward& b) -> std::vector<Tensor> {
                 const int axis = b.attrs<Axis>().axis;
                 return {b.dy(), {}, b.needs(2) ? gather(b.dy(), b.x(1), axis) : Tensor()};
               }});
const OpDef& kGather =
    define_op({.name = "gather",
               .dtypes = "f32 i32",
               .launch = launch_gather,
               .gradient = [](const Backward& b) -> std::vector<Tensor> {
                 return {scatter_add(zeros(b.x().shape()), b.x(1), b.dy(), b.attrs<Axis>().axis), {}};
               },
               .flops = no_flops,
               .bytes = chosen_bytes});

// Inputs: weight, index.
void launch_embedding(const Node& n, Launch& launch) {
  const Tensor &w = n.in(0), &index = n.in(1);
  const auto rows = static_cast<uint64_t>(w.dim(0)), columns = static_cast<uint64_t>(w.dim(1));
  shaders::embedding kernel{.index = launch.in(1), .w = launch.in(0), .y = launch.out()};
  kernel.push = {.rows = u32(w.dim(0)),
                 .columns = u32(w.dim(1)),
                 .count = u32(index.numel()),
                 .index_offset = u32(index.offset()),
                 .x_offset = u32(w.offset()),
                 .total = u32(w.dim(0))};
  const Groups groups = groups_of(launch, static_cast<uint64_t>(n.out().shape.numel()));
  if (!beyond_binding(w, launch.device())) return launch(kernel, groups);
  const uint64_t step = rows_at_once(launch, "embedding", columns, 1);
  for (uint64_t first = 0; first < rows; first += step) {
    const uint64_t count = std::min(step, rows - first);
    const Part part =
        part_of(launch, launch.in(0), static_cast<uint64_t>(w.offset()) + first * columns, count * columns);
    kernel.w = part.ref;
    kernel.push.x_offset = part.offset;
    kernel.push.first = static_cast<uint32_t>(first);
    kernel.push.rows = static_cast<uint32_t>(count);
    launch(kernel, groups);
  }
}

// Inputs: dy, index.
void launch_embedding_backward(const Node& n, Launch& launch) {
  const Tensor &dy = n.in(0), &index = n.in(1);
  const Shape& shape = n.out().shape;
  const auto rows = static_cast<uint64_t>(shape[0]), columns = static_cast<uint64_t>(shape[1]);
  shaders::embedding_backward kernel{.index = launch.in(1), .dy = launch.in(0), .dw = launch.out()};
  kernel.push = {.rows = u32(shape[0]),
                 .columns = u32(shape[1]),
                 .count = u32(index.numel()),
                 .index_offset = u32(index.offset()),
                 .x_offset = u32(dy.offset()),
                 .total = u32(shape[0])};
  uint64_t step = std::max<uint64_t>(rows, 1);
  const bool cut = beyond_binding(n.tensor(), launch.device());
  if (cut) {
    // A part begins where its window does.
    const uint64_t alignment = launch.window_alignment();
    step = rows_at_once(launch, "embedding_backward", columns, alignment / std::gcd(alignment, 4 * columns));
  }
  for (uint64_t first = 0; first < rows; first += step) {
    const uint64_t count = std::min(step, rows - first);
    if (cut) kernel.dw = part_of(launch, launch.out(), first * columns, count * columns).ref;
    kernel.push.first = static_cast<uint32_t>(first);
    kernel.push.rows = static_cast<uint32_t>(count);
    const auto elements = static_cast<uint32_t>(count * columns);
    launch_elements(launch, shaders::fill{.y = kernel.dw, .push = {.count = elements}}, elements);
    // A position is compared with the others of its range, which is quadratic, and adds the rows of all of
    // them.
    const uint64_t turns = columns / std::max(launch.device().min_subgroup_size, 1u) + 3;
    const auto range =
        static_cast<int64_t>(std::clamp<uint64_t>(launch.device().most_turns / turns, 1, uint64_t{1024}));
    for (int64_t begin = 0; begin < index.numel(); begin += range) {
      const int64_t end = std::min(begin + range, index.numel());
      kernel.push.begin = u32(begin);
      kernel.push.end = u32(end);
      launch_rows(launch, kernel, static_cast<uint64_t>(end - begin), 1);
    }
  }
}
[[maybe_unused]] const bool kCut = define_cut(launch_makes_windows, {"embedding", "embedding_backward"});

const OpDef& kEmbeddingBackward =
    define_op({.name = "embedding_backward",
               .dtypes = "f32 i32",
               .launch = launch_embedding_backward,
               .gradient = [](const Backward& b) -> std::vector<Tensor> {
                 return {embedding(b.dy(), b.x(1)), {}};
               },
               .flops = [](const Node& n) { return static_cast<double>(n.in(0).numel()); }});
const OpDef& kEmbedding = define_op(
    {.name = "embedding",
     .dtypes = "f32 i32",
     .launch = launch_embedding,
     .gradient = [](const Backward& b) -> std::vector<Tensor> {
       return {make_node(kEmbeddingBackward, {}, {contiguous(b.dy()), b.x(1)}, {{b.x(0).shape()}}), {}};
     },
     .flops = no_flops,
     .bytes = chosen_bytes});

const OpDef& kOneHot =
    define_op({.name = "one_hot",
               .dtypes = "i32",
               .launch =
                   [](const Node& n, Launch& launch) {
                     const Shape& shape = n.out().shape;
                     launch(shaders::one_hot{.index = launch.in(0),
                                             .y = launch.out(),
                                             .push = {.count = u32(shape.numel()),
                                                      .classes = u32(shape.back()),
                                                      .index_offset = u32(n.in(0).offset())}},
                            groups_of(launch, static_cast<uint64_t>(shape.numel())));
                   },
               .gradient = [](const Backward&) { return std::vector<Tensor>(1); },
               .flops = no_flops});

// The index may be smaller than x, but not larger, in all dimensions but the axis.
int check_index(std::string_view op, const Tensor& x, const Tensor& index, int64_t axis) {
  require_dtype(op, x, {DType::f32});
  require_dtype(op, index, {DType::i32});
  const int a = normalize_axis(op, axis, x.shape());
  bool fits = x.rank() == index.rank();
  for (int d = 0; fits && d < x.rank(); ++d) fits = d == a || index.shape()[d] <= x.shape()[d];
  if (!fits)
    throw Error(std::string(op),
                cat("an index of shape ", index.shape(), " does not fit x ", x.shape(), " along axis ", a),
                "index needs x's rank, and apart from the axis no dimension larger than x's");
  return a;
}

}  // namespace

Tensor gather(const Tensor& x, const Tensor& index, int64_t axis) {
  const int a = check_index("gather", x, index, axis);
  return make_node(kGather, Axis{a}, {x, contiguous(index)}, {{index.shape()}});
}

Tensor scatter_add(const Tensor& x, const Tensor& index, const Tensor& source, int64_t axis) {
  const int a = check_index("scatter_add", x, index, axis);
  require_dtype("scatter_add", source, {DType::f32});
  if (source.shape() != index.shape())
    throw Error("scatter_add",
                cat("the source ", source.shape(), " and the index ", index.shape(), " differ in shape"));
  return make_node(kScatterAdd, Axis{a}, {contiguous(x), contiguous(index), contiguous(source)},
                   {{x.shape()}});
}

Tensor embedding(const Tensor& weight, const Tensor& index) {
  require_dtype("embedding", weight, {DType::f32});
  require_dtype("embedding", index, {DType::i32});
  if (weight.rank() != 2)
    throw Error("embedding", cat("the weight's shape ", weight.shape(), " is not [rows, columns]"));
  Shape shape = index.shape();
  shape.push_back(weight.dim(1));
  return make_node(kEmbedding, {}, {contiguous(weight), contiguous(index)}, {{shape}});
}

Tensor one_hot(const Tensor& index, int64_t classes) {
  require_dtype("one_hot", index, {DType::i32});
  if (classes < 1) throw Error("one_hot", cat(classes, " classes"), "give at least 1");
  Shape shape = index.shape();
  shape.push_back(classes);
  return make_node(kOneHot, {}, {contiguous(index)}, {{shape}});
}

}  // namespace stithy
