#include "engine/graph/plan.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <sstream>
#include <unordered_map>
#include <unordered_set>

#include "engine/core/error.h"
#include "engine/graph/fuse.h"
#include "engine/graph/hazard.h"
#include "engine/graph/memory.h"
#include "engine/graph/op.h"
#include "engine/graph/pieces.h"
#include "engine/graph/submissions.h"
#include "engine/graph/variable_state.h"
#include "shaders/find_nan.h"

namespace stithy {
namespace {

// Guard bands on both sides of every value when they are asked for.
constexpr uint64_t kGuardBytes = 256;
constexpr uint32_t kNanInvocations = 64;

std::vector<const Node*> reachable(const std::vector<Tensor>& fetches, const std::vector<Tensor>& updates) {
  std::vector<const Node*> nodes;
  std::unordered_set<const Node*> seen;
  const auto visit = [&](const Tensor& tensor) {
    if (seen.insert(tensor.node().get()).second) nodes.push_back(tensor.node().get());
  };
  for (const Tensor& tensor : fetches) visit(tensor);
  for (const Tensor& tensor : updates) visit(tensor);
  for (size_t i = 0; i < nodes.size(); ++i)
    for (const Tensor& x : nodes[i]->inputs) visit(x);
  std::sort(nodes.begin(), nodes.end(), [](const Node* a, const Node* b) { return a->id < b->id; });
  return nodes;
}

// Elements [first, last] of the storage that a view covers.
std::pair<int64_t, int64_t> extent(const Value& value) {
  int64_t first = value.offset, last = value.offset;
  for (int i = 0; i < value.shape.rank(); ++i) {
    const int64_t reach = (value.shape[i] - 1) * value.strides[i];
    (reach < 0 ? first : last) += reach;
  }
  return {first, last};
}

class Planner {
 public:
  Planner(const ProgramOptions& options, const vk::DeviceInfo& device) : device_(device) {
    plan_.options = options;
    chooser_ = options.choose;
    if (ChoiceTable* table = choice_table(); !chooser_ && table)
      chooser_ = [table, &device](const Choice& choice) { return table->choose(choice, device); };
    // With checks in them the larger kernels compile for minutes on CPU drivers.
    if (!options.choose && device.instrumented) chooser_ = [](const Choice& choice) { return choice.plain; };
  }

  Plan run(const std::vector<Tensor>& fetches, const std::vector<Tensor>& updates) {
    plan_.fetches = fetches;
    plan_.updates = updates;
    plan_.nodes = reachable(fetches, updates);
    for (const Node* node : plan_.nodes)
      if (node->kind != NodeKind::op) add_source(*node);
    if (!plan_.options.guard) find_homes();
    if (plan_.options.fuse && !plan_.options.find_nan) find_groups();
    for (size_t i = 0; i < plan_.nodes.size(); ++i) {
      const Node& node = *plan_.nodes[i];
      if (node.kind != NodeKind::op) continue;
      if (const auto group = groups_.find(&node); group == groups_.end())
        launch(node, static_cast<int>(i));
      else if (group->second->members().back() == &node)
        launch_group(*group->second, static_cast<int>(i));
    }
    const int end = static_cast<int>(plan_.nodes.size());
    for (const Tensor& tensor : fetches) use(storage_of(tensor), end);
    place();
    resolve();
    order_by_dependence(plan_.dispatches);
    place_barriers(plan_.dispatches);
    count_work();
    predict_seconds(plan_, device_);
    return std::move(plan_);
  }

 private:
  using Key = std::tuple<const Node*, int, int>;  // node, output, scratch
  static Key key_of(const Ref& ref) { return {ref.node, ref.output, ref.scratch}; }
  static Key storage_of(const Tensor& tensor) {
    const Value& value = tensor.node()->out(tensor.output());
    return {value.storage_node, value.storage_output, -1};
  }

  void check_size(const Node& node, const Shape& shape, DType dtype, uint64_t bytes) const {
    const uint64_t limit = std::min(device_.max_allocation, device_.max_buffer);
    if (bytes + (plan_.options.guard ? 2 * kGuardBytes : 0) > limit)
      throw Error(node.label(),
                  cat("tensor ", dtype, " ", shape, " has ", format_bytes(bytes), ", ", device_.name,
                      " allocates ", format_bytes(limit), " at once"),
                  "make the tensor smaller: a smaller batch, or split it");
  }
  // What the pieces of pieces.h do not cover.
  void check_binding(const Node& node, uint64_t bytes) const {
    if (bytes > device_.max_storage_buffer_range)
      throw Error(node.label(),
                  cat("a tensor has ", format_bytes(bytes), ", ", device_.name, " allows kernels ",
                      format_bytes(device_.max_storage_buffer_range), " (maxStorageBufferRange)"),
                  "make the tensor smaller: a smaller batch, or split it");
  }

  // A value that ops want side by side with others can be made right there, without a copy, when it is made
  // by a kernel and wanted whole, once.
  void find_homes() {
    int block = 0;
    for (const Node* node : plan_.nodes) {
      if (node->kind != NodeKind::op || !node->op->places) continue;
      const std::vector<int64_t> places = node->op->places(*node);
      std::vector<bool>& in_place = in_place_[node];
      for (size_t i = 0; i < places.size(); ++i) {
        const Tensor& x = node->inputs[i];
        const Key key = storage_of(x);
        const Node& source = *std::get<0>(key);
        const uint64_t begin = static_cast<uint64_t>(places[i]) * size_of(x.dtype());
        in_place.push_back(places[i] >= 0 && begin % kAlignment == 0 && source.kind == NodeKind::op &&
                           !in_place_.contains(&source) && !homes_.contains(key) && x.is_contiguous() &&
                           x.numel() == source.out(std::get<1>(key)).shape.numel());
        if (in_place.back()) homes_[key] = {block, begin};
      }
      homes_[{node, 0, -1}] = {block++, 0};
    }
  }

  // A value that lives in the arena from step `first` on.
  void add_value(const Key& key, uint64_t bytes, int first) {
    const uint64_t guard = plan_.options.guard ? 2 * kGuardBytes : 0;
    places_[key] = lifetimes_.size();
    const auto& [node, output, scratch] = key;
    plan_.values.push_back({node, output, scratch >= 0, {-1, 0, bytes}, first, first});
    lifetimes_.push_back({aligned(bytes) + guard, plan_.options.guard ? 0 : first,
                          plan_.options.guard ? static_cast<int>(plan_.nodes.size()) : first});
    if (const auto home = homes_.find(key); home != homes_.end())
      std::tie(lifetimes_.back().block, lifetimes_.back().within) = home->second;
  }

  void use(const Key& key, int step) {
    const auto found = places_.find(key);
    if (found == places_.end()) return;
    for (int* last : {&lifetimes_[found->second].last, &plan_.values[found->second].last})
      *last = std::max(*last, step);
  }

  void add_source(const Node& node) {
    const Value& value = node.out();
    const uint64_t bytes = storage_bytes(value);
    check_size(node, value.shape, value.dtype, bytes);
    const Key key{&node, 0, -1};
    switch (node.kind) {
      case NodeKind::input:
        // Inputs arrive before the first step, whenever their node was built.
        add_value(key, bytes, -1);
        plan_.inputs.push_back({node.tensor(), {}});
        plan_.upload_bytes += 2 * aligned(bytes);
        break;
      case NodeKind::constant:
        if (constants_ < 0) constants_ = add_buffer(PlannedBuffer::Kind::constants);
        fixed_[key] = {constants_, plan_.constant_bytes, bytes};
        plan_.constants.push_back({node.tensor(), fixed_[key]});
        plan_.constant_bytes += aligned(bytes);
        plan_.buffers[static_cast<size_t>(constants_)].bytes = plan_.constant_bytes;
        break;
      case NodeKind::variable: {
        const auto [place, offset] = place_of(node.variable);
        const auto [buffer, fresh] = variable_buffers_.try_emplace(place.get(), -1);
        if (fresh) {
          buffer->second = add_buffer(PlannedBuffer::Kind::variable, place);
          const uint64_t size = static_cast<uint64_t>(place->shape.numel()) * size_of(place->dtype);
          const uint64_t whole = aligned(std::max<uint64_t>(size, 1));
          plan_.buffers.back().bytes = whole;
          plan_.variable_bytes += whole;
          if (!place->buffer) plan_.new_variable_bytes += whole;
        }
        fixed_[key] = {buffer->second, offset, bytes};
        plan_.variables.push_back({node.tensor(), fixed_[key]});
        break;
      }
      case NodeKind::op: break;
    }
    if (plan_.options.find_nan) check_nan(node);
  }

  int add_buffer(PlannedBuffer::Kind kind, std::shared_ptr<VariableState> variable = nullptr) {
    plan_.buffers.push_back({kind, 0, std::move(variable)});
    return static_cast<int>(plan_.buffers.size()) - 1;
  }

  void find_groups() {
    fusions_ = find_fusions(plan_.nodes, plan_.fetches, device_);
    for (const FusedGroup& group : fusions_) {
      const std::vector<const Node*> members = group.members();
      if (std::any_of(members.begin(), members.end(),
                      [&](const Node* node) { return needs_pieces(*node, device_); }))
        continue;
      for (const Node* node : members) groups_[node] = &group;
    }
  }

  void add_result(const Node& node, int output, int step) {
    const Value& value = node.outputs[static_cast<size_t>(output)];
    check_size(node, value.shape, value.dtype, storage_bytes(value));
    add_value({&node, output, -1}, storage_bytes(value), step);
  }

  void add_call(const Node& node, PlannedCall call, std::vector<const Node*> fused) {
    plan_.dispatches.push_back(
        {.node = &node, .fused = std::move(fused), .call = std::move(call.call), .groups = call.groups});
  }

  void launch_chain(const Chain& chain, int step) {
    for (const Node* node : chain.results)
      if (node != chain.anchor) add_result(*node, 0, step);
    add_call(*chain.ops.back(), fused_call(chain, device_), chain.ops);
  }

  // The anchor's kernel with the pointwise ops built in; where its launch is not of a form that allows it,
  // they run apart: before and after it.
  void launch_group(const FusedGroup& group, int step) {
    for (const Node* node : group.members())
      for (const Tensor& x : node->inputs) use(storage_of(x), step);
    if (!group.anchor) {
      plan_.fused_bytes_saved += group.saved_bytes;
      return launch_chain(group.after, step);
    }
    const Node& anchor = *group.anchor;
    const Launch launch = launched(anchor, anchor);
    const auto is = [](const Ref& ref, const Node* node) {
      return ref.node == node && ref.output == 0 && ref.scratch < 0;
    };
    const Node* read = group.before.ops.empty() ? nullptr : group.before.results.front();
    const Node* written = group.after.ops.empty() ? nullptr : &anchor;
    bool fits = true;
    int reads = 0, writes = 0;
    for (const PlannedCall& call : launch.calls())
      for (size_t b = 0; b < call.call.refs.size(); ++b) {
        const bool in = read && is(call.call.refs[b], read), out = written && is(call.call.refs[b], written);
        if (in) fits = fits && call.call.kernel->fuse_in == static_cast<int>(b);
        if (out) fits = fits && call.call.kernel->fuse_out == static_cast<int>(b);
        reads += in;
        writes += out;
      }
    fits = fits && reads == (read ? 1 : 0) && writes == (written ? 1 : 0);

    if (read && !fits) launch_chain(group.before, step);
    const bool hidden = fits && written &&
                        std::find(group.after.results.begin(), group.after.results.end(), written) ==
                            group.after.results.end();
    for (size_t i = 0; i < anchor.outputs.size(); ++i)
      if (anchor.outputs[i].storage_node == &anchor && !(i == 0 && hidden))
        add_result(anchor, static_cast<int>(i), step);
    add_scratch(anchor, launch, step);
    if (fits && written)
      for (const Node* node : group.after.results)
        if (node != written) add_result(*node, 0, step);
    for (const PlannedCall& call : launch.calls()) {
      const auto touches = [&](const Node* node) {
        return node && std::any_of(call.call.refs.begin(), call.call.refs.end(),
                                   [&](const Ref& ref) { return is(ref, node); });
      };
      const Chain before = fits && touches(read) ? group.before : Chain{};
      const Chain after = fits && touches(written) ? group.after : Chain{};
      if (before.ops.empty() && after.ops.empty()) {
        add_call(anchor, call, {});
        continue;
      }
      FusedGroup part{before, &anchor, after};
      add_call(anchor, fused_call(call, before, after), part.members());
    }
    if (fits) plan_.fused_bytes_saved += group.saved_bytes;
    if (written && !fits) {
      // The anchor's value is an ordinary leaf now.
      Chain apart = group.after;
      apart.anchor = nullptr;
      std::erase(apart.results, written);
      use({written, 0, -1}, step);
      launch_chain(apart, step);
    }
  }

  Launch launched(const Node& node, const Node& piece) {
    Launch launch(piece, device_, chooser_);
    if (const auto found = in_place_.find(&node); found != in_place_.end())
      launch.set_in_place(found->second);
    node.op->launch(piece, launch);
    for (const Choice& choice : launch.choices()) plan_.choices.push_back({&node, choice});
    return launch;
  }

  void add_scratch(const Node& node, const Launch& launch, int step) {
    for (size_t i = 0; i < launch.scratch_bytes().size(); ++i) {
      const uint64_t bytes = (std::max<uint64_t>(launch.scratch_bytes()[i], 1) + 15) / 16 * 16;
      check_size(node, {static_cast<int64_t>(bytes)}, DType::u8, bytes);
      add_value({&node, 0, static_cast<int>(i)}, bytes, step);
    }
  }

  void launch(const Node& node, int step) {
    for (const Tensor& x : node.inputs) use(storage_of(x), step);
    if (!node.op->launch) {
      if (node.out().storage_node == &node)
        throw Error(node.label(), "has no kernel for this device", "use another op");
      return;
    }
    for (size_t i = 0; i < node.outputs.size(); ++i)
      if (node.outputs[i].storage_node == &node) add_result(node, static_cast<int>(i), step);
    Pieces pieces;
    if (needs_pieces(node, device_)) pieces = cut_into_pieces(node, device_);
    add_windows(std::move(pieces.windows));
    if (pieces.nodes.empty()) launch_piece(node, node, step);
    for (const std::shared_ptr<const Node>& piece : pieces.nodes) {
      plan_.pieces.push_back(piece);
      launch_piece(node, *piece, step);
    }
    if (plan_.options.find_nan) check_nan(node);
  }

  // The calls of a node, or of one of its pieces.
  void launch_piece(const Node& node, const Node& piece, int step) {
    Launch launch = launched(node, piece);
    add_scratch(piece, launch, step);
    add_windows(launch.take_windows());
    for (const PlannedCall& call : launch.calls()) {
      if (call.call.refs.size() != call.call.kernel->bindings.size())
        throw Error(node.label(),
                    cat("kernel ", call.call.kernel->name, " got ", call.call.refs.size(), " buffers"));
      add_call(node, call, {});
    }
  }

  void add_windows(std::vector<Window> windows) {
    for (Window& window : windows) {
      plan_.pieces.push_back(window.node);
      const Node* node = window.node.get();
      windows_.emplace(node, std::move(window));
    }
  }

  void check_nan(const Node& node) {
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      const Value& value = node.outputs[i];
      if (value.dtype != DType::f32 || value.shape.numel() == 0) continue;
      if (report_ < 0) report_ = add_buffer(PlannedBuffer::Kind::report);
      const auto slot = static_cast<uint32_t>(plan_.nan_checks.size());
      plan_.nan_checks.push_back({&node, static_cast<int>(i)});
      Launch launch(node, device_);
      const auto count = static_cast<uint32_t>(value.shape.numel());
      launch(shaders::find_nan{.x = launch.out(static_cast<int>(i)),
                               .report = {nullptr, 0, kReport},
                               .push = {.count = count, .slot = slot},
                               .spec = {.local_size_x = kNanInvocations}},
             launch.grid((count + kNanInvocations - 1) / kNanInvocations));
      add_call(node, launch.calls().front(), {});
    }
  }

  void place() {
    const std::vector<uint64_t> chunks =
        pack(lifetimes_, std::min(device_.max_allocation, device_.max_buffer));
    for (uint64_t bytes : chunks) {
      chunk_buffers_.push_back(add_buffer(PlannedBuffer::Kind::arena));
      plan_.buffers.back().bytes = bytes;
      plan_.arena_bytes += bytes;
    }
    for (size_t i = 0; i < lifetimes_.size(); ++i) {
      plan_.values[i].span.buffer = chunk_buffers_[static_cast<size_t>(lifetimes_[i].chunk)];
      plan_.values[i].span.offset = lifetimes_[i].offset + (plan_.options.guard ? kGuardBytes : 0);
    }
    if (report_ >= 0) {
      plan_.buffers[static_cast<size_t>(report_)].bytes = aligned(8 * plan_.nan_checks.size());
      plan_.arena_bytes += plan_.buffers[static_cast<size_t>(report_)].bytes;
    }
  }

  Span span_of(const Key& key) const {
    if (const auto found = windows_.find(std::get<0>(key)); found != windows_.end()) {
      const Window& window = found->second;
      const Span whole = span_of(key_of(window.whole));
      return {whole.buffer, whole.offset + window.offset, window.bytes};
    }
    if (const auto found = fixed_.find(key); found != fixed_.end()) return found->second;
    return plan_.values[places_.at(key)].span;
  }

  void resolve() {
    for (PlannedDispatch& dispatch : plan_.dispatches)
      for (const Ref& ref : dispatch.call.refs) {
        Span& span = dispatch.spans.emplace_back(
            ref.scratch == kReport ? Span{report_, 0, 8 * plan_.nan_checks.size()} : span_of(key_of(ref)));
        check_binding(*dispatch.node, span.bytes);
        // Drivers drop writes beyond a binding: the guard band after a value belongs to it, so that they
        // show.
        if (plan_.options.guard && places_.contains(key_of(ref))) span.bytes += kGuardBytes;
      }
    for (Placed& input : plan_.inputs) input.span = span_of(storage_of(input.tensor));
    for (const Tensor& tensor : plan_.fetches) {
      const Value& value = tensor.node()->out(tensor.output());
      Span span = span_of(storage_of(tensor));
      const auto [first, last] = extent(value);
      const uint64_t size = size_of(value.dtype), begin = static_cast<uint64_t>(first) * size / 4 * 4;
      span.bytes =
          value.shape.numel() == 0 ? 0 : (static_cast<uint64_t>(last + 1) * size - begin + 3) / 4 * 4;
      span.offset += begin;
      plan_.fetch_spans.push_back(span);
      plan_.readback_bytes += 2 * aligned(span.bytes);
    }
    if (report_ >= 0) plan_.readback_bytes += 2 * plan_.buffers[static_cast<size_t>(report_)].bytes;
  }

  void count_work() {
    const auto ops_of = [](const PlannedDispatch& dispatch) {
      return dispatch.fused.empty() ? std::vector{dispatch.node} : dispatch.fused;
    };
    std::map<const Node*, double> calls, workers;  // those that do more than to aid
    for (const PlannedDispatch& dispatch : plan_.dispatches)
      for (const Node* op : ops_of(dispatch)) {
        ++calls[op];
        workers[op] += !dispatch.call.kernel->aids;
      }
    for (PlannedDispatch& dispatch : plan_.dispatches) {
      for (const Node* op : ops_of(dispatch)) {
        if (workers[op] == 0)
          dispatch.flops += node_flops(*op) / calls[op];
        else if (!dispatch.call.kernel->aids)
          dispatch.flops += node_flops(*op) / workers[op];
      }
      const Node& node = *dispatch.node;
      if (node.op && node.op->bytes && dispatch.fused.empty())
        dispatch.bytes = node.op->bytes(node) / calls[&node];
      else
        for (size_t i = 0; i < dispatch.spans.size(); ++i) dispatch.bytes += bytes_through(dispatch, i);
    }
  }

  // Of a tensor of which the ops see a part, that part.
  double bytes_through(const PlannedDispatch& dispatch, size_t binding) const {
    const auto whole = static_cast<double>(dispatch.spans[binding].bytes);
    const Access access = dispatch.call.kernel->bindings[binding].access;
    if (access == Access::read_write) return 2 * whole;
    const Ref& ref = dispatch.call.refs[binding];
    if (access == Access::write || ref.scratch >= 0) return whole;
    double seen = 0;
    const auto look_at = [&](const Node& op) {
      for (const Tensor& x : op.inputs)
        if (const Value& value = x.node()->out(x.output());
            value.storage_node == ref.node && value.storage_output == ref.output)
          seen += static_cast<double>(value.shape.numel()) * static_cast<double>(size_of(value.dtype));
    };
    if (dispatch.fused.empty()) look_at(*dispatch.node);
    for (const Node* op : dispatch.fused) look_at(*op);
    return seen > 0 ? std::min(seen, whole) : whole;
  }

  static constexpr int kReport = -2;  // as Ref::scratch
  const vk::DeviceInfo& device_;
  Plan plan_;
  Chooser chooser_;
  std::map<Key, size_t> places_;  // into lifetimes_ and Plan::values, which go together
  std::map<Key, Span> fixed_;
  std::map<Key, std::pair<int, uint64_t>> homes_;      // block, and bytes from its start
  std::map<const Node*, std::vector<bool>> in_place_;  // by input, of nodes whose op has places
  std::map<const Node*, Window> windows_;              // by the node that stands for them
  std::vector<Lifetime> lifetimes_;
  std::vector<FusedGroup> fusions_;
  std::map<const Node*, const FusedGroup*> groups_;
  std::vector<int> chunk_buffers_;
  std::map<const VariableState*, int> variable_buffers_;
  int constants_ = -1, report_ = -1;
};

}  // namespace

uint64_t storage_bytes(const Value& value) {
  const uint64_t bytes = static_cast<uint64_t>(value.shape.numel()) * size_of(value.dtype);
  return (std::max<uint64_t>(bytes, 1) + 15) / 16 * 16;
}

ProgramOptions ProgramOptions::from_environment() {
  ProgramOptions options;
  const char* text = std::getenv("STITHY_DEBUG");
  std::istringstream words(text ? text : "");
  for (std::string word; std::getline(words, word, ',');) {
    if (word == "nan")
      options.find_nan = true;
    else if (word == "guard")
      options.guard = true;
    else if (word == "plan")
      options.show_plan = true;
    else if (word == "submit-each")
      options.submit_each = true;
    else if (word == "unfused")
      options.fuse = false;
    else if (!word.empty())
      throw Error("STITHY_DEBUG", cat("does not know \"", word, "\""),
                  "use nan, guard, plan, submit-each or unfused, joined by commas");
  }
  return options;
}

Plan make_plan(const std::vector<Tensor>& fetches, const std::vector<Tensor>& updates,
               const ProgramOptions& options, const vk::DeviceInfo& device) {
  for (const Tensor& tensor : fetches)
    if (!tensor.defined()) throw Error(options.name, "a fetched tensor is undefined");
  for (const Tensor& tensor : updates)
    if (!tensor.defined()) throw Error(options.name, "an update is undefined");
  return Planner(options, device).run(fetches, updates);
}

int Plan::barriers() const {
  return static_cast<int>(std::count_if(dispatches.begin(), dispatches.end(),
                                        [](const PlannedDispatch& d) { return d.barrier_before; }));
}

double Plan::flops() const {
  double total = 0;
  for (const Node* node : nodes) total += node_flops(*node);
  return total;
}

double Plan::bytes() const {
  double total = 0;
  for (const PlannedDispatch& dispatch : dispatches) total += dispatch.bytes;
  return total;
}

std::string Plan::describe() const {
  std::ostringstream text;
  std::unordered_map<const Node*, std::string> taken;
  for (const auto& [node, choice] : choices) taken[node] += cat("  <", choice.labels[choice.taken], ">");
  for (const PlannedDispatch& dispatch : dispatches) {
    const Node& node = *dispatch.node;
    text << (dispatch.barrier_before ? "| " : "  ") << node.label() << " [" << name_of(node.phase) << "] "
         << (node.scope.empty() ? "-" : node.scope) << "  " << dispatch.call.kernel->name << "  "
         << dispatch.groups.x << " x " << dispatch.groups.y << " x " << dispatch.groups.z << "  ";
    if (!dispatch.fused.empty()) {
      text << "fused:";
      for (const Node* op : dispatch.fused) text << ' ' << op->label();
      text << "  ";
    }
    for (const Tensor& x : node.inputs) text << x.shape();
    text << " -> " << (node.outputs.empty() ? Shape{} : node.out().shape) << taken[&node];
    if (dispatch.seconds > submission_seconds)
      text << "  predicted " << dispatch.seconds << " s: more than a submission should take";
    text << '\n';
  }
  if (fused_bytes_saved)
    text << "fusion saves " << format_bytes(fused_bytes_saved) << " of memory traffic a run\n";
  return text.str();
}

}  // namespace stithy
