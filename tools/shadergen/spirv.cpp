#include "tools/shadergen/spirv.h"

#include <algorithm>
#include <bit>
#include <map>
#include <optional>
#include <set>

#include "engine/core/error.h"

namespace stithy::shadergen {
namespace {

// Numbers of the SPIR-V specification 1.6, section 3.
enum Op : uint32_t {
  kOpName = 5,
  kOpMemberName = 6,
  kOpEntryPoint = 15,
  kOpExecutionMode = 16,
  kOpCapability = 17,
  kOpTypeBool = 20,
  kOpTypeInt = 21,
  kOpTypeFloat = 22,
  kOpTypeImage = 25,
  kOpTypeArray = 28,
  kOpTypeRuntimeArray = 29,
  kOpTypeStruct = 30,
  kOpTypePointer = 32,
  kOpConstant = 43,
  kOpConstantComposite = 44,
  kOpSpecConstantTrue = 48,
  kOpSpecConstantFalse = 49,
  kOpSpecConstant = 50,
  kOpSpecConstantComposite = 51,
  kOpVariable = 59,
  kOpDecorate = 71,
  kOpMemberDecorate = 72,
  kOpExecutionModeId = 331,
};
enum Decoration : uint32_t {
  kSpecId = 1,
  kArrayStride = 6,
  kBuiltIn = 11,
  kNonWritable = 24,
  kNonReadable = 25,
  kBinding = 33,
  kDescriptorSet = 34,
  kOffset = 35,
};
enum StorageClass : uint32_t { kUniformConstant = 0, kUniform = 2, kPushConstant = 9, kStorageBuffer = 12 };
constexpr uint32_t kMagic = 0x07230203, kGLCompute = 5, kLocalSize = 17, kLocalSizeId = 38,
                   kWorkgroupSize = 25;
constexpr uint32_t kDimBuffer = 5, kSampled = 1;
constexpr uint32_t kMaxPushBytes = 128;  // the least that every Vulkan device has

std::string capability_name(uint32_t capability) {
  static const std::map<uint32_t, const char*> kNames = {
      {0, "Matrix"},
      {1, "Shader"},
      {9, "Float16"},
      {10, "Float64"},
      {11, "Int64"},
      {12, "Int64Atomics"},
      {22, "Int16"},
      {39, "Int8"},
      {46, "SampledBuffer"},
      {61, "GroupNonUniform"},
      {62, "GroupNonUniformVote"},
      {63, "GroupNonUniformArithmetic"},
      {64, "GroupNonUniformBallot"},
      {65, "GroupNonUniformShuffle"},
      {66, "GroupNonUniformShuffleRelative"},
      {67, "GroupNonUniformClustered"},
      {68, "GroupNonUniformQuad"},
      {4212, "Float8EXT"},
      {4213, "Float8CooperativeMatrixEXT"},
      {4428, "WorkgroupMemoryExplicitLayoutKHR"},
      {4429, "WorkgroupMemoryExplicitLayout8BitAccessKHR"},
      {4430, "WorkgroupMemoryExplicitLayout16BitAccessKHR"},
      {4433, "StorageBuffer16BitAccess"},
      {4434, "UniformAndStorageBuffer16BitAccess"},
      {4435, "StoragePushConstant16"},
      {4441, "VariablePointersStorageBuffer"},
      {4442, "VariablePointers"},
      {4448, "StorageBuffer8BitAccess"},
      {4449, "UniformAndStorageBuffer8BitAccess"},
      {4450, "StoragePushConstant8"},
      {4464, "DenormPreserve"},
      {4465, "DenormFlushToZero"},
      {4466, "SignedZeroInfNanPreserve"},
      {4467, "RoundingModeRTE"},
      {4468, "RoundingModeRTZ"},
      {5055, "ShaderClockKHR"},
      {5116, "BFloat16TypeKHR"},
      {5117, "BFloat16DotProductKHR"},
      {5118, "BFloat16CooperativeMatrixKHR"},
      {5345, "VulkanMemoryModel"},
      {5346, "VulkanMemoryModelDeviceScope"},
      {5347, "PhysicalStorageBufferAddresses"},
      {5357, "CooperativeMatrixNV"},
      {6016, "DotProductInputAll"},
      {6017, "DotProductInput4x8Bit"},
      {6018, "DotProductInput4x8BitPacked"},
      {6019, "DotProduct"},
      {6022, "CooperativeMatrixKHR"},
      {6026, "GroupNonUniformRotateKHR"},
      {6029, "FloatControls2"},
  };
  auto found = kNames.find(capability);
  return found == kNames.end() ? std::string{} : found->second;
}

struct Type {
  uint32_t op = 0;
  std::vector<uint32_t> operands;
};
struct Constant {
  uint32_t op = 0, type = 0, bits = 0;
  std::vector<uint32_t> parts;
};
struct Variable {
  uint32_t id = 0, pointer = 0, storage = 0;
};
using Decorations = std::map<uint32_t, uint32_t>;  // decoration -> its first operand, or 0

// What the declarations of a module say, by id; instructions inside of functions are walked over.
struct Module {
  std::map<uint32_t, std::string> names;
  std::map<std::pair<uint32_t, uint32_t>, std::string> member_names;
  std::map<uint32_t, Decorations> decorations;
  std::map<std::pair<uint32_t, uint32_t>, Decorations> member_decorations;
  std::map<uint32_t, Type> types;
  std::map<uint32_t, Constant> constants;
  std::vector<Variable> variables;
  std::set<uint32_t> capabilities;
  std::vector<uint32_t> entry_models;
  std::array<uint32_t, 3> local_size{1, 1, 1};
  std::vector<uint32_t> local_size_ids;
};

class Reader {
 public:
  Reader(std::string_view shader, std::span<const uint32_t> words) : shader_(shader), words_(words) {}

  Module read() {
    if (words_.size() < 5) fail("the module ends inside of its header");
    if (words_[0] != kMagic) fail("this is no SPIR-V module (wrong magic number)");
    size_t at = 5;
    while (at < words_.size()) {
      const uint32_t op = words_[at] & 0xffff, count = words_[at] >> 16;
      if (count == 0 || count > words_.size() - at) {
        fail(cat("the instruction at word ", at, " runs over the end of the module"));
      }
      instruction_ = words_.subspan(at + 1, count - 1);
      read_instruction(op);
      at += count;
    }
    return std::move(module_);
  }

 private:
  [[noreturn]] void fail(const std::string& message) const {
    throw Error(std::string(shader_), cat("malformed SPIR-V: ", message));
  }
  uint32_t operand(size_t i) const {
    if (i >= instruction_.size()) fail("an instruction is too short");
    return instruction_[i];
  }
  std::vector<uint32_t> operands_from(size_t i) const {
    if (i > instruction_.size()) fail("an instruction is too short");
    return {instruction_.begin() + i, instruction_.end()};
  }
  std::string text(size_t i) const {
    std::string out;
    for (; i < instruction_.size(); ++i) {
      for (int byte = 0; byte < 4; ++byte) {
        const char c = static_cast<char>(instruction_[i] >> (8 * byte));
        if (c == 0) return out;
        out += c;
      }
    }
    fail("a name has no end");
  }

  void read_instruction(uint32_t op) {
    Module& m = module_;
    switch (op) {
      case kOpCapability: m.capabilities.insert(operand(0)); break;
      case kOpName: m.names[operand(0)] = text(1); break;
      case kOpMemberName: m.member_names[{operand(0), operand(1)}] = text(2); break;
      case kOpEntryPoint: m.entry_models.push_back(operand(0)); break;
      case kOpExecutionMode:
        if (operand(1) == kLocalSize) m.local_size = {operand(2), operand(3), operand(4)};
        break;
      case kOpExecutionModeId:
        if (operand(1) == kLocalSizeId) m.local_size_ids = {operand(2), operand(3), operand(4)};
        break;
      case kOpDecorate:
        m.decorations[operand(0)][operand(1)] = instruction_.size() > 2 ? operand(2) : 0;
        break;
      case kOpMemberDecorate:
        m.member_decorations[{operand(0), operand(1)}][operand(2)] = instruction_.size() > 3 ? operand(3) : 0;
        break;
      case kOpTypeBool:
      case kOpTypeInt:
      case kOpTypeFloat:
      case kOpTypeImage:
      case kOpTypeArray:
      case kOpTypeRuntimeArray:
      case kOpTypeStruct:
      case kOpTypePointer: m.types[operand(0)] = {op, operands_from(1)}; break;
      case kOpConstant:
      case kOpSpecConstant: m.constants[operand(1)] = {op, operand(0), operand(2), {}}; break;
      case kOpSpecConstantTrue:
      case kOpSpecConstantFalse:
        m.constants[operand(1)] = {op, operand(0), op == kOpSpecConstantTrue, {}};
        break;
      case kOpConstantComposite:
      case kOpSpecConstantComposite: m.constants[operand(1)] = {op, operand(0), 0, operands_from(2)}; break;
      case kOpVariable: m.variables.push_back({operand(1), operand(0), operand(2)}); break;
    }
  }

  std::string_view shader_;
  std::span<const uint32_t> words_;
  std::span<const uint32_t> instruction_;  // without its first word
  Module module_;
};

class Reflection {
 public:
  Reflection(std::string_view shader, const Module& module) : shader_(shader), m_(module) {}

  Facts facts() {
    if (m_.entry_models != std::vector<uint32_t>{kGLCompute}) {
      fail("it must have one entry point, of a compute shader");
    }
    read_capabilities();
    read_spec();
    read_local_size();
    name_spec();
    for (const Variable& variable : m_.variables) read_variable(variable);
    finish_bindings();
    return std::move(facts_);
  }

 private:
  [[noreturn]] void fail(const std::string& message, const std::string& hint = {}) const {
    throw Error(std::string(shader_), message, hint);
  }
  const Type& type(uint32_t id) const {
    auto found = m_.types.find(id);
    if (found == m_.types.end()) fail(cat("unsupported or missing type %", id));
    return found->second;
  }
  uint32_t operand(const Type& type, size_t i) const {
    if (i >= type.operands.size()) fail("malformed SPIR-V: a type is too short");
    return type.operands[i];
  }
  std::optional<uint32_t> decoration(uint32_t id, uint32_t which) const {
    return lookup(m_.decorations, id, which);
  }
  std::optional<uint32_t> member_decoration(uint32_t id, uint32_t member, uint32_t which) const {
    return lookup(m_.member_decorations, std::pair{id, member}, which);
  }
  template <class Map, class Key>
  static std::optional<uint32_t> lookup(const Map& map, const Key& key, uint32_t which) {
    auto entry = map.find(key);
    if (entry == map.end()) return {};
    auto found = entry->second.find(which);
    if (found == entry->second.end()) return {};
    return found->second;
  }
  std::string name(uint32_t id) const {
    auto found = m_.names.find(id);
    return found == m_.names.end() ? std::string{} : found->second;
  }
  std::string member_name(uint32_t type, uint32_t member) const {
    auto found = m_.member_names.find({type, member});
    return found == m_.member_names.end() ? std::string{} : found->second;
  }
  std::optional<Scalar> scalar(uint32_t id) const {
    auto found = m_.types.find(id);
    if (found == m_.types.end()) return {};
    const Type& t = found->second;
    if (t.op == kOpTypeBool) return Scalar::boolean;
    // A float of 32 bits with a second operand has an encoding other than IEEE 754.
    if (t.op == kOpTypeFloat && operand(t, 0) == 32 && t.operands.size() == 1) return Scalar::float32;
    if (t.op == kOpTypeInt && operand(t, 0) == 32) return operand(t, 1) ? Scalar::int32 : Scalar::uint32;
    return {};
  }

  void read_capabilities() {
    for (uint32_t capability : m_.capabilities) {
      const std::string text = capability_name(capability);
      if (text.empty()) {
        fail(cat("SPIR-V capability ", capability, " is unknown"),
             "add its name to capability_name in tools/shadergen/spirv.cpp");
      }
      facts_.capabilities.push_back(text);
    }
    std::sort(facts_.capabilities.begin(), facts_.capabilities.end());
  }

  // One constant_id can stand on several constants: on a named one and on the workgroup size.
  void read_spec() {
    for (const auto& [id, constant] : m_.constants) {
      const std::optional<uint32_t> spec_id = decoration(id, kSpecId);
      if (!spec_id) continue;
      SpecConstant spec{*spec_id, name(id), Scalar::uint32, constant.bits};
      const std::optional<Scalar> type = scalar(constant.type);
      if (!type) {
        fail(cat("specialization constant ", spec.id, " ", spec.name, " must be a uint, int, float or bool"));
      }
      spec.type = *type;
      auto [place, fresh] = spec_.try_emplace(spec.id, spec);
      if (fresh) continue;
      SpecConstant& first = place->second;
      if (first.name.empty()) first.name = spec.name;
      if (!spec.name.empty() && spec.name != first.name) {
        fail(cat("constant_id ", spec.id, " stands on both ", first.name, " and ", spec.name));
      }
      if (first.type != spec.type || first.bits != spec.bits) {
        fail(cat("constant_id ", spec.id, " ", first.name, " has two defaults"),
             "with local_size_x_id, give local_size_x the constant's default too");
      }
    }
  }

  void read_local_size() {
    facts_.local_size = m_.local_size;
    std::vector<uint32_t> ids = m_.local_size_ids;
    for (const auto& [id, constant] : m_.constants) {
      if (decoration(id, kBuiltIn) == kWorkgroupSize) ids = constant.parts;
    }
    if (ids.empty()) return;
    if (ids.size() != 3) fail("malformed SPIR-V: the workgroup size has not 3 parts");
    for (int axis = 0; axis < 3; ++axis) {
      auto constant = m_.constants.find(ids[axis]);
      if (constant == m_.constants.end()) fail("malformed SPIR-V: the workgroup size is no constant");
      const std::optional<uint32_t> spec_id = decoration(ids[axis], kSpecId);
      facts_.local_size[axis] = spec_id ? 0 : constant->second.bits;
      if (!spec_id) continue;
      SpecConstant& spec = spec_.at(*spec_id);
      if (spec.name.empty()) spec.name = cat("local_size_", "xyz"[axis]);
    }
  }

  void name_spec() {
    std::set<std::string> names;
    for (auto& [id, spec] : spec_) {
      if (spec.name.empty()) fail(cat("specialization constant ", id, " has no name"));
      if (!names.insert(spec.name).second) fail(cat("two specialization constants are named ", spec.name));
      facts_.spec.push_back(spec);
    }
  }

  void read_variable(const Variable& variable) {
    switch (variable.storage) {
      case kStorageBuffer: read_buffer(variable); break;
      case kPushConstant: read_push(pointee(variable)); break;
      case kUniform:
      case kUniformConstant: {
        const uint32_t id = pointee(variable);
        const std::string label = name(variable.id).empty() ? name(id) : name(variable.id);
        if (is_texel_buffer(id)) {
          bind(variable, label, label, Access::read, BindingKind::texel);
          break;
        }
        fail(
            cat(label, " is no storage buffer"),
            "kernels take storage buffers, texel buffers of floats and push constants only: buffer blocks or "
            "textureBuffer, no other uniforms or images");
      }
    }
  }

  uint32_t pointee(const Variable& variable) const {
    const Type& pointer = type(variable.pointer);
    if (pointer.op != kOpTypePointer) fail("malformed SPIR-V: a variable's type is no pointer");
    return operand(pointer, 1);
  }

  void read_buffer(const Variable& variable) {
    const uint32_t block = pointee(variable);
    const Type& structure = type(block);
    const std::string label = name(variable.id).empty() ? name(block) : name(variable.id);
    if (structure.op != kOpTypeStruct) fail(cat("buffer ", label, " is an array of blocks: bind one buffer"));
    if (structure.operands.empty()) fail(cat("buffer ", label, " has no members"));
    const bool reads = !everywhere(variable.id, block, structure, kNonReadable);
    const bool writes = !everywhere(variable.id, block, structure, kNonWritable);
    if (!reads && !writes) fail(cat("buffer ", label, " is both readonly and writeonly"));
    const int access = (reads ? 1 : 0) | (writes ? 2 : 0);

    const std::string text = member_name(block, 0);
    if (text.empty()) fail(cat("the first member of buffer ", label, " has no name"));
    bind(variable, label, text, static_cast<Access>(access), BindingKind::storage);
  }

  // Several declarations may share a binding; the shortest name is the binding's.
  void bind(const Variable& variable, const std::string& label, const std::string& text, Access access,
            BindingKind kind) {
    const std::optional<uint32_t> number = decoration(variable.id, kBinding);
    if (!number) fail(cat("buffer ", label, " has no binding"));
    if (decoration(variable.id, kDescriptorSet).value_or(0) != 0) {
      fail(cat("buffer ", label, " is in descriptor set ", *decoration(variable.id, kDescriptorSet),
               "; kernels have set 0 only"));
    }
    auto [place, fresh] = bindings_.try_emplace(*number, Binding{text, access, kind});
    if (fresh) return;
    Binding& first = place->second;
    if (first.kind != kind) fail(cat("binding ", *number, " is both a storage and a texel buffer"));
    if (text.size() < first.name.size()) first.name = text;
    first.access = static_cast<Access>(static_cast<int>(first.access) | static_cast<int>(access));
  }

  bool is_texel_buffer(uint32_t id) const {
    auto found = m_.types.find(id);
    if (found == m_.types.end() || found->second.op != kOpTypeImage) return false;
    const Type& image = found->second;
    return scalar(operand(image, 0)) == Scalar::float32 && operand(image, 1) == kDimBuffer &&
           operand(image, 5) == kSampled;
  }

  bool everywhere(uint32_t variable, uint32_t block, const Type& structure, uint32_t which) const {
    if (decoration(variable, which)) return true;
    for (uint32_t i = 0; i < structure.operands.size(); ++i) {
      if (!member_decoration(block, i, which)) return false;
    }
    return true;
  }

  void finish_bindings() {
    std::set<std::string> names;
    for (const auto& [number, binding] : bindings_) {
      if (number != facts_.bindings.size()) {
        fail(cat("binding ", facts_.bindings.size(), " is missing, though there is a binding ", number, " (",
                 binding.name, ")"),
             "number the bindings 0, 1, 2, ... without holes");
      }
      if (!names.insert(binding.name).second) fail(cat("two bindings are named ", binding.name));
      facts_.bindings.push_back(binding);
    }
  }

  void read_push(uint32_t block) {
    const Type& structure = type(block);
    if (structure.op != kOpTypeStruct) fail("the push constants are no block");
    if (!facts_.push.empty()) fail("there are two push constant blocks");
    uint64_t end = 0;
    for (uint32_t i = 0; i < structure.operands.size(); ++i) {
      PushMember member{member_name(block, i), Scalar::uint32, 0};
      if (member.name.empty()) fail(cat("push constant ", i, " has no name"));
      uint32_t id = structure.operands[i];
      uint64_t elements = 1;
      auto outer = m_.types.find(id);
      if (outer != m_.types.end() && outer->second.op == kOpTypeArray) {
        auto length = m_.constants.find(operand(outer->second, 1));
        if (length == m_.constants.end() || length->second.op != kOpConstant || length->second.bits == 0) {
          fail(cat("push constant ", member.name, ": the array's length must be a plain constant"));
        }
        if (decoration(id, kArrayStride) != 4) {
          fail(cat("push constant ", member.name, ": the array's stride must be 4 bytes, not ",
                   decoration(id, kArrayStride).value_or(0)));
        }
        elements = member.count = length->second.bits;
        id = operand(outer->second, 0);
      }
      const std::optional<Scalar> element = scalar(id);
      if (!element || *element == Scalar::boolean) {
        fail(cat("push constant ", member.name, " must be a uint, int or float, or an array of these"));
      }
      member.type = *element;
      const std::optional<uint32_t> offset = member_decoration(block, i, kOffset);
      if (offset != end) {
        fail(cat("push constant ", member.name, " is at offset ", offset ? cat(*offset) : "(none)",
                 ", where C++ has it at ", end));
      }
      end += 4 * elements;
      if (end > kMaxPushBytes) {
        fail(
            cat("push constant ", member.name, " ends at byte ", end, ", over the limit of ", kMaxPushBytes));
      }
      facts_.push.push_back(std::move(member));
    }
    facts_.push_bytes = static_cast<uint32_t>(end);
  }

  std::string_view shader_;
  const Module& m_;
  std::map<uint32_t, SpecConstant> spec_;
  std::map<uint32_t, Binding> bindings_;
  Facts facts_;
};

const char* access_name(const Binding& binding) {
  if (binding.kind == BindingKind::texel) return "texel buffer";
  return binding.access == Access::read    ? "readonly"
         : binding.access == Access::write ? "writeonly"
                                           : "read and written";
}

}  // namespace

Facts reflect(std::string_view shader, std::span<const uint32_t> words) {
  const Module module = Reader(shader, words).read();
  return Reflection(shader, module).facts();
}

std::string difference(const Facts& a, const Facts& b) {
  if (a.bindings.size() != b.bindings.size()) {
    return cat("it has ", b.bindings.size(), " bindings, not ", a.bindings.size());
  }
  for (size_t i = 0; i < a.bindings.size(); ++i) {
    if (a.bindings[i] == b.bindings[i]) continue;
    return cat("its binding ", i, " is ", b.bindings[i].name, " (", access_name(b.bindings[i]), "), not ",
               a.bindings[i].name, " (", access_name(a.bindings[i]), ")");
  }
  if (a.push != b.push) return "its push constants differ";
  if (a.spec != b.spec) return "its specialization constants differ";
  if (a.local_size != b.local_size) return "its local size differs";
  return {};
}

}  // namespace stithy::shadergen
