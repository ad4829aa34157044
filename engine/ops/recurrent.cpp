// Recurrent layers: a product and a cell's step for each step of a sequence, one after the other or in one
// kernel. shaders/recurrent.glsl states the formulas.
#include "shaders/recurrent.h"
#include <limits>

#include "engine/graph/plan.h"
#include "engine/ops.h"
#include "engine/ops/elements.h"
#include "engine/ops/product.h"
#include "engine/ops_sequence.h"
#include "shaders/copy.h"
#include "shaders/recurrent_steps.h"

namespace stithy {
namespace {

struct Recurrent {
  Cell cell;
  RecurrentOptions options;
  bool has_lengths, has_dy = true;
};

uint32_t u32(int64_t value) { return static_cast<uint32_t>(value); }
int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t gates_of(Cell cell) { return cell == Cell::lstm ? 4 : cell == Cell::gru ? 3 : 1; }
// What is kept of each step for backward: the state before it, and values of the cell.
int64_t planes_of(Cell cell) { return cell == Cell::lstm ? 6 : cell == Cell::gru ? 5 : 1; }

// The steps of a sequence, and where they lie.
struct Steps {
  int64_t steps, batch, hidden, gates, step_rows, batch_rows;
  bool reverse;
  Steps(const Recurrent& o, const Shape& y)
      : steps(y[o.options.batch_first]),
        batch(y[!o.options.batch_first]),
        hidden(y[2]),
        gates(gates_of(o.cell)),
        step_rows(o.options.batch_first ? 1 : batch),
        batch_rows(o.options.batch_first ? steps : 1),
        reverse(o.options.reverse) {}
  // The step that runs as the i-th.
  int64_t at(int64_t i) const { return reverse ? steps - 1 - i : i; }
  int64_t state() const { return batch * hidden; }
};

template <class Kernel>
void launch_step(Launch& launch, Kernel kernel, int64_t count) {
  kernel.spec.local_size_x = std::min(64u, launch.device().max_workgroup_invocations);
  launch(kernel,
         launch.grid(static_cast<uint64_t>(count + kernel.spec.local_size_x - 1) / kernel.spec.local_size_x));
}

template <class Kernel>
void place(Kernel& kernel, const Recurrent& o, const Steps& s, int64_t step) {
  kernel.spec.CELL = static_cast<uint32_t>(o.cell);
  kernel.spec.HAS_LENGTHS = o.has_lengths;
  kernel.push.batch = u32(s.batch);
  kernel.push.hidden = u32(s.hidden);
  kernel.push.step = u32(step);
  kernel.push.first_row = u32(step * s.step_rows);
  kernel.push.row_step = u32(s.batch_rows);
  kernel.push.plane = u32(s.steps * s.state());
}

void launch_copy(Launch& launch, const Tensor& x, const Ref& from, const Ref& to) {
  const Elements elements =
      walk_elements(x.shape(), {{x.strides(), x.offset()}, {contiguous_strides(x.shape()), 0}});
  shaders::copy copy{.x = from, .y = to};
  copy.push = {.count = elements.count, .x_offset = elements[0].offset};
  std::ranges::copy(elements.shape, std::begin(copy.push.shape));
  std::ranges::copy(elements[0].strides, std::begin(copy.push.x_strides));
  copy.spec.DIMS = elements.dims;
  copy.spec.X_MODE = elements[0].mode;
  copy.spec.X_DTYPE = copy.spec.Y_DTYPE = static_cast<uint32_t>(DType::f32);
  launch_elements(launch, copy, elements.count);
}

uint64_t bytes_of(const Ref& ref) { return storage_bytes(ref.node->out(ref.output)); }

// How the steps run: with products of their own, or ROWS elements of the batch with theirs, a kernel a step
// or a kernel for all steps.
struct Candidate {
  uint32_t rows = 0;  // 0: products of their own
  bool whole = false;
  std::string label() const {
    return rows == 0 ? "products" : cat(whole ? "all steps of " : "steps of ", rows, " rows");
  }
};

// Subgroups of a known size hand the state around; where that is slow, products of their own come first.
std::vector<Candidate> candidates_of(const vk::DeviceInfo& device, const Steps& s, bool aligned) {
  std::vector<Candidate> candidates;
  if (aligned && device.fixed_subgroup_size && device.subgroup_size >= 4 && s.hidden % 4 == 0) {
    // No more rows than there are elements, but for those that fill up the last four.
    for (const uint32_t rows : {16u, 8u, 4u})
      if (rows / 2 < s.batch && !(device.few_registers && rows > 4) && (device.is_cpu() || rows <= 8))
        candidates.push_back({.rows = rows, .whole = device.is_cpu()});
    // A small batch leaves cores idle where a workgroup has all of the state.
    if (device.is_cpu()) candidates.push_back({.rows = 4, .whole = false});
  }
  candidates.insert(device.slow_broadcast ? candidates.begin() : candidates.end(), Candidate{});
  return candidates;
}

Candidate choose(Launch& launch, const Recurrent& o, const Steps& s, const char* name, bool aligned = true) {
  const std::vector<Candidate> candidates = candidates_of(launch.device(), s, aligned);
  Choice choice{.key = cat(name, " ", static_cast<int>(o.cell), " ", size_bucket(s.batch), "x",
                           size_bucket(s.hidden), " steps ", size_bucket(s.steps)),
                .labels = {},
                .plain = 0};
  for (size_t i = 0; i < candidates.size(); ++i) {
    choice.labels.push_back(candidates[i].label());
    if (candidates[i].rows == 0) choice.plain = i;
  }
  return candidates[launch.choose(std::move(choice))];
}

// Launches `kernel` over `count` steps of which each workgroup makes a tile, `lane_units` elements of the
// state a lane; `turns` is what its loops turn for a lane's block in a step.
template <class Kernel>
void launch_steps(Launch& launch, Kernel kernel, const Recurrent& o, const Steps& s,
                  const Candidate& candidate, int64_t count, int64_t lane_units, int64_t turns,
                  bool backward) {
  const uint32_t lanes = launch.device().subgroup_size;
  kernel.spec.local_size_x = kernel.spec.LANES = lanes;
  kernel.spec.ROWS = candidate.rows;
  kernel.spec.CELL = static_cast<uint32_t>(o.cell);
  kernel.spec.HAS_LENGTHS = o.has_lengths;
  kernel.push.batch = u32(s.batch);
  kernel.push.hidden = u32(s.hidden);
  kernel.push.last = u32(s.steps - 1);
  kernel.push.start = static_cast<int32_t>(s.at(0));
  kernel.push.direction = s.reverse ? -1 : 1;
  kernel.push.step_rows = u32(s.step_rows);
  kernel.push.batch_rows = u32(s.batch_rows);
  kernel.push.plane = u32(s.steps * s.state());
  const int64_t block = lane_units * lanes, blocks = divide_up(s.hidden, block);
  const int64_t tile_blocks = candidate.whole ? blocks : 1;
  kernel.push.units = u32(tile_blocks * block);
  const int64_t at_once =
      candidate.whole ? std::max<int64_t>(launch.device().most_turns / (tile_blocks * turns + 1), 1) : 1;
  const Groups groups =
      launch.grid(static_cast<uint64_t>(divide_up(s.batch, candidate.rows) * divide_up(blocks, tile_blocks)));
  for (int64_t done = 0; done < count; done += at_once) {
    const int64_t next = std::min(done + at_once, count);
    kernel.push.from = u32(backward ? count - next : done);
    kernel.push.to = u32(backward ? count - done : next);
    launch(kernel, groups);
  }
}

// Inputs: x, weight, bias, h0, c0, lengths. Outputs: y, h, c, saved.
void launch_recurrent_steps(const Node& n, Launch& launch, const Recurrent& o, const Steps& s,
                            const Candidate& candidate) {
  const Ref packed = launch.scratch(static_cast<uint64_t>(s.hidden * s.hidden) * 16);
  const Ref h0 = launch.scratch(static_cast<uint64_t>(s.state()) * 4);
  launch_copy(launch, n.in(3), launch.in(3), h0);
  shaders::recurrent_pack pack{.w = launch.in(1), .packed = packed};
  pack.spec.CELL = static_cast<uint32_t>(o.cell);
  pack.push = {.hidden = u32(s.hidden), .w_offset = u32(n.in(1).offset())};
  launch_step(launch, pack, s.hidden * s.hidden);
  const auto fill_in = [&](auto kernel) {
    kernel.x = launch.in(0);
    kernel.packed = packed;
    kernel.bias = launch.in(2);
    kernel.lengths = launch.in(5);
    kernel.h0 = h0;
    kernel.h = launch.out(1);
    kernel.c = launch.out(2);
    kernel.y = launch.out(0);
    kernel.saved = launch.out(3);
    kernel.push.x_offset = u32(n.in(0).offset());
    kernel.push.bias_offset = u32(n.in(2).offset());
    kernel.push.lengths_offset = u32(n.in(5).offset());
    launch_steps(launch, kernel, o, s, candidate, s.steps, 1, s.hidden / 4 + 24, false);
  };
  candidate.whole ? fill_in(shaders::recurrent_steps{}) : fill_in(shaders::recurrent_step{});
}

void launch_recurrent(const Node& n, Launch& launch) {
  const Recurrent& o = n.attrs<Recurrent>();
  const Steps s(o, n.out().shape);
  if (n.out().shape.numel() == 0) return;
  if (o.cell == Cell::lstm) launch_copy(launch, n.in(4), launch.in(4), launch.out(2));
  const Candidate candidate = choose(launch, o, s, "recurrent");
  if (candidate.rows > 0) return launch_recurrent_steps(n, launch, o, s, candidate);
  launch_copy(launch, n.in(3), launch.in(3), launch.out(1));
  Product product{.k = s.hidden, .c_m = s.gates * s.hidden};
  product.a = {.storage = launch.out(1),
               .bytes = static_cast<uint64_t>(s.state()) * 4,
               .size = s.batch,
               .stride = s.hidden,
               .k_stride = 1};
  product.b = {.storage = launch.in(1),
               .bytes = bytes_of(launch.in(1)),
               .offset = n.in(1).offset(),
               .size = product.c_m,
               .stride = s.hidden,
               .k_stride = 1};
  shaders::recurrent cell{.x = launch.in(0),
                          .s = launch.scratch(static_cast<uint64_t>(product.count()) * 4),
                          .bias = launch.in(2),
                          .lengths = launch.in(5),
                          .h = launch.out(1),
                          .c = launch.out(2),
                          .y = launch.out(0),
                          .saved = launch.out(3)};
  cell.push.x_offset = u32(n.in(0).offset());
  cell.push.bias_offset = u32(n.in(2).offset());
  cell.push.lengths_offset = u32(n.in(5).offset());
  for (int64_t i = 0; i < s.steps; ++i) {
    launch_product(launch, product, cell.s, true);
    place(cell, o, s, s.at(i));
    launch_step(launch, cell, s.state());
  }
}

// Inputs: saved, y, weight, lengths, dy, dh, dc. Outputs: ds, dx, dh0, dc0.
void launch_recurrent_steps_backward(const Node& n, Launch& launch, const Recurrent& o, const Steps& s,
                                     const Candidate& candidate) {
  const auto fill_in = [&](auto kernel) {
    kernel.saved = launch.in(0);
    kernel.w = launch.in(2);
    kernel.y = launch.in(1);
    kernel.dy = launch.in(4);
    kernel.lengths = launch.in(3);
    kernel.dh = launch.out(2);
    kernel.dc = launch.out(3);
    kernel.ds = launch.out(0);
    kernel.dx = launch.out(1);
    kernel.spec.HAS_DY = o.has_dy;
    kernel.push.w_offset = u32(n.in(2).offset());
    kernel.push.dy_offset = u32(n.in(4).offset());
    kernel.push.lengths_offset = u32(n.in(3).offset());
    launch_steps(launch, kernel, o, s, candidate, s.steps + 1, 4, s.gates * s.hidden / 4 + 96, true);
  };
  candidate.whole ? fill_in(shaders::recurrent_steps_backward{})
                  : fill_in(shaders::recurrent_step_backward{});
}

void launch_recurrent_backward(const Node& n, Launch& launch) {
  const Recurrent& o = n.attrs<Recurrent>();
  const Steps s(o, n.in(1).shape());
  if (n.in(1).numel() == 0) return;
  launch_copy(launch, n.in(5), launch.in(5), launch.out(2));
  if (o.cell == Cell::lstm) launch_copy(launch, n.in(6), launch.in(6), launch.out(3));
  const Candidate candidate = choose(launch, o, s, "recurrent_backward", n.in(2).offset() % 4 == 0);
  if (candidate.rows > 0) return launch_recurrent_steps_backward(n, launch, o, s, candidate);
  const int64_t columns = s.gates * s.hidden;
  Product product{.k = columns, .c_m = s.hidden};
  product.a = {.storage = launch.out(0),
               .bytes = static_cast<uint64_t>(s.steps * s.batch * columns) * 4,
               .size = s.batch,
               .stride = s.batch_rows * columns,
               .k_stride = 1};
  product.b = {.storage = launch.in(2),
               .bytes = bytes_of(launch.in(2)),
               .offset = n.in(2).offset(),
               .size = s.hidden,
               .stride = 1,
               .k_stride = s.hidden};
  shaders::recurrent_backward cell{.saved = launch.in(0),
                                   .y = launch.in(1),
                                   .dy = launch.in(4),
                                   .lengths = launch.in(3),
                                   .back = launch.scratch(static_cast<uint64_t>(s.state()) * 4),
                                   .dh = launch.out(2),
                                   .dc = launch.out(3),
                                   .ds = launch.out(0),
                                   .dx = launch.out(1)};
  cell.spec.HAS_DY = o.has_dy;
  cell.push.dy_offset = u32(n.in(4).offset());
  cell.push.lengths_offset = u32(n.in(3).offset());
  for (int64_t i = s.steps; i-- > 0;) {
    cell.spec.IS_FIRST = i == s.steps - 1;
    place(cell, o, s, s.at(i));
    launch_step(launch, cell, s.state());
    product.a.offset = s.at(i) * s.step_rows * columns;
    launch_product(launch, product, cell.back, true);
  }
  launch_step(launch,
              shaders::recurrent_finish{.back = cell.back, .dh = cell.dh, .push = {.count = u32(s.state())}},
              s.state());
}

// The cells out of ordinary ops.
std::vector<Tensor> recurrent_composition(const Node& n) {
  const Recurrent& o = n.attrs<Recurrent>();
  const Steps s(o, n.out().shape);
  const int64_t time = o.options.batch_first;
  Tensor h = n.in(3), c = n.in(4);
  std::vector<Tensor> ys(static_cast<size_t>(s.steps));
  for (int64_t i = 0; i < s.steps; ++i) {
    const int64_t t = s.at(i);
    const Tensor x = squeeze(slice(n.in(0), time, t, t + 1), time);
    const Tensor product = matmul(h, transpose(n.in(1))) + n.in(2);
    const auto gate = [&](const Tensor& of, int64_t k) {
      return slice(of, 1, k * s.hidden, (k + 1) * s.hidden);
    };
    const Tensor sum = x + product;
    Tensor h_after, c_after = c;
    if (o.cell == Cell::lstm) {
      const Tensor in = sigmoid(gate(sum, 0)), forget = sigmoid(gate(sum, 1)), g = tanh(gate(sum, 2)),
                   out = sigmoid(gate(sum, 3));
      c_after = forget * c + in * g;
      h_after = out * tanh(c_after);
    } else if (o.cell == Cell::gru) {
      const Tensor r = sigmoid(gate(sum, 0)), z = sigmoid(gate(sum, 1)),
                   candidate = tanh(gate(x, 2) + r * gate(product, 2));
      h_after = (1.0f - z) * candidate + z * h;
    } else {
      h_after = o.cell == Cell::tanh ? tanh(sum) : relu(sum);
    }
    Tensor y = h_after;
    if (o.has_lengths) {
      const Tensor valid = unsqueeze(greater(n.in(5), Array({1}, std::vector{static_cast<int32_t>(t)})), 1);
      y = where(valid, h_after, 0.0f);
      h_after = where(valid, h_after, h);
      c_after = o.cell == Cell::lstm ? where(valid, c_after, c) : c;
    }
    h = h_after;
    c = c_after;
    ys[static_cast<size_t>(t)] = y;
  }
  return {stack(ys, time), h, o.cell == Cell::lstm ? c : Tensor(), Tensor()};
}

double recurrent_flops(const Node& n) {
  const Recurrent& o = n.attrs<Recurrent>();
  const Steps s(o, n.op->name == "recurrent" ? n.out().shape : n.in(1).shape());
  return static_cast<double>(s.steps * s.state() * s.gates) * static_cast<double>(2 * s.hidden + 8);
}

const OpDef& kRecurrentBackward = define_op({.name = "recurrent_backward",
                                             .dtypes = "f32 i32",
                                             .launch = launch_recurrent_backward,
                                             .flops = recurrent_flops});

std::vector<Tensor> recurrent_gradient(const Backward& b) {
  Recurrent o = b.attrs<Recurrent>();
  const Tensor y = b.y(0), weight = b.x(1);
  const bool is_lstm = o.cell == Cell::lstm;
  o.has_dy = b.dy(0).defined();
  const auto state = [&](int i) { return b.dy(i).defined() ? b.dy(i) : zeros(b.node.out(i).shape); };
  // `saved` is for this gradient alone: nobody else is given it.
  const Tensor ds = make_node(kRecurrentBackward, o,
                              {b.y(3), y, contiguous(weight), b.x(5),
                               o.has_dy ? contiguous(b.dy(0)) : zeros({1}), state(1), state(2)},
                              {{b.x(0).shape()},
                               {o.cell == Cell::gru ? b.x(0).shape() : Shape{1}},
                               {b.x(3).shape()},
                               {b.x(4).shape()}});
  std::vector<Tensor> dxs(6);
  if (b.needs(0)) dxs[0] = o.cell == Cell::gru ? ds.node()->tensor(1) : ds;
  const Tensor rows = reshape(ds, {-1, weight.dim(0)});
  if (b.needs(1)) dxs[1] = matmul(transpose(rows), reshape(slice(b.y(3), 0, 0, 1), {-1, weight.dim(1)}));
  if (b.needs(2)) dxs[2] = sum(rows, {0});
  if (b.needs(3)) dxs[3] = ds.node()->tensor(2);
  if (b.needs(4) && is_lstm) dxs[4] = ds.node()->tensor(3);
  return dxs;
}

const OpDef& kRecurrent = define_op({.name = "recurrent",
                                     .dtypes = "f32 i32",
                                     .launch = launch_recurrent,
                                     .gradient = recurrent_gradient,
                                     .flops = recurrent_flops,
                                     .composition = recurrent_composition});

}  // namespace

RecurrentOutputs recurrent(Cell cell, const Tensor& x, const Tensor& weight, const Tensor& bias,
                           const Tensor& h0, const Tensor& c0, const Tensor& lengths,
                           const RecurrentOptions& options) {
  require_dtype("recurrent", x, {DType::f32});
  require_dtype("recurrent", weight, {DType::f32});
  const int64_t gates = gates_of(cell);
  if (weight.rank() != 2 || weight.dim(0) != gates * weight.dim(1) || weight.dim(1) == 0)
    throw Error("recurrent",
                cat("a weight of shape ", weight.shape(), " is not [", gates, " hidden, hidden]"));
  const int64_t hidden = weight.dim(1);
  if (x.rank() != 3 || x.dim(2) != gates * hidden)
    throw Error("recurrent",
                cat("x of shape ", x.shape(), " does not fit a weight ", weight.shape(),
                    ": its last axis must be ", gates * hidden),
                options.batch_first ? "x is [n, t, gates hidden]" : "x is [t, n, gates hidden]");
  const int64_t batch = x.dim(options.batch_first ? 0 : 1);
  const auto checked = [&](const Tensor& value, const char* what, const Shape& shape) {
    if (!value.defined()) return zeros(shape);
    require_dtype("recurrent", value, {DType::f32});
    if (value.shape() != shape)
      throw Error("recurrent", cat(what, " has the shape ", value.shape(), " instead of ", shape));
    return value;
  };
  if (c0.defined() && cell != Cell::lstm)
    throw Error("recurrent", "c0 is for the LSTM alone", "leave it out");
  const Tensor b = contiguous(checked(bias, "bias", {gates * hidden}));
  const Tensor h = checked(h0, "h0", {batch, hidden});
  const Tensor c = cell == Cell::lstm ? checked(c0, "c0", {batch, hidden}) : zeros({1});
  if (lengths.defined()) {
    require_dtype("recurrent", lengths, {DType::i32});
    if (lengths.shape() != Shape{batch})
      throw Error("recurrent", cat("lengths have the shape ", lengths.shape(), " instead of ", Shape{batch}));
  }
  const Recurrent o{.cell = cell, .options = options, .has_lengths = lengths.defined()};
  Shape y = x.shape(), saved{planes_of(cell), x.dim(0), x.dim(1), hidden};
  y[2] = hidden;
  const Tensor first = make_node(kRecurrent, o,
                                 {contiguous(x), contiguous(weight), b, h, c,
                                  lengths.defined() ? contiguous(lengths) : Tensor(Array({1}, DType::i32))},
                                 {{y}, {{batch, hidden}}, {c.shape()}, {saved}});
  return {first, first.node()->tensor(1), cell == Cell::lstm ? first.node()->tensor(2) : Tensor()};
}

}  // namespace stithy
