#include "nn/summary.h"

#include <algorithm>
#include <iomanip>
#include <set>

#include "engine/core/error.h"
#include "engine/graph/op.h"

namespace stithy::nn {

namespace {
std::vector<const Node*> nodes_below(const Tensor& y) {
  std::vector<const Node*> nodes, open{y.node().get()};
  std::set<const Node*> seen{y.node().get()};
  while (!open.empty()) {
    const Node* node = open.back();
    open.pop_back();
    nodes.push_back(node);
    for (const Tensor& x : node->inputs)
      if (seen.insert(x.node().get()).second) open.push_back(x.node().get());
  }
  return nodes;
}

double flops_of(const Node& node) {
  if (!node.op || !node.op->launch) return 0;
  if (node.op->flops) return node.op->flops(node);
  double elements = 0;
  for (const Value& value : node.outputs) elements += static_cast<double>(value.shape.numel());
  return elements;
}

uint64_t bytes_of(const Node& node) {
  uint64_t bytes = 0;
  if (node.kind == NodeKind::op)
    for (const Value& value : node.outputs)
      if (value.storage_node == &node)
        bytes += static_cast<uint64_t>(value.shape.numel()) * size_of(value.dtype);
  return bytes;
}

bool below(const std::string& scope, const std::string& path) {
  return path.empty() || scope == path || (scope.starts_with(path) && scope[path.size()] == '.');
}
}  // namespace

Summary summarize(Module& model, const Tensor& x) {
  return summarize(model, [&] { return model(x); });
}

Summary summarize(const Module& model, const std::function<Tensor()>& build) {
  const CallTrace trace;
  const Tensor y = build();
  take_updates();
  const std::vector<const Node*> nodes = nodes_below(y);
  const auto modules = model.named_modules();
  Summary summary;
  for (const auto& [path, module] : modules) {
    const bool leaf = std::none_of(modules.begin(), modules.end(), [&path = path](const auto& other) {
      return other.name != path && below(other.name, path);
    });
    LayerSummary layer{.name = path, .layer = module->describe()};
    for (const auto& [name, variable] : module->named_parameters())
      if (leaf || name.find('.') == std::string::npos) layer.parameters += variable.shape().numel();
    if (!leaf && layer.parameters == 0) continue;
    for (const CallTrace::Call& call : trace.calls())
      if (call.module == module) layer.output = call.output.shape();
    if (path.empty()) layer.output = y.shape();
    for (const Node* node : nodes)
      if (leaf ? below(node->scope, path) : node->scope == path) {
        layer.flops += flops_of(*node);
        layer.output_bytes += bytes_of(*node);
      }
    summary.layers.push_back(std::move(layer));
  }
  for (const Node* node : nodes) {
    summary.flops += flops_of(*node);
    summary.output_bytes += bytes_of(*node);
  }
  summary.parameters = model.parameter_count();
  for (const auto& [name, variable] : model.named_parameters())
    summary.parameter_bytes += static_cast<uint64_t>(variable.shape().numel()) * size_of(variable.dtype());
  return summary;
}

std::string Summary::table() const {
  using Line = std::vector<std::string>;
  std::vector<Line> lines{{"", "layer", "output", "parameters", "FLOPs", "memory"}};
  for (const LayerSummary& layer : layers)
    lines.push_back({layer.name, layer.layer, cat(layer.output), format_count(layer.parameters),
                     format_flops(layer.flops), format_bytes(layer.output_bytes)});
  lines.push_back({"total", "", cat("weights ", format_bytes(parameter_bytes)), format_count(parameters),
                   format_flops(flops), format_bytes(output_bytes)});
  constexpr size_t kColumns = 6, kTextColumns = 3;
  std::array<size_t, kColumns> width{};
  for (const Line& line : lines)
    for (size_t i = 0; i < kColumns; ++i) width[i] = std::max(width[i], line[i].size());
  std::ostringstream out;
  for (const Line& line : lines) {
    for (size_t i = 0; i < kColumns; ++i)
      out << (i ? "  " : "") << (i < kTextColumns ? std::left : std::right)
          << std::setw(static_cast<int>(width[i])) << line[i];
    out << '\n';
  }
  return out.str();
}

std::string format_count(int64_t count) {
  std::string digits = std::to_string(count);
  for (int64_t i = static_cast<int64_t>(digits.size()) - 3; i > (count < 0); i -= 3)
    digits.insert(static_cast<size_t>(i), ",");
  return digits;
}

std::string format_flops(double flops) {
  constexpr std::array kUnits{"", " k", " M", " G", " T", " P"};
  size_t unit = 0;
  for (; flops >= 1000 && unit + 1 < kUnits.size(); ++unit) flops /= 1000;
  std::ostringstream out;
  out << std::fixed << std::setprecision(unit ? 2 : 0) << flops << kUnits[unit];
  return out.str();
}

}  // namespace stithy::nn
