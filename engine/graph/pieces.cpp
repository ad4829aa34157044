#include "engine/graph/pieces.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "engine/core/error.h"
#include "engine/graph/op.h"
#include "engine/graph/plan.h"

namespace stithy {
namespace {

std::map<std::string_view, Cut>& cuts() {
  static auto* all = new std::map<std::string_view, Cut>;
  return *all;
}

Cut cut_of(const OpDef& op) {
  const auto found = cuts().find(op.name);
  return found != cuts().end() ? found->second : op.pointwise ? cut_by_element : nullptr;
}

uint64_t bytes_of(const Value& value) { return storage_bytes(value.storage_node->out(value.storage_output)); }

int64_t numel_of_storage(const Value& value) {
  return value.storage_node->out(value.storage_output).shape.numel();
}

// A tensor of a node, or a part of it. Offsets and strides are those in the whole storage.
struct Part {
  Value value;
  bool output = false;
  std::pair<int64_t, int64_t> elements() const {
    int64_t first = value.offset, last = value.offset;
    for (int d = 0; d < value.shape.rank(); ++d) {
      const int64_t reach = (value.shape[d] - 1) * value.strides[d];
      (reach < 0 ? first : last) += reach;
    }
    return {first, last};
  }
  void narrow(int axis, int64_t begin, int64_t count) {
    value.offset += begin * value.strides[axis];
    value.shape[axis] = count;
  }
};

class Cutter {
 public:
  Cutter(const Node& node, const vk::DeviceInfo& device)
      : node_(node),
        device_(device),
        // Kernels load vectors of 16 bytes.
        alignment_(std::max<uint64_t>(device.storage_alignment, 16)),
        limit_(device.max_storage_buffer_range),
        rule_(cut_of(*node.op)) {}

  Pieces run() {
    std::vector<Part> inputs, outputs;
    for (const Tensor& x : node_.inputs) inputs.push_back({x.node()->out(x.output())});
    for (const Value& y : node_.outputs) outputs.push_back({y, true});
    if (rule_ && !inputs.empty() && rule_(node_, 0, 0) == kSelf) return {};
    if (rule_ == cut_by_element) merge(inputs, outputs, 0);
    if (rule_ == cut_by_row) merge(inputs, outputs, 1);
    cut(inputs, outputs, 0);
    return std::move(pieces_);
  }

 private:
  // Makes neighbouring axes one where all tensors allow it, but for the last `apart` ones: more places to
  // cut.
  void merge(std::vector<Part>& inputs, std::vector<Part>& outputs, int apart) const {
    const Shape shape = outputs[0].value.shape;
    std::vector<Value*> alike;
    for (auto* parts : {&inputs, &outputs})
      for (Part& part : *parts)
        if (part.value.shape == shape) alike.push_back(&part.value);
    for (int d = shape.rank() - apart - 2; d >= 0; --d) {
      const bool one_step = std::all_of(alike.begin(), alike.end(), [&](const Value* v) {
        return v->strides[d] == v->strides[d + 1] * v->shape[d + 1];
      });
      if (!one_step) continue;
      for (Value* v : alike) {
        v->shape[d] *= v->shape[d + 1];
        v->strides[d] = v->strides[d + 1];
        v->shape.erase(d + 1);
        v->strides.erase(d + 1);
      }
    }
  }

  // First byte and size of a binding that holds the part.
  std::pair<uint64_t, uint64_t> binding(const Part& part) const {
    const uint64_t whole = bytes_of(part.value);
    // A part of an output is bound where it begins, even where the whole would fit: kernels know no offset of
    // outputs.
    const bool part_of_output = part.output && part.value.shape.numel() < numel_of_storage(part.value);
    if ((whole <= limit_ && !part_of_output) || part.value.shape.numel() == 0) return {0, whole};
    const auto [first, last] = part.elements();
    const uint64_t size = size_of(part.value.dtype);
    const uint64_t begin = static_cast<uint64_t>(first) * size / alignment_ * alignment_;
    return {begin, (static_cast<uint64_t>(last + 1) * size - begin + 15) / 16 * 16};
  }
  bool fits(const Part& part) const { return binding(part).second <= limit_; }
  bool all_fit(const std::vector<Part>& inputs, const std::vector<Part>& outputs) const {
    const auto fit = [this](const Part& part) { return fits(part); };
    return std::all_of(inputs.begin(), inputs.end(), fit) && std::all_of(outputs.begin(), outputs.end(), fit);
  }

  [[noreturn]] void refuse(const std::vector<Part>& inputs, const std::vector<Part>& outputs) const {
    const Part* large = nullptr;
    for (const auto* parts : {&outputs, &inputs})
      for (const Part& part : *parts)
        if (!large && !fits(part)) large = &part;
    refuse_pieces(node_, large ? large->value.storage_node->out(large->value.storage_output) : node_.out(),
                  device_);
  }

  void cut(const std::vector<Part>& inputs, const std::vector<Part>& outputs, int axis) {
    if (all_fit(inputs, outputs)) return add(inputs, outputs);
    const Shape& shape = outputs[0].value.shape;
    while (axis < shape.rank() && shape[axis] == 1) ++axis;
    if (axis >= shape.rank() - (rule_ == cut_by_row) || !rule_) refuse(inputs, outputs);
    const int64_t extent = shape[axis];

    std::vector<int> axes;
    for (size_t i = 0; i < inputs.size(); ++i) {
      axes.push_back(rule_(node_, static_cast<int>(i), axis));
      if (axes.back() == kNever || (axes.back() == kWhole && !fits(inputs[i]))) refuse(inputs, outputs);
    }
    // An output begins where its binding begins, so only at every unit-th index of the axis.
    int64_t unit = 1;
    for (const Part& output : outputs) {
      if (axis >= output.value.shape.rank() || output.value.shape[axis] != extent) refuse(inputs, outputs);
      const uint64_t stride = static_cast<uint64_t>(output.value.strides[axis]) * size_of(output.value.dtype);
      if (static_cast<uint64_t>(output.value.offset) * size_of(output.value.dtype) % alignment_ != 0)
        refuse(inputs, outputs);
      unit = std::lcm(unit, static_cast<int64_t>(alignment_ / std::gcd(alignment_, stride)));
    }
    const auto narrowed = [&](std::vector<Part> parts, int64_t begin, int64_t count, bool are_inputs) {
      for (size_t i = 0; i < parts.size(); ++i)
        if (const int along = are_inputs ? axes[i] : axis; along >= 0) parts[i].narrow(along, begin, count);
      return parts;
    };
    // The longest pieces that fit, by the first of them; others are at most as long.
    int64_t step = extent / unit * unit;
    const auto first_fits = [&](int64_t count) {
      return all_fit(narrowed(inputs, 0, std::min(count, extent), true),
                     narrowed(outputs, 0, std::min(count, extent), false));
    };
    while (step > unit && !first_fits(step)) step = step / 2 / unit * unit;
    // A binding's begin is rounded down, which may make a later one a little longer than the first.
    if (step >= 2 * unit) step -= unit;
    step = std::max(step, unit);
    if (static_cast<size_t>(extent / step) > kMostPieces) refuse(inputs, outputs);
    const bool enough = first_fits(step);
    for (int64_t begin = 0; begin < extent; begin += step) {
      const int64_t count = std::min(step, extent - begin);
      const auto in = narrowed(inputs, begin, count, true), out = narrowed(outputs, begin, count, false);
      if (enough && !all_fit(in, out)) refuse(in, out);
      // A single index that is still too large is cut along the axis after it.
      if (!enough && count > 1) refuse(in, out);
      cut(in, out, enough ? axis : axis + 1);
    }
  }

  // The value as a kernel sees it: through a window, where its storage is too large.
  Value seen(const Part& part) {
    Value value = part.value;
    const auto [begin, bytes] = binding(part);
    if (begin == 0 && bytes == bytes_of(value)) return value;
    pieces_.windows.push_back(make_window({value.storage_node, value.storage_output, -1}, begin, bytes));
    value.offset -= static_cast<int64_t>(begin / size_of(value.dtype));
    value.storage_node = pieces_.windows.back().node.get();
    value.storage_output = 0;
    return value;
  }

  void add(const std::vector<Part>& inputs, const std::vector<Part>& outputs) {
    if (pieces_.nodes.size() >= kMostPieces) refuse(inputs, outputs);
    auto piece = std::make_shared<Node>();
    piece->op = node_.op;
    piece->attributes = node_.attributes;
    piece->phase = node_.phase;
    piece->scope = node_.scope;
    for (const Part& input : inputs) {
      auto source = std::make_shared<Node>();
      source->outputs.push_back(seen(input));
      piece->inputs.push_back(source->tensor());
    }
    for (const Part& output : outputs) {
      piece->outputs.push_back(seen(output));
      if (piece->outputs.back().offset != 0) refuse(inputs, outputs);
    }
    pieces_.nodes.push_back(std::move(piece));
  }

  const Node& node_;
  const vk::DeviceInfo& device_;
  const uint64_t alignment_, limit_;
  const Cut rule_;
  Pieces pieces_;
};

}  // namespace

bool define_cut(Cut cut, std::initializer_list<std::string_view> ops) {
  for (std::string_view op : ops)
    if (!cuts().emplace(op, cut).second) throw Error("op", cat("\"", op, "\" is cut twice"));
  return true;
}

int cut_by_element(const Node& node, int input, int axis) {
  const Shape& shape = node.in(input).shape();
  return shape == node.out().shape ? axis : shape.numel() == 1 ? kWhole : kNever;
}

int cut_by_row(const Node& node, int input, int axis) { return cut_by_element(node, input, axis); }

void refuse_pieces(const Node& node, const Value& large, const vk::DeviceInfo& device) {
  throw Error(node.label(),
              cat("tensor ", large.dtype, " ", large.shape, " has ", format_bytes(storage_bytes(large)), ", ",
                  device.name, " allows kernels ", format_bytes(device.max_storage_buffer_range),
                  " (maxStorageBufferRange), and this op cannot be cut into such pieces here"),
              "make the tensor smaller: a smaller batch, or split it");
}

bool beyond_binding(const Tensor& x, const vk::DeviceInfo& device) {
  return bytes_of(x.node()->out(x.output())) > device.max_storage_buffer_range;
}

bool needs_pieces(const Node& node, const vk::DeviceInfo& device) {
  const auto large = [&](const Value& value) { return bytes_of(value) > device.max_storage_buffer_range; };
  return std::any_of(node.inputs.begin(), node.inputs.end(),
                     [&](const Tensor& x) { return beyond_binding(x, device); }) ||
         std::any_of(node.outputs.begin(), node.outputs.end(), large);
}

Pieces cut_into_pieces(const Node& node, const vk::DeviceInfo& device) { return Cutter(node, device).run(); }

}  // namespace stithy
