// Joining and padding: inputs are written into regions of a new tensor (shaders/region.comp).
#include <algorithm>
#include <bit>

#include "engine/graph/variable.h"
#include "engine/ops.h"
#include "engine/ops/elements.h"
#include "engine/ops/place.h"
#include "shaders/fill.h"
#include "shaders/region.h"
#include "shaders/zero_gaps.h"

namespace stithy {
namespace {

using Gradients = std::vector<Tensor>;

double no_flops(const Node&) { return 0; }

// Writes input i of the node into its output's elements that `y` says.
void launch_copy(const Node& n, Launch& launch, int i, const Operand& y) {
  const Elements e = walk_elements(n.in(i).shape(), {operand(n.in(i)), y});
  launch_elements(launch,
                  shaders::region{.x = launch.in(i),
                                  .y = launch.out(),
                                  .push = {.count = e.count,
                                           .x_offset = e[0].offset,
                                           .y_offset = e[1].offset,
                                           .shape = e.shape,
                                           .x_strides = e[0].strides,
                                           .y_strides = e[1].strides},
                                  .spec = {.DIMS = e.dims, .X_MODE = e[0].mode, .Y_MODE = e[1].mode}},
                  e.count);
}

// Writes input i of the node into its output at `region`.
void launch_region(const Node& n, Launch& launch, int i, const Region& region) {
  Operand y{contiguous_strides(n.out().shape), 0};
  for (int d = 0; d < y.strides.rank(); ++d) {
    y.offset += region.begin[d] * y.strides[d];
    y.strides[d] *= region.step[d];
  }
  launch_copy(n, launch, i, y);
}

Region whole(int rank) { return {Shape::filled(rank, 0), Shape::filled(rank, 1)}; }

// Kernels write words, so smaller elements, which would share words with their neighbours, travel as words.
bool is_word(DType dtype) { return size_of(dtype) == 4; }
DType word_for(DType dtype) { return is_float(dtype) ? DType::f32 : DType::i32; }

struct Placement {
  Region region;
  float value = 0;
};

const OpDef& kPlace = define_op(
    {.name = "place",
     .dtypes = "f32 i32",
     .launch =
         [](const Node& n, Launch& launch) {
           const auto& [region, value] = n.attrs<Placement>();
           const uint32_t count = static_cast<uint32_t>(n.out().shape.numel());
           const uint32_t bits = n.out().dtype == DType::i32
                                     ? std::bit_cast<uint32_t>(static_cast<int32_t>(value))
                                     : std::bit_cast<uint32_t>(value);
           launch_elements(launch, shaders::fill{.y = launch.out(), .push = {.count = count, .value = bits}},
                           count);
           launch_region(n, launch, 0, region);
         },
     .gradient =
         [](const Backward& b) {
           const Region& region = b.attrs<Placement>().region;
           const Shape shape = b.x().shape();
           Tensor dx = b.dy();
           for (int d = 0; d < shape.rank(); ++d) {
             const int64_t last = region.begin[d] + (shape[d] - 1) * region.step[d] + 1;
             dx = slice(dx, d, region.begin[d], shape[d] == 0 ? region.begin[d] : last, region.step[d]);
           }
           return Gradients{dx};
         },
     .flops = no_flops});

const OpDef& kConcat = define_op({.name = "concat",
                                  .dtypes = "f32 i32",
                                  .launch =
                                      [](const Node& n, Launch& launch) {
                                        const int axis = n.attrs<int>();
                                        Region region = whole(n.out().shape.rank());
                                        for (int i = 0; i < static_cast<int>(n.inputs.size()); ++i) {
                                          if (!launch.in_place(i)) launch_region(n, launch, i, region);
                                          region.begin[axis] += n.in(i).shape()[axis];
                                        }
                                      },
                                  .places =
                                      [](const Node& n) {
                                        const Shape& shape = n.out().shape;
                                        const auto end_of_outer = shape.begin() + n.attrs<int>();
                                        const bool rows = std::all_of(shape.begin(), end_of_outer,
                                                                      [](int64_t d) { return d == 1; });
                                        std::vector<int64_t> places;
                                        int64_t begin = 0;
                                        for (const Tensor& x : n.inputs) {
                                          places.push_back(rows ? begin : -1);
                                          begin += x.numel();
                                        }
                                        return places;
                                      },
                                  .gradient =
                                      [](const Backward& b) {
                                        const int axis = b.attrs<int>();
                                        Gradients dxs;
                                        int64_t begin = 0;
                                        for (const Tensor& x : b.node.inputs) {
                                          const int64_t end = begin + x.shape()[axis];
                                          dxs.push_back(slice(b.dy(), axis, begin, end));
                                          begin = end;
                                        }
                                        return dxs;
                                      },
                                  .flops = no_flops});

// Where each input of a pack begins, then the length of it all.
std::vector<int64_t> packed_places(std::span<const Tensor> xs) {
  std::vector<int64_t> begins{0};
  for (const Tensor& x : xs) begins.push_back(begins.back() + arena_elements(x.numel(), x.dtype()));
  return begins;
}

// Inputs: the pieces; then, where there are gaps between them, the elements [begin, end) of each gap.
struct Packing {
  std::vector<int64_t> begins;
};
const OpDef& kPack =
    define_op({.name = "pack",
               .dtypes = "f32 i32",
               .launch =
                   [](const Node& n, Launch& launch) {
                     const std::vector<int64_t>& begins = n.attrs<Packing>().begins;
                     const int pieces = static_cast<int>(begins.size()) - 1;
                     for (int i = 0; i < pieces; ++i)
                       if (!launch.in_place(i))
                         launch_copy(n, launch, i,
                                     {contiguous_strides(n.in(i).shape()), begins[static_cast<size_t>(i)]});
                     if (pieces == static_cast<int>(n.inputs.size())) return;
                     const uint32_t gaps = static_cast<uint32_t>(n.in(pieces).numel() / 2);
                     launch(shaders::zero_gaps{.gaps = launch.in(pieces),
                                               .y = launch.out(),
                                               .push = {.gaps = gaps},
                                               .spec = {.local_size_x = launch.device().is_cpu() ? 8u : 64u}},
                            launch.grid(gaps));
                   },
               .places =
                   [](const Node& n) {
                     std::vector<int64_t> begins = n.attrs<Packing>().begins;
                     begins.pop_back();
                     return begins;
                   },
               .flops = no_flops,
               .composition =
                   [](const Node& n) {
                     const std::vector<int64_t>& begins = n.attrs<Packing>().begins;
                     std::vector<Tensor> slots;
                     for (size_t i = 0; i + 1 < begins.size(); ++i) {
                       const Tensor& x = n.inputs[i];
                       slots.push_back(pad(reshape(x, {-1}), {0}, {begins[i + 1] - begins[i] - x.numel()}));
                     }
                     return std::vector{concat(slots, 0)};
                   }});

// One node that shows all parts, so that their gradients are joined once instead of padded and added up.
const OpDef& kSplit =
    define_op({.name = "split", .dtypes = "f32 f16 bf16 i32 u8 bool", .gradient = [](const Backward& b) {
                 Gradients parts = b.dys;
                 for (size_t i = 0; i < parts.size(); ++i)
                   if (!parts[i].defined()) parts[i] = cast(zeros(b.node.outputs[i].shape), b.x().dtype());
                 return Gradients{concat(parts, b.attrs<int>())};
               }});

}  // namespace

Tensor place(const Tensor& x, const Shape& shape, const Region& region, float value) {
  if (!is_word(x.dtype())) return cast(place(cast(x, word_for(x.dtype())), shape, region, value), x.dtype());
  return make_node(kPlace, Placement{region, value}, {x}, {{shape, x.dtype()}});
}

Tensor pad(const Tensor& x, const Shape& before, const Shape& after, float value) {
  if (!x.defined()) throw Error("pad", "the input is undefined");
  Shape shape = x.shape();
  if (before.rank() != x.rank() || after.rank() != x.rank())
    throw Error("pad", cat("needs one number before and after for each axis of ", shape, ", got ", before,
                           " and ", after));
  for (int d = 0; d < shape.rank(); ++d) {
    if (before[d] < 0 || after[d] < 0)
      throw Error("pad", cat("padding ", before, " and ", after, " has a negative entry"),
                  "cut with slice()");
    shape[d] += before[d] + after[d];
  }
  if (shape == x.shape()) return x;
  return place(x, shape, {before, Shape::filled(x.rank(), 1)}, value);
}

Tensor concat(std::span<const Tensor> xs, int64_t axis) {
  if (xs.empty()) throw Error("concat", "there is nothing to join");
  for (const Tensor& x : xs)
    if (!x.defined()) throw Error("concat", "an input is undefined");
  const DType dtype = xs[0].dtype();
  Shape shape = xs[0].shape();
  const int d = normalize_axis("concat", axis, shape);
  shape[d] = 0;
  for (const Tensor& x : xs) {
    Shape rest = x.shape();
    if (rest.rank() == shape.rank()) rest[d] = shape[d];
    if (rest != shape || x.dtype() != dtype)
      throw Error("concat", cat(x.dtype(), " ", x.shape(), " does not join ", dtype, " ", xs[0].shape(),
                                " along axis ", axis));
    shape[d] += x.shape()[d];
  }
  if (xs.size() == 1) return xs[0];
  std::vector<Tensor> inputs(xs.begin(), xs.end());
  if (is_word(dtype)) return make_node(kConcat, d, inputs, {{shape, dtype}});
  for (Tensor& x : inputs) x = cast(x, word_for(dtype));
  return cast(concat(inputs, d), dtype);
}

Tensor pack(std::span<const Tensor> xs) {
  if (xs.empty()) throw Error("pack", "there is nothing to pack");
  for (const Tensor& x : xs)
    if (!x.defined() || !is_word(x.dtype()) || x.dtype() != xs[0].dtype())
      throw Error("pack", x.defined() ? cat("takes inputs of one dtype, f32 or i32, not ", xs[0].dtype(),
                                            " and ", x.dtype())
                                      : "an input is undefined");
  Packing packing{packed_places(xs)};
  std::vector<int32_t> gaps;
  for (size_t i = 0; i < xs.size(); ++i) {
    const int64_t end = packing.begins[i] + xs[i].numel();
    if (end == packing.begins[i + 1]) continue;
    gaps.push_back(static_cast<int32_t>(end));
    gaps.push_back(static_cast<int32_t>(packing.begins[i + 1]));
  }
  const Shape shape{packing.begins.back()};
  if (xs.size() == 1 && gaps.empty()) return reshape(xs[0], shape);  // which may be beyond a binding
  std::vector<Tensor> inputs(xs.begin(), xs.end());
  if (!gaps.empty()) inputs.push_back(Array({static_cast<int64_t>(gaps.size())}, gaps));
  return make_node(kPack, std::move(packing), std::move(inputs), {{shape, xs[0].dtype()}});
}

Tensor stack(std::span<const Tensor> xs, int64_t axis) {
  std::vector<Tensor> slabs;
  for (const Tensor& x : xs) {
    if (!x.defined() || x.shape() != xs[0].shape())
      throw Error("stack", "the inputs are not of one shape",
                  x.defined() ? cat("first ", xs[0].shape(), ", another ", x.shape()) : "one is undefined");
    slabs.push_back(unsqueeze(x, axis));
  }
  if (slabs.empty()) throw Error("stack", "there is nothing to join");
  return concat(slabs, axis < 0 ? axis + slabs[0].rank() : axis);
}

std::vector<Tensor> split(const Tensor& x, std::span<const int64_t> sizes, int64_t axis) {
  if (!x.defined()) throw Error("split", "the input is undefined");
  const int d = normalize_axis("split", axis, x.shape());
  int64_t begin = 0;
  for (int64_t size : sizes) {
    if (size < 0) throw Error("split", cat("size ", size, " is negative"));
    begin += size;
  }
  if (begin != x.shape()[d])
    throw Error("split", cat("sizes add up to ", begin, ", axis ", axis, " of ", x.shape(), " does not"));
  if (sizes.size() == 1) return {x};
  std::vector<Tensor> parts;
  begin = 0;
  for (int64_t size : sizes) {
    Shape shape = x.shape();
    shape[d] = size;
    const int64_t offset = x.offset() + begin * x.strides()[d];
    if (parts.empty()) {
      parts.push_back(make_view(kSplit, d, x, shape, x.strides(), offset));
    } else {
      Value part = parts[0].node()->out();
      part.shape = shape;
      part.offset = offset;
      parts[0].node()->outputs.push_back(part);
      parts.push_back(parts[0].node()->tensor(static_cast<int>(parts.size())));
    }
    begin += size;
  }
  return parts;
}

}  // namespace stithy
