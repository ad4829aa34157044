// Losses. shaders/cross_entropy.comp states the formulas.
#include "engine/ops.h"
#include "engine/ops/elements.h"
#include "engine/ops/rows.h"
#include "shaders/cross_entropy.h"

namespace stithy {
namespace {

using Reduction = CrossEntropyOptions::Reduction;

// Inputs: logits, targets, and the class weights where there are any. Outputs: the loss, the rows' logsumexp,
// and, unless the reduction is none, the sum of the rows' weights.
struct CrossEntropy {
  float smoothing = 0;
  int32_t ignore_index = -100;
  Reduction reduction = Reduction::mean;
  bool weighted = false;
};

bool has_probabilities(const Node& n) { return n.in(1).dtype() == DType::f32; }

// The parts that the forward and the backward kernel share; `weights` is the input that holds them.
template <class Kernel>
Kernel row_kernel(const Node& n, Launch& launch, const CrossEntropy& o) {
  const Rows size = rows_of(n.in(0).shape());
  Kernel kernel{.x = launch.in(0), .targets = launch.in(1), .weights = launch.in(o.weighted ? 2 : 0)};
  kernel.spec.PROBABILITIES = has_probabilities(n);
  kernel.spec.WEIGHTED = o.weighted;
  kernel.spec.SMOOTHED = o.smoothing != 0;
  kernel.push = {.rows = size.rows,
                 .columns = size.columns,
                 .x_offset = static_cast<uint32_t>(n.in(0).offset()),
                 .targets_offset = static_cast<uint32_t>(n.in(1).offset()),
                 .weights_offset = o.weighted ? static_cast<uint32_t>(n.in(2).offset()) : 0,
                 .ignore_index = o.ignore_index,
                 .smoothing = o.smoothing};
  return kernel;
}

void launch_cross_entropy(const Node& n, Launch& launch) {
  const CrossEntropy& o = n.attrs<CrossEntropy>();
  const Rows size = rows_of(n.in(0).shape());
  const bool reduced = o.reduction != Reduction::none;
  auto kernel = row_kernel<shaders::cross_entropy>(n, launch, o);
  const uint64_t bytes = uint64_t{size.rows} * 4;
  kernel.loss = reduced ? launch.scratch(bytes) : launch.out(0);
  kernel.lse = launch.out(1);
  kernel.row_weight = launch.scratch(bytes);
  if (beyond_binding(n.in(0), launch.device()) || beyond_binding(n.in(1), launch.device())) {
    const uint64_t step = rows_at_once(launch, "cross_entropy", size.columns, launch.window_alignment() / 4);
    const uint64_t x_offset = kernel.push.x_offset, targets_offset = kernel.push.targets_offset,
                   target_columns = has_probabilities(n) ? size.columns : 1;
    for (uint64_t first = 0; first < size.rows; first += step) {
      const uint64_t rows = std::min<uint64_t>(step, size.rows - first);
      auto part = kernel;
      const auto bind = [&](Ref& ref, uint64_t from, uint64_t count) {
        const Part of = part_of(launch, ref, from, count);
        ref = of.ref;
        return of.offset;
      };
      part.push.rows = static_cast<uint32_t>(rows);
      part.push.x_offset = bind(part.x, x_offset + first * size.columns, rows * size.columns);
      part.push.targets_offset =
          bind(part.targets, targets_offset + first * target_columns, rows * target_columns);
      if (!o.weighted) part.weights = part.x;  // not read
      bind(part.loss, first, rows);
      bind(part.lse, first, rows);
      bind(part.row_weight, first, rows);
      launch_rows(launch, part, rows, size.columns);
    }
  } else {
    launch_rows(launch, kernel, size.rows, size.columns);
  }
  if (!reduced) return;
  launch_rows(
      launch,
      shaders::cross_entropy_total{.row_loss = kernel.loss,
                                   .row_weight = kernel.row_weight,
                                   .loss = launch.out(0),
                                   .divisor = launch.out(2),
                                   .push = {.rows = size.rows, .mean = o.reduction == Reduction::mean}},
      1, size.rows);
}

// The backward op's inputs: logits, targets, class weights where there are any, then lse, dy, divisor.
void launch_cross_entropy_backward(const Node& n, Launch& launch) {
  const CrossEntropy& o = n.attrs<CrossEntropy>();
  const Rows size = rows_of(n.in(0).shape());
  const int lse = o.weighted ? 3 : 2;
  const Tensor& dy = n.in(lse + 1);
  auto kernel = row_kernel<shaders::cross_entropy_backward>(n, launch, o);
  kernel.lse = launch.in(lse);
  kernel.dy = launch.in(lse + 1);
  const bool mean = o.reduction == Reduction::mean;
  kernel.divisor = launch.in(mean ? lse + 2 : lse);
  kernel.dx = launch.out();
  kernel.push.lse_offset = static_cast<uint32_t>(n.in(lse).offset());
  kernel.push.dy_offset = static_cast<uint32_t>(dy.offset());
  kernel.push.dy_stride = o.reduction == Reduction::none;
  kernel.push.divided = mean;
  launch_rows(launch, kernel, size.rows, size.columns);
}

// For index targets: their one-hot rows, and which of them are ignored.
struct Hot {
  Tensor rows, ignored;
};
Hot hot_targets(const Node& n) {
  const auto constant = [](int32_t value) { return Tensor(Array({}, std::span<const int32_t>(&value, 1))); };
  const Tensor ignored = equal(n.in(1), constant(n.attrs<CrossEntropy>().ignore_index));
  return {one_hot(where(ignored, constant(0), n.in(1)), n.in(0).dim(-1)), ignored};
}

// The target distributions times the class weights: q in shaders/cross_entropy.comp.
Tensor weighted_targets(const Node& n) {
  const CrossEntropy& o = n.attrs<CrossEntropy>();
  const int64_t classes = n.in(0).dim(-1);
  const Tensor weights = o.weighted ? stop_gradient(n.in(2)) : ones({classes});
  const float even = o.smoothing / static_cast<float>(classes);
  if (has_probabilities(n)) return weights * (n.in(1) * (1 - o.smoothing) + even);
  const Hot hot = hot_targets(n);
  const Tensor q = hot.rows * weights * (1 - o.smoothing) + weights * even;
  return where(unsqueeze(hot.ignored, -1), 0.0f, q);
}

Tensor total_weight(const Node& n) {
  const CrossEntropy& o = n.attrs<CrossEntropy>();
  if (has_probabilities(n)) return full({}, static_cast<float>(rows_of(n.in(0).shape()).rows));
  const Hot hot = hot_targets(n);
  return sum(where(hot.ignored, 0.0f, sum(o.weighted ? hot.rows * stop_gradient(n.in(2)) : hot.rows, {-1})));
}

[[maybe_unused]] const bool kCut = define_cut(launch_makes_windows, {"cross_entropy"});
const OpDef& kCrossEntropyBackward =
    define_op({.name = "cross_entropy_backward",
               .dtypes = "f32 i32",
               .launch = launch_cross_entropy_backward,
               .flops = [](const Node& n) { return 6.0 * static_cast<double>(n.out().shape.numel()); },
               .composition = [](const Node& n) -> std::vector<Tensor> {
                 const CrossEntropy& o = n.attrs<CrossEntropy>();
                 const int lse = o.weighted ? 3 : 2;
                 const Tensor q = weighted_targets(n);
                 Tensor g = n.in(lse + 1);
                 if (o.reduction == Reduction::mean) g = g / n.in(lse + 2);
                 if (o.reduction == Reduction::none) g = unsqueeze(g, -1);
                 return {g * (exp(n.in(0) - unsqueeze(n.in(lse), -1)) * sum(q, {-1}, true) - q)};
               }});

std::vector<Tensor> cross_entropy_gradient(const Backward& b) {
  const CrossEntropy& o = b.attrs<CrossEntropy>();
  std::vector<Tensor> dxs(b.node.inputs.size());
  const Tensor logits = b.x(0), lse = b.y(1);
  const bool mean = o.reduction == Reduction::mean;
  if (b.needs(0) && b.dy(0).defined()) {
    std::vector<Tensor> inputs = b.node.inputs;
    inputs.push_back(lse);
    inputs.push_back(contiguous(b.dy(0)));
    if (mean) inputs.push_back(b.y(2));
    dxs[0] = make_node(kCrossEntropyBackward, o, std::move(inputs), {{logits.shape()}});
  }
  if (b.needs(0) && b.dy(1).defined()) {
    const Tensor d = unsqueeze(b.dy(1), -1) * exp(logits - unsqueeze(lse, -1));
    dxs[0] = dxs[0].defined() ? dxs[0] + d : d;
  }
  if (has_probabilities(b.node) && b.needs(1) && b.dy(0).defined()) {
    Tensor g = b.dy(0);
    if (mean) g = g / b.y(2);
    if (o.reduction == Reduction::none) g = unsqueeze(g, -1);
    const Tensor log_p = logits - unsqueeze(lse, -1);
    dxs[1] = g * (o.smoothing - 1) * (o.weighted ? log_p * b.x(2) : log_p);
  }
  return dxs;
}

const OpDef& kCrossEntropy =
    define_op({.name = "cross_entropy",
               .dtypes = "f32 i32",
               .launch = launch_cross_entropy,
               .gradient = cross_entropy_gradient,
               .flops = [](const Node& n) { return 6.0 * static_cast<double>(n.in(0).numel()); },
               .composition = [](const Node& n) -> std::vector<Tensor> {
                 const CrossEntropy& o = n.attrs<CrossEntropy>();
                 const Tensor lse = logsumexp(n.in(0), {-1});
                 const Tensor q = weighted_targets(n);
                 const Tensor rows = sum(q * (unsqueeze(lse, -1) - n.in(0)), {-1});
                 if (o.reduction == Reduction::none) return {rows, lse};
                 const Tensor divisor = total_weight(n);
                 return {o.reduction == Reduction::mean ? sum(rows) / divisor : sum(rows), lse, divisor};
               }});

}  // namespace

Tensor cross_entropy(const Tensor& logits, const Tensor& targets, const CrossEntropyOptions& options) {
  require_dtype("cross_entropy", logits, {DType::f32});
  require_dtype("cross_entropy", targets, {DType::i32, DType::f32});
  if (logits.rank() == 0 || logits.dim(-1) == 0)
    throw Error("cross_entropy",
                cat("the logits' shape ", logits.shape(), " has no classes on its last axis"));
  const int64_t classes = logits.dim(-1);
  Shape rows = logits.shape();
  rows.erase(rows.rank() - 1);
  const bool indices = targets.dtype() == DType::i32;
  if (targets.shape() != (indices ? rows : logits.shape()))
    throw Error(
        "cross_entropy",
        cat("targets of ", targets.dtype(), " ", targets.shape(), " do not fit logits ", logits.shape()),
        cat("give class indices, i32 ", rows, ", or probabilities, f32 ", logits.shape()));
  if (!(options.label_smoothing >= 0 && options.label_smoothing <= 1))
    throw Error("cross_entropy", cat("label_smoothing ", options.label_smoothing, " is not in [0, 1]"));
  CrossEntropy attributes{options.label_smoothing, options.ignore_index, options.reduction, false};
  std::vector<Tensor> inputs{contiguous(logits), contiguous(targets)};
  if (options.class_weights.defined()) {
    require_dtype("cross_entropy", options.class_weights, {DType::f32});
    if (options.class_weights.shape() != Shape{classes})
      throw Error("cross_entropy",
                  cat("class weights ", options.class_weights.shape(), " for ", classes, " classes"));
    attributes.weighted = true;
    inputs.push_back(contiguous(stop_gradient(options.class_weights)));
  }
  std::vector<Output> outputs{{options.reduction == Reduction::none ? rows : Shape{}}, {rows}};
  if (options.reduction != Reduction::none) outputs.push_back({Shape{}});
  return make_node(kCrossEntropy, attributes, std::move(inputs), std::move(outputs));
}

}  // namespace stithy
