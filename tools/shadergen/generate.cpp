#include "tools/shadergen/generate.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <iomanip>
#include <set>
#include <sstream>

#include "engine/core/error.h"

namespace stithy::shadergen {
namespace {

bool is_identifier(std::string_view text) {
  const auto letter = [](char c) { return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  if (text.empty() || !letter(text.front())) return false;
  return std::all_of(text.begin(), text.end(), [&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
}

// Words that GLSL allows as names, or ops are called by, and C++ keeps for itself.
std::string cpp_name(const std::string& name) {
  static const std::set<std::string> kKeywords = {
      "and",      "and_eq",   "auto",   "bitand",  "bitor",     "bool",      "break",     "case",
      "catch",    "char",     "class",  "compl",   "concept",   "const",     "constexpr", "continue",
      "decltype", "default",  "delete", "do",      "double",    "else",      "enum",      "explicit",
      "export",   "extern",   "false",  "float",   "for",       "friend",    "goto",      "if",
      "inline",   "int",      "long",   "mutable", "namespace", "new",       "not",       "not_eq",
      "nullptr",  "operator", "or",     "or_eq",   "private",   "protected", "public",    "register",
      "requires", "return",   "short",  "signed",  "sizeof",    "static",    "struct",    "switch",
      "template", "this",     "throw",  "true",    "try",       "typedef",   "typeid",    "typename",
      "union",    "unsigned", "using",  "virtual", "void",      "volatile",  "wchar_t",   "while",
      "xor",      "xor_eq"};
  return kKeywords.contains(name) ? name + "_" : name;
}

const char* cpp_type(Scalar type) {
  switch (type) {
    case Scalar::int32: return "int32_t";
    case Scalar::float32: return "float";
    default: return "uint32_t";
  }
}

std::string cpp_value(const SpecConstant& spec) {
  if (spec.type == Scalar::int32) return cat(static_cast<int32_t>(spec.bits));
  if (spec.type != Scalar::float32) return cat(spec.bits);
  const float value = std::bit_cast<float>(spec.bits);
  if (!std::isfinite(value)) return cat("std::bit_cast<float>(", spec.bits, "u)");
  char text[32];
  std::string out(text, std::to_chars(text, text + sizeof text, value).ptr);
  if (out.find_first_of(".e") == std::string::npos) out += ".0";
  return out + "f";
}

void check_members(std::string_view shader, const Kernel& kernel) {
  static const std::set<std::string> kTaken = {"push", "spec", "variant", "info",         "call",
                                               "Push", "Spec", "Variant", "variant_named"};
  for (const Binding& binding : kernel.modules.front().facts.bindings) {
    if (kTaken.contains(binding.name)) {
      throw Error(std::string(shader),
                  cat("kernel ", kernel.name, ": a buffer cannot be named ", binding.name),
                  "shaders::" + kernel.name + " has a member of that name: rename the block's first member");
    }
  }
}

void write_header(std::ostream& out, const Kernel& kernel, const Directives& directives) {
  const Facts& facts = kernel.modules.front().facts;
  out << "\nstruct " << cpp_name(kernel.name) << " {\n";
  for (const Binding& binding : facts.bindings) {
    out << "  Ref " << cpp_name(binding.name) << "{};  // "
        << (binding.access == Access::read    ? "read"
            : binding.access == Access::write ? "written"
                                              : "read and written")
        << "\n";
  }
  if (!facts.push.empty()) {
    out << "  struct Push {\n";
    for (const PushMember& member : facts.push) {
      const std::string name = cpp_name(member.name), type = cpp_type(member.type);
      if (member.count) {
        out << "    std::array<" << type << ", " << member.count << "> " << name << "{};\n";
      } else {
        out << "    " << type << " " << name << " = 0;\n";
      }
    }
    out << "  } push{};\n";
  }
  if (!facts.spec.empty()) {
    out << "  struct Spec {\n";
    for (const SpecConstant& spec : facts.spec) {
      out << "    " << cpp_type(spec.type) << " " << cpp_name(spec.name) << " = " << cpp_value(spec) << ";\n";
    }
    out << "  } spec{};\n";
  }
  if (directives.variants.empty()) {
    out << "\n  static const KernelInfo& info();\n";
  } else {
    out << "  enum class Variant : uint32_t {";
    for (const std::string& variant : directives.variants) out << " " << cpp_name(variant) << ",";
    out << " } variant{};\n\n"
        << "  static const KernelInfo& info(Variant variant);\n"
        << "  static std::optional<Variant> variant_named(std::string_view name);\n";
  }
  out << "  KernelCall call() const;\n};\n";
}

template <class Items, class Write>
void write_table(std::ostream& out, const char* type, const std::string& name, const Items& items,
                 Write write) {
  if (items.empty()) return;
  out << "constexpr " << type << " " << name << "[] = {";
  for (const auto& item : items) {
    write(item);
    out << ", ";
  }
  out << "};\n";
}

void write_tables(std::ostream& out, size_t index, const Kernel& kernel) {
  const Facts& facts = kernel.modules.front().facts;
  write_table(out, "BindingInfo", cat("kBindings", index), facts.bindings, [&](const Binding& binding) {
    out << "{\"" << binding.name << "\", Access::"
        << (binding.access == Access::read    ? "read"
            : binding.access == Access::write ? "write"
                                              : "read_write")
        << (binding.kind == BindingKind::texel ? ", BindingKind::texel}" : "}");
  });
  write_table(out, "uint32_t", cat("kSpecIds", index), facts.spec,
              [&](const SpecConstant& s) { out << s.id; });
  write_table(out, "std::string_view", cat("kSpecNames", index), facts.spec,
              [&](const SpecConstant& s) { out << '"' << s.name << '"'; });
  for (size_t v = 0; v < kernel.modules.size(); ++v) {
    const Module& module = kernel.modules[v];
    write_table(out, "std::string_view", cat("kCapabilities", index, "_", v), module.facts.capabilities,
                [&](const std::string& name) { out << '"' << name << '"'; });
    out << "constexpr uint32_t kSpirv" << index << "_" << v << "[] = {" << std::hex;
    for (size_t i = 0; i < module.spirv.size(); ++i) {
      out << (i % 12 ? "" : "\n    ") << "0x" << module.spirv[i] << ",";
    }
    out << "\n};\n" << std::dec;
  }
}

// The binding of that name, which must be read, or written, alone; -1 for no name.
int fused_binding(std::string_view shader, const Kernel& kernel, const std::string& name, Access access) {
  if (name.empty()) return -1;
  const std::vector<Binding>& bindings = kernel.modules.front().facts.bindings;
  for (size_t i = 0; i < bindings.size(); ++i)
    if (bindings[i].name == name && bindings[i].access == access) return static_cast<int>(i);
  throw Error(cat(shader, ": kernel ", kernel.name),
              cat("fuse names ", name, ", which is no buffer that is ",
                  access == Access::read ? "read" : "written", " alone"));
}

void write_info(std::ostream& out, std::string_view shader, const std::string& stem, size_t index,
                const Kernel& kernel, const Directives& directives) {
  Directives::Fuse fuse;
  if (const auto found = directives.fuse.find(kernel.name); found != directives.fuse.end())
    fuse = found->second;
  const int fuse_in = fused_binding(shader, kernel, fuse.in, Access::read),
            fuse_out = fused_binding(shader, kernel, fuse.out, Access::write);
  const bool aids =
      std::find(directives.aids.begin(), directives.aids.end(), kernel.name) != directives.aids.end();
  for (size_t v = 0; v < kernel.modules.size(); ++v) {
    const Module& module = kernel.modules[v];
    const Facts& facts = module.facts;
    const auto table = [](bool empty, const std::string& name) { return empty ? std::string("{}") : name; };
    out << "    {\"" << module.name << "\", \"" << stem << "\", kSpirv" << index << "_" << v << ", "
        << table(facts.bindings.empty(), cat("kBindings", index)) << ", "
        << table(facts.spec.empty(), cat("kSpecIds", index)) << ", "
        << table(facts.spec.empty(), cat("kSpecNames", index)) << ", " << facts.push_bytes << ", "
        << table(facts.capabilities.empty(), cat("kCapabilities", index, "_", v)) << ",\n     {{"
        << facts.local_size[0] << ", " << facts.local_size[1] << ", " << facts.local_size[2] << "}}, \""
        << module.defines << "\", " << fuse_in << ", " << fuse_out << (aids ? ", true" : "") << "},\n";
  }
}

void write_functions(std::ostream& out, size_t first, const Kernel& kernel, const Directives& directives) {
  const Facts& facts = kernel.modules.front().facts;
  const std::string name = cpp_name(kernel.name);
  out << "\n";
  if (facts.push_bytes) {
    out << "static_assert(sizeof(" << name << "::Push) == " << facts.push_bytes << ");\n";
  }
  if (directives.variants.empty()) {
    out << "const KernelInfo& " << name << "::info() { return kInfos[" << first << "]; }\n";
  } else {
    out << "const KernelInfo& " << name << "::info(Variant variant) {\n  return kInfos[" << first
        << " + static_cast<uint32_t>(variant)];\n}\n"
        << "std::optional<" << name << "::Variant> " << name << "::variant_named(std::string_view name) {\n"
        << "  for (uint32_t i = 0; i < std::size(kVariants); ++i) {\n"
        << "    if (kVariants[i] == name) return static_cast<Variant>(i);\n  }\n  return {};\n}\n";
  }
  out << "KernelCall " << name << "::call() const {\n  KernelCall call;\n  call.kernel = &info("
      << (directives.variants.empty() ? "" : "variant") << ");\n";
  out << "  call.refs = {";
  for (const Binding& binding : facts.bindings) out << cpp_name(binding.name) << ", ";
  out << "};\n";
  if (!facts.spec.empty()) {
    out << "  call.spec = {";
    for (const SpecConstant& s : facts.spec)
      out << "std::bit_cast<uint32_t>(spec." << cpp_name(s.name) << "), ";
    out << "};\n";
  }
  if (facts.push_bytes) {
    out << "  call.push.resize(sizeof push);\n  std::memcpy(call.push.data(), &push, sizeof push);\n";
  }
  out << "  return call;\n}\n";
}

}  // namespace

Directives read_directives(std::string_view shader, const std::string& stem, std::string_view source) {
  Directives directives;
  std::istringstream lines{std::string(source)};
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    std::istringstream words(line);
    std::string hash, owner, kind, word;
    words >> hash;
    if (hash == "#") {
      words >> word;
      hash += word;
    }
    if (hash != "#pragma" || !(words >> owner) || owner != "stithy") continue;
    const auto fail = [&](const std::string& message) {
      throw Error(cat(shader, ":", number), message,
                  "write `#pragma stithy kernels NAME...`, `#pragma stithy variants MACRO: VALUE...`, "
                  "`#pragma stithy fuse KERNEL IN OUT` or `#pragma stithy aids KERNEL...`");
    };
    words >> kind;
    if (kind == "fuse") {
      std::string kernel, in, out;
      if (!(words >> kernel >> in >> out)) fail("fuse needs a kernel, a buffer or -, and a buffer or -");
      const auto name = [&](const std::string& text) {
        if (text != "-" && !is_identifier(text)) fail(cat("'", text, "' is no identifier"));
        return text == "-" ? std::string() : text;
      };
      if (!directives.fuse.emplace(kernel, Directives::Fuse{name(in), name(out)}).second)
        fail(cat(kernel, " stands there twice"));
      continue;
    }
    std::vector<std::string>* list = kind == "kernels"    ? &directives.kernels
                                     : kind == "variants" ? &directives.variants
                                     : kind == "aids"     ? &directives.aids
                                                          : nullptr;
    if (!list) fail(cat("unknown directive '", kind, "'"));
    if (!list->empty()) fail(cat("a second `#pragma stithy ", kind, "` line"));
    if (kind == "variants") {
      std::getline(words >> std::ws, directives.variant_macro, ':');
      while (directives.variant_macro.ends_with(' ')) directives.variant_macro.pop_back();
      if (!is_identifier(directives.variant_macro) || words.eof()) fail("the variants have no macro");
    }
    while (words >> word && !word.starts_with("//")) {
      if (!is_identifier(word)) fail(cat("'", word, "' is no identifier"));
      if (std::find(list->begin(), list->end(), word) != list->end()) fail(cat(word, " stands there twice"));
      list->push_back(word);
    }
    if (list->empty()) fail(cat("the ", kind, " are missing"));
  }
  if (directives.kernels.empty()) {
    if (!is_identifier(stem)) throw Error(std::string(shader), "the file's name is no identifier");
    directives.kernels = {stem};
  }
  for (const auto& [kernel, fuse] : directives.fuse)
    if (std::find(directives.kernels.begin(), directives.kernels.end(), kernel) == directives.kernels.end())
      throw Error(std::string(shader), cat("fuse names ", kernel, ", which is no kernel of this file"));
  for (const std::string& kernel : directives.aids)
    if (std::find(directives.kernels.begin(), directives.kernels.end(), kernel) == directives.kernels.end())
      throw Error(std::string(shader), cat("aids names ", kernel, ", which is no kernel of this file"));
  return directives;
}

std::string embed(const std::map<std::string, std::string>& texts) {
  std::ostringstream out;
  out << "// Written by shadergen.\n#include \"engine/graph/kernel.h\"\n\nnamespace stithy {\n\n"
      << "std::span<const ShaderText> shader_texts() {\n  static constexpr ShaderText kTexts[] = {\n";
  for (const auto& [name, text] : texts) out << "{\"" << name << "\", R\"GLSL(" << text << ")GLSL\"},\n";
  out << "  };\n  return kTexts;\n}\n\n}  // namespace stithy\n";
  return out.str();
}

Sources generate(std::string_view shader, const std::string& stem, const Directives& directives,
                 const std::vector<Kernel>& kernels) {
  std::ostringstream header, source;
  header << "// Written by shadergen from " << stem << ".comp.\n#pragma once\n\n"
         << "#include <array>\n#include <bit>\n#include <cstdint>\n#include <optional>\n#include "
            "<string_view>\n\n"
         << "#include \"engine/graph/kernel.h\"\n\nnamespace stithy::shaders {\n";
  for (const Kernel& kernel : kernels) {
    check_members(shader, kernel);
    write_header(header, kernel, directives);
  }
  header << "\n}  // namespace stithy::shaders\n";

  source << "// Written by shadergen from " << stem << ".comp.\n#include \"" << stem << ".h\"\n\n"
         << "#include <cstring>\n#include <iterator>\n\nnamespace stithy::shaders {\nnamespace {\n\n";
  write_table(source, "std::string_view", "kVariants", directives.variants,
              [&](const std::string& variant) { source << '"' << variant << '"'; });
  for (size_t i = 0; i < kernels.size(); ++i) write_tables(source, i, kernels[i]);
  source << "constexpr KernelInfo kInfos[] = {\n";
  for (size_t i = 0; i < kernels.size(); ++i) write_info(source, shader, stem, i, kernels[i], directives);
  source << "};\n\n[[maybe_unused]] const bool kRegistered = register_kernels(kInfos);\n\n}  // namespace\n";
  size_t first = 0;
  for (const Kernel& kernel : kernels) {
    write_functions(source, first, kernel, directives);
    first += kernel.modules.size();
  }
  source << "\n}  // namespace stithy::shaders\n";
  return {header.str(), source.str()};
}

}  // namespace stithy::shadergen
