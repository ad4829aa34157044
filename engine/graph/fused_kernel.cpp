#include "engine/graph/fused_kernel.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>
#include <mutex>

#include "engine/core/error.h"
#include "engine/graph/glsl.h"
#include "engine/graph/op.h"
#include "engine/graph/walk.h"

namespace stithy {
namespace {

Ref storage_of(const Tensor& x) {
  const Value& value = x.node()->out(x.output());
  return {value.storage_node, value.storage_output, -1};
}
bool same(const Ref& a, const Ref& b) { return a.node == b.node && a.output == b.output; }

// An element of memory that a chain reads.
struct Leaf {
  Tensor tensor;
  bool matches(const Tensor& x) const {
    return same(storage_of(tensor), storage_of(x)) && tensor.dtype() == x.dtype() &&
           tensor.offset() == x.offset() && tensor.strides() == x.strides();
  }
};

// A number known while planning: written as a specialization constant, so that it does not change the text.
// But 0 is read from memory: llvmpipe takes x * 0 for 0 whatever x is (Mesa, gallivm/lp_bld_arit.c,
// lp_build_mul).
bool is_literal(const Tensor& x) {
  const Node& source = *storage_of(x).node;
  return source.kind == NodeKind::constant && source.constant.numel() == 1 && size_of(x.dtype()) == 4 &&
         source.constant.at(0) != 0;
}

const Node* producer_in(const Chain& chain, const Tensor& x) {
  if (chain.anchor && is_whole(x, *chain.anchor)) return chain.anchor;
  for (const Node* op : chain.ops)
    if (is_whole(x, *op)) return op;
  return nullptr;
}

std::vector<Leaf> leaves_of(const Chain& chain) {
  std::vector<Leaf> leaves;
  for (const Node* op : chain.ops)
    for (const Tensor& x : op->inputs) {
      if (producer_in(chain, x) || is_literal(x)) continue;
      if (std::none_of(leaves.begin(), leaves.end(), [&](const Leaf& leaf) { return leaf.matches(x); }))
        leaves.push_back({x});
    }
  return leaves;
}

// What is added to a kernel: text, and what goes with it.
class Writer {
 public:
  Writer(uint32_t first_binding, uint32_t first_spec) : binding_(first_binding), spec_(first_spec) {
    text_ = "#include \"dtype.glsl\"\n#include \"pointwise.glsl\"\n";
  }

  // Functions P_values(leaves, anchor, results), P_load1_K(i) and P_load4_K(i) for leaf K, and P_store1_K(i,
  // raw) and P_store4_K(i, raw) for every result but `in_place`, which the kernel itself writes.
  void add(const std::string& p, const Chain& chain, const Node* in_place) {
    const std::vector<Leaf> leaves = leaves_of(chain);
    std::vector<Operand> operands;
    for (const Leaf& leaf : leaves) operands.push_back(operand(leaf.tensor));
    operands.push_back({contiguous_strides(chain.ops.front()->out().shape), 0});
    const Elements elements = walk_elements(chain.ops.front()->out().shape, operands);
    std::vector<std::string> shape;
    for (size_t d = kMaxRank - elements.dims; d < kMaxRank; ++d) shape.push_back(constant(elements.shape[d]));
    for (size_t k = 0; k < leaves.size(); ++k) add_leaf(cat(p, "_", k), leaves[k], elements[k], shape);
    for (size_t k = 0; k < chain.results.size(); ++k)
      if (chain.results[k] != in_place) add_result(cat(p, "_", k), *chain.results[k]);
    add_values(p, chain, leaves);
    add_calls(p, chain, leaves.size(), in_place);
  }

  std::string constant(uint32_t bits, const char* type = "uint") {
    const std::string name = cat("spec_", spec_);
    text_ += cat("layout(constant_id = ", spec_, ") const ", type, " ", name, " = ", type, "(1);\n");
    spec_ids.push_back(spec_++);
    spec.push_back(bits);
    return name;
  }
  std::string& text() { return text_; }

  std::vector<uint32_t> spec_ids, spec;
  std::vector<BindingInfo> bindings;
  std::vector<Ref> refs;

 private:
  std::string declare(const std::string& name, const char* access) {
    text_ += cat("layout(set = 0, binding = ", binding_, ") ", access, " buffer ", name, "_words { uint ",
                 name, "[]; };\nlayout(set = 0, binding = ", binding_, ") ", access, " buffer ", name,
                 "_vectors { uvec4 ", name, "_4[]; };\n");
    ++binding_;
    return name;
  }

  void add_leaf(const std::string& suffix, const Leaf& leaf, const WalkedOperand& walk,
                const std::vector<std::string>& shape) {
    const std::string name = declare("leaf_" + suffix, "readonly"),
                      dtype = cat(static_cast<int>(leaf.tensor.dtype()), "u");
    bindings.push_back({"leaf", Access::read});
    refs.push_back(storage_of(leaf.tensor));
    const auto mode = static_cast<Walk>(walk.mode);
    const std::string offset = walk.offset ? constant(walk.offset) : "0u";
    std::string at;
    if (mode == Walk::scalar) {
      at = cat("  return ", offset, ";\n");
    } else if (mode == Walk::contiguous) {
      at = cat("  return i + ", offset, ";\n");
    } else {
      at = cat("  uint at = ", offset, ";\n");
      for (size_t d = shape.size(); d-- > 0;) {
        const uint32_t stride = walk.strides[kMaxRank - shape.size() + d];
        const std::string step = stride == 1 ? "" : stride ? " * " + constant(stride) : "";
        if (d > 0) at += cat("  const uint i", d, " = i / ", shape[d], ";\n");
        if (stride)
          at += d > 0 ? cat("  at += (i - i", d, " * ", shape[d], ")", step, ";\n")
                      : cat("  at += i", step, ";\n");
        if (d > 0) at += cat("  i = i", d, ";\n");
      }
      at += "  return at;\n";
    }
    text_ += cat("uint at_", suffix, "(uint i) {\n", at, "}\n");
    text_ += cat("uint load1_", suffix, "(uint i) {\n  const uint at = at_", suffix, "(i);\n  return raw_in(",
                 name, "[word_of(at, ", dtype, ")], at, ", dtype, ");\n}\n");
    const size_t size = size_of(leaf.tensor.dtype());
    const std::string one = cat("load1_", suffix);
    std::string four;
    if (mode == Walk::scalar)
      four = cat("  return uvec4(", one, "(i));\n");
    else if (mode == Walk::strided)
      four = cat("  return uvec4(", one, "(i), ", one, "(i + 1u), ", one, "(i + 2u), ", one, "(i + 3u));\n");
    else if (size == 4)
      four = cat("  return ", name, "_4[at_", suffix, "(i) >> 2];\n");
    else if (size == 2)
      four = cat("  const uint at = at_", suffix, "(i) >> 1;\n  return unpack_halves(uvec2(", name, "[at], ",
                 name, "[at + 1u]));\n");
    else
      four = cat("  return unpack_bytes(", name, "[at_", suffix, "(i) >> 2]);\n");
    text_ += cat("uvec4 load4_", suffix, "(uint i) {\n", four, "}\n");
  }

  void add_result(const std::string& suffix, const Node& op) {
    const std::string name = declare("result_" + suffix, "writeonly");
    bindings.push_back({"result", Access::write});
    refs.push_back({&op, 0, -1});
    const size_t size = size_of(op.out().dtype);
    if (size == 4) text_ += cat("void store1_", suffix, "(uint i, uint raw) { ", name, "[i] = raw; }\n");
    text_ += cat("void store4_", suffix, "(uint i, uvec4 raw) {\n",
                 size == 4   ? cat("  ", name, "_4[i >> 2] = raw;\n")
                 : size == 2 ? cat("  const uvec2 words = pack_halves(raw);\n  ", name,
                                   "[i >> 1] = words.x;\n  ", name, "[(i >> 1) + 1u] = words.y;\n")
                             : cat("  ", name, "[i >> 2] = pack_bytes(raw);\n"),
                 "}\n");
  }

  void add_values(const std::string& p, const Chain& chain, const std::vector<Leaf>& leaves) {
    std::map<const Node*, std::string> names;
    std::string body, parameters;
    const auto parameter = [&](const std::string& text) {
      parameters += (parameters.empty() ? "" : ", ") + text;
    };
    for (size_t k = 0; k < leaves.size(); ++k) parameter(cat("uint leaf", k));
    if (chain.anchor) {
      parameter("uint anchor");
      names[chain.anchor] = "anchor";
    }
    for (const Node* op : chain.ops) {
      const Pointwise pointwise = op->op->pointwise(*op);
      std::vector<std::string> inputs, numbers;
      for (const Tensor& x : op->inputs) {
        if (const Node* from = producer_in(chain, x)) {
          inputs.push_back(names.at(from));
        } else if (is_literal(x)) {
          inputs.push_back(constant(bits_of(storage_of(x).node->constant)));
        } else {
          const auto leaf =
              std::find_if(leaves.begin(), leaves.end(), [&](const Leaf& l) { return l.matches(x); });
          inputs.push_back(cat("leaf", leaf - leaves.begin()));
        }
      }
      for (float number : pointwise.parameters)
        numbers.push_back(constant(std::bit_cast<uint32_t>(number), "float"));
      const std::string name = cat("v", names.size());
      body += cat("  const uint ", name, " = ", substitute(pointwise.expression, inputs, numbers), ";\n");
      names[op] = name;
    }
    for (size_t k = 0; k < chain.results.size(); ++k) {
      parameter(cat("out uint r", k));
      body += cat("  r", k, " = ", names.at(chain.results[k]), ";\n");
    }
    text_ += cat("void ", p, "_values(", parameters, ") {\n", body, "}\n");
  }

  static uint32_t bits_of(const Array& constant) {
    uint32_t word = 0;
    std::memcpy(&word, constant.bytes().data(), 4);
    return word;
  }

  static std::string substitute(std::string_view expression, const std::vector<std::string>& inputs,
                                const std::vector<std::string>& numbers) {
    std::string out;
    for (size_t i = 0; i < expression.size(); ++i) {
      if (expression[i] != '$' && expression[i] != '#') {
        out += expression[i];
        continue;
      }
      const auto& from = expression[i] == '$' ? inputs : numbers;
      out += from.at(static_cast<size_t>(expression[++i] - '0'));
    }
    return out;
  }

  // P_one(i, anchor) and P_four(i, anchor): loads, values, and stores of all results but the one in place,
  // which they return.
  void add_calls(const std::string& p, const Chain& chain, size_t leaves, const Node* in_place) {
    const bool words = std::all_of(chain.results.begin(), chain.results.end(),
                                   [](const Node* op) { return size_of(op->out().dtype) == 4; });
    if (words) {
      std::string call;
      for (size_t k = 0; k < leaves; ++k) call += cat(call.empty() ? "" : ", ", "load1_", p, "_", k, "(i)");
      if (chain.anchor) call += cat(call.empty() ? "" : ", ", "anchor");
      finish(p, chain, in_place, "one", "uint", "1",
             "  " + p + "_values(" + call + (call.empty() ? "" : ", ") + results(chain, "") + ");\n");
    }
    std::string loads, calls;
    for (size_t k = 0; k < leaves; ++k)
      loads += cat("  const uvec4 leaf", k, " = load4_", p, "_", k, "(i);\n");
    for (const char* e : {".x", ".y", ".z", ".w"}) {
      std::string call;
      for (size_t k = 0; k < leaves; ++k) call += cat(call.empty() ? "" : ", ", "leaf", k, e);
      if (chain.anchor) call += cat(call.empty() ? "" : ", ", "anchor", e);
      calls += cat("  ", p, "_values(", call, call.empty() ? "" : ", ", results(chain, e), ");\n");
    }
    finish(p, chain, in_place, "four", "uvec4", "4", loads + calls);
  }
  static std::string results(const Chain& chain, const char* component) {
    std::string text;
    for (size_t k = 0; k < chain.results.size(); ++k) text += cat(k ? ", " : "", "r", k, component);
    return text;
  }
  void finish(const std::string& p, const Chain& chain, const Node* in_place, const char* name,
              const char* type, const char* width, const std::string& body) {
    std::string text = cat(in_place ? type : "void", " ", p, "_", name, "(uint i",
                           chain.anchor ? cat(", ", type, " anchor") : "", ") {\n");
    for (size_t k = 0; k < chain.results.size(); ++k) text += cat("  ", type, " r", k, ";\n");
    text += body;
    std::string last;
    for (size_t k = 0; k < chain.results.size(); ++k)
      if (chain.results[k] == in_place)
        last = cat("  return r", k, ";\n");
      else
        text += cat("  store", width, "_", p, "_", k, "(i, r", k, ");\n");
    text_ += text + last + "}\n";
  }

  uint32_t binding_, spec_;
  std::string text_;
};

// The facts of kernels that were put together, one for each text; they live as long as the process.
struct RuntimeKernel {
  KernelInfo info;
  std::string name, text;
  std::vector<BindingInfo> bindings;
  std::vector<uint32_t> spec_ids;
  std::vector<std::string_view> spec_names;
};

const KernelInfo& runtime_kernel(const KernelInfo& base, const std::string& name, std::string_view text,
                                 const Writer& writer) {
  static std::mutex mutex;
  static std::map<const uint32_t*, RuntimeKernel> kernels;
  const std::span<const uint32_t> spirv =
      compile_glsl(name, text, base.defines, std::string_view(const_cast<Writer&>(writer).text()));
  const std::lock_guard lock(mutex);
  const auto [place, fresh] = kernels.try_emplace(spirv.data());
  RuntimeKernel& kernel = place->second;
  if (fresh) {
    kernel.name = name;
    kernel.text = const_cast<Writer&>(writer).text();
    kernel.bindings.assign(base.bindings.begin(), base.bindings.end());
    kernel.bindings.insert(kernel.bindings.end(), writer.bindings.begin(), writer.bindings.end());
    kernel.spec_ids.assign(base.spec_ids.begin(), base.spec_ids.end());
    kernel.spec_ids.insert(kernel.spec_ids.end(), writer.spec_ids.begin(), writer.spec_ids.end());
    kernel.spec_names.assign(base.spec_names.begin(), base.spec_names.end());
    kernel.spec_names.resize(kernel.spec_ids.size(), "fused");
    kernel.info = base;
    kernel.info.name = kernel.name;
    kernel.info.fused_text = kernel.text;
    kernel.info.spirv = spirv;
    kernel.info.bindings = kernel.bindings;
    kernel.info.spec_ids = kernel.spec_ids;
    kernel.info.spec_names = kernel.spec_names;
    kernel.info.fuse_in = kernel.info.fuse_out = -1;
  }
  return kernel.info;
}

std::string names_of(const Chain& chain) {
  std::string name;
  for (const Node* op : chain.ops) name += cat(name.empty() ? "" : "+", op->op->name);
  return name;
}

template <class T>
void append(std::vector<T>& to, const std::vector<T>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

}  // namespace

bool is_whole(const Tensor& x, const Node& node) {
  const Value& value = x.node()->out(x.output());
  return value.storage_node == &node && value.storage_output == 0 && value.offset == 0 &&
         value.shape == node.out().shape && is_contiguous(value.shape, value.strides);
}

size_t binding_count(const Chain& chain) { return leaves_of(chain).size() + chain.results.size(); }

PlannedCall fused_call(const Chain& chain, const vk::DeviceInfo& device) {
  Writer writer(0, 2);
  const uint32_t count = static_cast<uint32_t>(chain.ops.front()->out().shape.numel());
  const uint32_t lanes = device.is_cpu() ? 64 : std::min(256u, device.max_workgroup_invocations);
  writer.add("chain", chain, nullptr);
  static constexpr std::string_view kText =
      "#version 460\n#extension GL_GOOGLE_include_directive : require\n#include \"grid.glsl\"\n"
      "layout(local_size_x_id = 0) in;\nlayout(constant_id = 1) const uint COUNT = 1u;\n#include "
      "\"fused.glsl\"\n"
      "void main() {\n  const uint i = invocation_index() * 4u;\n  if (i < COUNT) chain_four(i);\n}\n";
  static constexpr uint32_t kIds[] = {0, 1};
  static constexpr std::string_view kNames[] = {"local_size_x", "COUNT"};
  KernelInfo base;
  base.shader = "fused";
  base.spec_ids = kIds;
  base.spec_names = kNames;
  PlannedCall planned;
  planned.call.kernel = &runtime_kernel(base, names_of(chain), kText, writer);
  planned.call.refs = writer.refs;
  planned.call.spec = {lanes, count};
  append(planned.call.spec, writer.spec);
  const Launch launch(*chain.ops.back(), device);
  planned.groups = launch.grid((uint64_t{count} + 4 * lanes - 1) / (4 * lanes));
  return planned;
}

PlannedCall fused_call(const PlannedCall& call, const Chain& before, const Chain& after) {
  const KernelInfo& base = *call.call.kernel;
  Writer writer(static_cast<uint32_t>(base.bindings.size()), 100);
  PlannedCall planned = call;
  std::string name(base.name);
  if (!before.ops.empty()) {
    writer.add("before", before, before.results.front());
    writer.text() +=
        "#define PROLOGUE(x, i) uintBitsToFloat(before_one(i))\n#define PROLOGUE4(x, i) "
        "uintBitsToFloat(before_four(i))\n";
    // What the kernel does not read any more still needs a buffer.
    planned.call.refs[static_cast<size_t>(base.fuse_in)] = writer.refs.front();
    name = names_of(before) + "+" + name;
  } else {
    writer.text() += "#define PROLOGUE(x, i) x\n#define PROLOGUE4(x, i) x\n";
  }
  if (!after.ops.empty()) {
    const Node* last = after.ops.back();
    writer.add("after", after, last);
    writer.text() +=
        "#define EPILOGUE(y, i) uintBitsToFloat(after_one(i, floatBitsToUint(y)))\n#define EPILOGUE4(y, i) "
        "uintBitsToFloat(after_four(i, floatBitsToUint(y)))\n";
    planned.call.refs[static_cast<size_t>(base.fuse_out)] = {last, 0, -1};
    name += "+" + names_of(after);
  } else {
    writer.text() += "#define EPILOGUE(y, i) y\n#define EPILOGUE4(y, i) y\n";
  }
  planned.call.kernel = &runtime_kernel(base, name, shader_text(cat(base.shader, ".comp")), writer);
  append(planned.call.refs, writer.refs);
  append(planned.call.spec, writer.spec);
  return planned;
}

}  // namespace stithy
