// Sampling at given points, and what detectors need. The shaders state the formulas.
#include "engine/ops.h"
#include "engine/ops/elements.h"
#include "engine/ops/rows.h"
#include "engine/ops_vision.h"
#include "shaders/grid_sample.h"
#include "shaders/nms.h"
#include "shaders/roi_align.h"

namespace stithy {
namespace {

uint32_t u32(int64_t value) { return static_cast<uint32_t>(value); }
uint32_t offset_of(const Tensor& x) { return u32(x.offset()); }
Groups groups_of(const Launch& launch, uint64_t invocations) { return launch.grid((invocations + 63) / 64); }

// ---- grid_sample

struct Sampling {
  GridSampleOptions options;
  Shape x, grid;  // [n, channels, h, w] and [n, out h, out w, 2]
};

template <class Kernel>
void launch_sampling(const Node& n, Launch& launch, Kernel kernel, int64_t count) {
  const Sampling& s = n.attrs<Sampling>();
  kernel.spec = {.local_size_x = 64,
                 .CHANNELS = u32(s.x[1]),
                 .IN_H = static_cast<int32_t>(s.x[2]),
                 .IN_W = static_cast<int32_t>(s.x[3]),
                 .OUT_H = static_cast<int32_t>(s.grid[1]),
                 .OUT_W = static_cast<int32_t>(s.grid[2]),
                 .NEAREST = s.options.nearest,
                 .BORDER = s.options.border,
                 .ALIGN = s.options.align_corners};
  kernel.push.count = u32(count);
  launch(kernel, groups_of(launch, kernel.push.count));
}

// Inputs: x, grid.
void launch_grid_sample(const Node& n, Launch& launch) {
  shaders::grid_sample kernel{.grid = launch.in(1), .x = launch.in(0), .y = launch.out()};
  kernel.push.x_offset = offset_of(n.in(0));
  kernel.push.grid_offset = offset_of(n.in(1));
  launch_sampling(n, launch, kernel, n.out().shape.numel());
}
// Inputs: dy, grid.
void launch_grid_sample_dx(const Node& n, Launch& launch) {
  shaders::grid_sample_dx kernel{.grid = launch.in(1), .dy = launch.in(0), .dx = launch.out()};
  kernel.push.dy_offset = offset_of(n.in(0));
  kernel.push.grid_offset = offset_of(n.in(1));
  launch_sampling(n, launch, kernel, n.out().shape.numel());
}
// Inputs: dy, x, grid.
void launch_grid_sample_dgrid(const Node& n, Launch& launch) {
  shaders::grid_sample_dgrid kernel{
      .grid = launch.in(2), .x = launch.in(1), .dy = launch.in(0), .dgrid = launch.out()};
  kernel.push.dy_offset = offset_of(n.in(0));
  kernel.push.x_offset = offset_of(n.in(1));
  kernel.push.grid_offset = offset_of(n.in(2));
  launch_sampling(n, launch, kernel, n.out().shape.numel() / 2);
}

const OpDef& kGridSampleDx = define_op({.name = "grid_sample_dx",
                                        .launch = launch_grid_sample_dx,
                                        .fuses_output = true,
                                        .flops = [](const Node& n) {
                                          const Shape& grid = n.attrs<Sampling>().grid;
                                          return 10.0 * static_cast<double>(n.out().shape.numel()) *
                                                 static_cast<double>(grid[1] * grid[2]);
                                        }});
const OpDef& kGridSampleDgrid =
    define_op({.name = "grid_sample_dgrid", .launch = launch_grid_sample_dgrid, .flops = [](const Node& n) {
                 return 14.0 * static_cast<double>(n.in(0).numel());
               }});
const OpDef& kGridSample =
    define_op({.name = "grid_sample",
               .launch = launch_grid_sample,
               .fuses_output = true,
               .gradient = [](const Backward& b) -> std::vector<Tensor> {
                 const Sampling& s = b.attrs<Sampling>();
                 const Tensor dy = contiguous(b.dy());
                 std::vector<Tensor> dxs(2);
                 if (b.needs(0)) dxs[0] = make_node(kGridSampleDx, s, {dy, b.x(1)}, {{s.x}});
                 if (b.needs(1)) dxs[1] = make_node(kGridSampleDgrid, s, {dy, b.x(0), b.x(1)}, {{s.grid}});
                 return dxs;
               },
               .flops = [](const Node& n) { return 20.0 * static_cast<double>(n.out().shape.numel()); }});

// ---- roi_align

struct Align {
  RoiAlignOptions options;
  Shape x, y;  // [n, channels, h, w] and [k, channels, out h, out w]
};

template <class Kernel>
void launch_align(const Node& n, Launch& launch, Kernel kernel) {
  const Align& a = n.attrs<Align>();
  kernel.spec = {.local_size_x = 64,
                 .CHANNELS = u32(a.x[1]),
                 .IN_H = static_cast<int32_t>(a.x[2]),
                 .IN_W = static_cast<int32_t>(a.x[3]),
                 .OUT_H = static_cast<int32_t>(a.y[2]),
                 .OUT_W = static_cast<int32_t>(a.y[3]),
                 .RATIO = static_cast<int32_t>(a.options.sampling_ratio),
                 .ALIGNED = a.options.aligned};
  kernel.push = {.count = u32(n.out().shape.numel()),
                 .images = u32(a.x[0]),
                 .regions = u32(a.y[0]),
                 .x_offset = offset_of(n.in(0)),
                 .rois_offset = offset_of(n.in(1)),
                 .scale = a.options.spatial_scale};
  launch(kernel, groups_of(launch, kernel.push.count));
}
// Inputs: x, or dy, and rois.
void launch_roi_align(const Node& n, Launch& launch) {
  launch_align(n, launch, shaders::roi_align{.rois = launch.in(1), .x = launch.in(0), .y = launch.out()});
}
void launch_roi_align_backward(const Node& n, Launch& launch) {
  launch_align(n, launch,
               shaders::roi_align_backward{.rois = launch.in(1), .dy = launch.in(0), .dx = launch.out()});
}

const OpDef& kRoiAlignBackward =
    define_op({.name = "roi_align_backward",
               .launch = launch_roi_align_backward,
               .fuses_output = true,
               .flops = [](const Node& n) {
                 return static_cast<double>(n.out().shape.numel()) * static_cast<double>(n.in(0).dim(0));
               }});
const OpDef& kRoiAlign =
    define_op({.name = "roi_align",
               .launch = launch_roi_align,
               .fuses_output = true,
               .gradient = [](const Backward& b) -> std::vector<Tensor> {
                 return {make_node(kRoiAlignBackward, b.attrs<Align>(), {contiguous(b.dy()), b.x(1)},
                                   {{b.x().shape()}}),
                         {}};
               },
               .flops = [](const Node& n) { return 40.0 * static_cast<double>(n.out().shape.numel()); }});

// ---- nms

struct Suppression {
  float threshold;
};
const OpDef& kNms =
    define_op({.name = "nms",
               .launch =
                   [](const Node& n, Launch& launch) {
                     const uint32_t count = u32(n.out().shape.numel());
                     const Ref order = launch.scratch(uint64_t{count} * 4),
                               gone = launch.scratch(uint64_t{count} * 4);
                     launch(shaders::nms_order{.scores = launch.in(1),
                                               .order = order,
                                               .push = {.count = count, .scores_offset = offset_of(n.in(1))}},
                            groups_of(launch, count));
                     launch(shaders::nms_select{.boxes = launch.in(0),
                                                .order = order,
                                                .gone = gone,
                                                .keep = launch.out(0),
                                                .kept = launch.out(1),
                                                .push = {.count = count,
                                                         .boxes_offset = offset_of(n.in(0)),
                                                         .threshold = n.attrs<Suppression>().threshold}},
                            Groups{});
                   },
               .gradient = [](const Backward&) { return std::vector<Tensor>(2); },
               .flops =
                   [](const Node& n) {
                     const auto count = static_cast<double>(n.out().shape.numel());
                     return 8 * count * count;
                   }});

void check_images(const char* op, const Tensor& x) {
  require_dtype(op, x, {DType::f32});
  if (x.rank() != 4 || x.numel() == 0)
    throw Error(op, cat("x of shape ", x.shape(), " is not [n, channels, height, width] with elements"));
}

}  // namespace

Tensor grid_sample(const Tensor& x, const Tensor& grid, const GridSampleOptions& options) {
  check_images("grid_sample", x);
  require_dtype("grid_sample", grid, {DType::f32});
  if (grid.rank() != 4 || grid.dim(0) != x.dim(0) || grid.dim(3) != 2 || grid.numel() == 0)
    throw Error("grid_sample", cat("a grid of shape ", grid.shape(), " does not fit x ", x.shape()),
                "it must be [n, out height, out width, 2]");
  return make_node(kGridSample, Sampling{options, x.shape(), grid.shape()}, {contiguous(x), contiguous(grid)},
                   {{{x.dim(0), x.dim(1), grid.dim(1), grid.dim(2)}}});
}

Tensor roi_align(const Tensor& x, const Tensor& rois, int64_t height, int64_t width,
                 const RoiAlignOptions& options) {
  check_images("roi_align", x);
  require_dtype("roi_align", rois, {DType::f32});
  if (rois.rank() != 2 || rois.dim(1) != 5)
    throw Error("roi_align", cat("rois of shape ", rois.shape(), " are not [k, 5]"),
                "they are (image, x1, y1, x2, y2)");
  if (height < 1 || width < 1 || options.sampling_ratio < 0)
    throw Error("roi_align",
                cat("an output of ", height, " x ", width, " with ", options.sampling_ratio, " samples"),
                "sizes must be at least 1, the sampling ratio 0 or more");
  const Shape y{rois.dim(0), x.dim(1), height, width};
  return make_node(kRoiAlign, Align{options, x.shape(), y}, {contiguous(x), contiguous(rois)}, {{y}});
}

NmsOutputs nms(const Tensor& boxes, const Tensor& scores, float threshold) {
  require_dtype("nms", boxes, {DType::f32});
  require_dtype("nms", scores, {DType::f32});
  if (boxes.rank() != 2 || boxes.dim(1) != 4 || scores.shape() != Shape{boxes.dim(0)})
    throw Error("nms",
                cat("boxes ", boxes.shape(), " and scores ", scores.shape(), " are not [n, 4] and [n]"));
  const Tensor keep = make_node(kNms, Suppression{threshold}, {contiguous(boxes), contiguous(scores)},
                                {{scores.shape(), DType::i32}, {Shape{}, DType::i32}});
  return {keep, keep.node()->tensor(1)};
}

}  // namespace stithy
