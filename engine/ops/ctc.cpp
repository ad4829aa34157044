// Connectionist temporal classification. shaders/ctc.comp states the formulas.
#include "shaders/ctc.h"
#include "engine/graph/op.h"
#include "engine/ops.h"
#include "engine/ops/elements.h"
#include "engine/ops_sequence.h"

namespace stithy {
namespace {

struct Ctc {
  int64_t blank;
};

uint32_t u32(int64_t value) { return static_cast<uint32_t>(value); }

// Of lp [t, n, classes] and targets [n, longest].
struct Sizes {
  int64_t steps, batch, classes, longest;
  explicit Sizes(const Node& n)
      : steps(n.in(0).dim(0)), batch(n.in(0).dim(1)), classes(n.in(0).dim(2)), longest(n.in(1).dim(1)) {}
  int64_t states() const { return batch * (2 * longest + 1); }
};

// Inputs 0 to 3 of both ops: lp, targets, input lengths, target lengths.
template <class Kernel>
Kernel fill(Kernel kernel, const Node& n, const Launch& launch) {
  const Sizes s(n);
  kernel.input_lengths = launch.in(2);
  kernel.target_lengths = launch.in(3);
  kernel.targets = launch.in(1);
  kernel.lp = launch.in(0);
  kernel.push = {.steps = u32(s.steps),
                 .batch = u32(s.batch),
                 .classes = u32(s.classes),
                 .longest = u32(s.longest),
                 .blank = u32(n.attrs<Ctc>().blank),
                 .input_lengths_offset = u32(n.in(2).offset()),
                 .target_lengths_offset = u32(n.in(3).offset()),
                 .targets_offset = u32(n.in(1).offset()),
                 .lp_offset = u32(n.in(0).offset())};
  kernel.spec.local_size_x = std::min(64u, launch.device().max_workgroup_invocations);
  return kernel;
}
template <class Kernel>
void launch_each(Launch& launch, const Kernel& kernel, int64_t count) {
  launch(kernel,
         launch.grid(static_cast<uint64_t>(count + kernel.spec.local_size_x - 1) / kernel.spec.local_size_x));
}

// Outputs: loss, alpha.
void launch_ctc(const Node& n, Launch& launch) {
  const Sizes s(n);
  if (s.batch == 0) return;
  auto alpha = fill(shaders::ctc_alpha{.alpha = launch.out(1)}, n, launch);
  for (int64_t t = 0; t < s.steps; ++t) {
    alpha.push.step = u32(t);
    launch_each(launch, alpha, s.states());
  }
  launch_each(launch, fill(shaders::ctc_loss{.alpha = launch.out(1), .loss = launch.out(0)}, n, launch),
              s.batch);
}

// Inputs 4 to 6: alpha, loss, dloss.
void launch_ctc_backward(const Node& n, Launch& launch) {
  const Sizes s(n);
  if (n.out().shape.numel() == 0) return;
  const Ref betas = launch.scratch(static_cast<uint64_t>(s.steps * s.states()) * 4);
  auto beta = fill(shaders::ctc_beta{.beta = betas}, n, launch);
  for (int64_t t = s.steps; t-- > 0;) {
    beta.push.step = u32(t);
    launch_each(launch, beta, s.states());
  }
  auto grad = fill(shaders::ctc_grad{.alpha = launch.in(4),
                                     .beta = betas,
                                     .loss = launch.in(5),
                                     .dloss = launch.in(6),
                                     .dlp = launch.out()},
                   n, launch);
  grad.push.dloss_offset = u32(n.in(6).offset());
  launch_each(launch, grad, n.out().shape.numel());
}

double ctc_flops(const Node& n) {
  const Sizes s(n);
  return 12 * static_cast<double>(s.steps * s.states());
}

const OpDef& kCtcBackward = define_op({.name = "ctc_loss_backward",
                                       .dtypes = "f32 i32",
                                       .launch = launch_ctc_backward,
                                       .flops = [](const Node& n) {
                                         const Sizes s(n);
                                         return ctc_flops(n) + 4 * static_cast<double>(s.steps * s.states());
                                       }});
const OpDef& kCtc =
    define_op({.name = "ctc_loss",
               .dtypes = "f32 i32",
               .launch = launch_ctc,
               .gradient =
                   [](const Backward& b) {
                     std::vector<Tensor> dxs(4);
                     dxs[0] = make_node(kCtcBackward, b.attrs<Ctc>(),
                                        {b.x(0), b.x(1), b.x(2), b.x(3), b.y(1), b.y(0), contiguous(b.dy(0))},
                                        {{b.x(0).shape()}});
                     return dxs;
                   },
               .flops = ctc_flops});

}  // namespace

Tensor ctc_loss(const Tensor& log_probabilities, const Tensor& targets, const Tensor& input_lengths,
                const Tensor& target_lengths, int64_t blank) {
  require_dtype("ctc_loss", log_probabilities, {DType::f32});
  for (const Tensor* x : {&targets, &input_lengths, &target_lengths})
    require_dtype("ctc_loss", *x, {DType::i32});
  const Shape& shape = log_probabilities.shape();
  if (shape.rank() != 3 || targets.rank() != 2 || targets.dim(0) != shape[1])
    throw Error("ctc_loss", cat("log-probabilities ", shape, " and targets ", targets.shape(), " do not fit"),
                "they are [t, n, classes] and [n, labels]");
  for (const Tensor* lengths : {&input_lengths, &target_lengths})
    if (lengths->shape() != Shape{shape[1]})
      throw Error("ctc_loss",
                  cat("lengths have the shape ", lengths->shape(), " instead of ", Shape{shape[1]}));
  if (blank < 0 || blank >= shape[2])
    throw Error("ctc_loss", cat("blank ", blank, " is none of the ", shape[2], " classes"));
  return make_node(kCtc, Ctc{blank},
                   {contiguous(log_probabilities), contiguous(targets), contiguous(input_lengths),
                    contiguous(target_lengths)},
                   {{{shape[1]}}, {{shape[0], shape[1], 2 * targets.dim(1) + 1}}});
}

}  // namespace stithy
