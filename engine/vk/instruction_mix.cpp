#include "engine/vk/instruction_mix.h"

#include <algorithm>
#include <cctype>

namespace stithy::vk {
namespace {

using Class = InstructionClass;

bool contains_any(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::ranges::any_of(words, [&](auto word) { return text.find(word) != std::string_view::npos; });
}
bool starts_with_any(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::ranges::any_of(words, [&](auto word) { return text.starts_with(word); });
}

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

// The letters at the beginning that can be a mnemonic.
std::string_view word_of(std::string_view text) {
  const auto end =
      std::ranges::find_if(text, [](unsigned char c) { return !std::isalnum(c) && c != '_' && c != '.'; });
  return text.substr(0, static_cast<size_t>(end - text.begin()));
}

// AMD's instruction set manuals (GCN3 to RDNA4) give the prefixes.
std::optional<Class> amd_class(std::string_view line) {
  const std::string_view name = word_of(line);
  if (line.ends_with(':')) return {};  // a label
  if (starts_with_any(name, {"v_wmma", "v_swmma", "v_mfma", "v_smfmac", "v_dot"})) return Class::matrix;
  if (name.starts_with("v_")) {
    if (contains_any(name, {"readlane", "readfirstlane", "writelane"})) return Class::integer_alu;
    if (contains_any(name, {"_f16", "_f32", "_f64", "_bf16"})) return Class::float_alu;
    return name == "v_nop" ? Class::other : Class::integer_alu;
  }
  if (name.starts_with("ds_") || name.starts_with("lds_")) return Class::shared;
  if (starts_with_any(name, {"buffer_", "tbuffer_", "global_", "flat_", "scratch_", "image_"})) {
    if (contains_any(name, {"store", "atomic"})) return Class::store;
    if (contains_any(name, {"load", "sample", "gather", "get_"})) return Class::load;
    return Class::sync;  // buffer_gl0_inv, global_wb, ...
  }
  if (!name.starts_with("s_")) return {};
  if (starts_with_any(name, {"s_load", "s_buffer_load", "s_scratch_load", "s_prefetch"})) return Class::load;
  if (starts_with_any(name, {"s_store", "s_buffer_store", "s_atomic"})) return Class::store;
  if (starts_with_any(name,
                      {"s_branch", "s_cbranch", "s_endpgm", "s_setpc", "s_swappc", "s_call", "s_getpc"}))
    return Class::control;
  if (starts_with_any(name,
                      {"s_waitcnt", "s_wait_", "s_barrier", "s_dcache", "s_icache", "s_gl1", "s_sleep"}))
    return Class::sync;
  if (starts_with_any(name, {"s_nop", "s_inst_prefetch", "s_set_inst_prefetch", "s_clause", "s_delay",
                             "s_code_end", "s_sendmsg", "s_setprio", "s_version", "s_ttrace"}))
    return Class::other;
  return Class::scalar_alu;
}

// Intel's Programmer's Reference Manual, volume "Execution Unit ISA". A send's message stands on the lines
// after it.
std::optional<Class> intel_class(std::string_view line) {
  if (line.starts_with('(')) {  // a predicate: (+f0.0)
    const size_t end = line.find(')');
    if (end == std::string_view::npos) return {};
    line = trimmed(line.substr(end + 1));
  }
  const std::string_view name = word_of(line);
  // Every instruction says its width, mov(16), or its channels, { align1 ...; labels and blocks do not.
  if (name.empty() || starts_with_any(name, {"START", "END", "LABEL"})) return {};
  const bool has_width = line.size() > name.size() && line[name.size()] == '(';
  if (starts_with_any(name, {"if", "else", "endif", "while", "do", "break", "cont", "halt", "jmpi", "brd",
                             "brc", "call", "ret", "goto", "join"}) &&
      (has_width || line.find("{ align") != std::string_view::npos ||
       line.find("JIP") != std::string_view::npos))
    return Class::control;
  if (name == "nop") return Class::other;
  if (name == "sync" || name.starts_with("sync.") || name == "wait") return Class::sync;
  if (name.starts_with("math")) return Class::float_alu;  // math inv(16)
  if (!has_width) return {};
  if (name.starts_with("dpas")) return Class::matrix;
  if (name.starts_with("send")) return Class::other;
  // The type of the destination: g12<1>F.
  const size_t close = line.find(')');
  if (close == std::string_view::npos) return {};
  std::string_view rest = trimmed(line.substr(close + 1));
  if (rest.starts_with("sat ")) rest = trimmed(rest.substr(4));
  const std::string_view target = rest.substr(0, rest.find_first_of(" \t"));
  const size_t region = target.rfind('>');
  const std::string_view type = region == std::string_view::npos ? target : target.substr(region + 1);
  const bool is_float = type == "F" || type == "HF" || type == "DF" || type == "BF" || type == "VF";
  return is_float && !starts_with_any(name, {"mov", "sel", "smov", "csel"}) ? Class::float_alu
                                                                            : Class::integer_alu;
}

bool is_intel_send(std::string_view line) {
  if (line.starts_with('(')) line = trimmed(line.substr(std::min(line.find(')'), line.size() - 1) + 1));
  return line.starts_with("send");
}

// What a send does, by the words of its message.
std::optional<Class> intel_message_class(std::string_view text) {
  if (contains_any(text, {"thread_spawner", "thread spawner", "EOT"})) return Class::control;
  if (contains_any(text, {"gateway", "barrier"}) || contains_any(text, {"fence", "mfence"}))
    return Class::sync;
  if (contains_any(text, {"slm"}) || contains_any(text, {"surface = SLM", "BTI 254", "Surface = 254"}))
    return Class::shared;
  if (contains_any(text, {"store", "write", "atomic"})) return Class::store;
  if (contains_any(text, {"load", "read", "sampler", "resinfo", "ld"})) return Class::load;
  return {};
}

// NVIDIA's names as NAK writes them down (Mesa, src/nouveau/compiler/nak/ir.rs).
std::optional<Class> nvidia_class(std::string_view line) {
  // "r4 p0 = fadd.ftz r2 r3 // delay=1": results, a name, operands.
  // Every instruction ends with how long its successor waits.
  if (line.find("// delay=") == std::string_view::npos) return {};
  if (line.starts_with('@')) line = trimmed(line.substr(std::min(line.find(' '), line.size())));
  const bool uniform = line.starts_with("ur") || line.starts_with("up");  // the result's register
  if (const size_t equals = line.find(" = "); equals != std::string_view::npos)
    line = trimmed(line.substr(equals + 3));
  const std::string_view whole = word_of(line), name = whole.substr(0, whole.find('.'));
  const auto is = [&](std::initializer_list<std::string_view> names) {
    return std::ranges::find(names, name) != names.end();
  };
  if (is({"hmma", "imma", "dmma", "mma"})) return Class::matrix;
  if (is({"fadd",           "ffma",  "fmul",  "fmnmx", "fset",  "fsetp", "fswz",   "fswzadd", "fsel", "mufu",
          "transcendental", "rro",   "hadd2", "hfma2", "hmul2", "hset2", "hsetp2", "hmnmx2",  "dadd", "dfma",
          "dmul",           "dsetp", "dmnmx", "f2f",   "f2fp",  "f2i",   "i2f",    "frnd"}))
    return Class::float_alu;
  if (is({"ld", "ldc", "ldcu", "ldg", "ldl", "tex", "tld", "tld4", "tmml", "txd", "txq", "suld", "al2p",
          "ald", "ipa", "ldtram", "suldga"}))
    return contains_any(whole, {".shared"}) ? Class::shared : Class::load;
  if (is({"st", "stg", "stl", "atom", "red", "sust", "suatom", "sustga", "ast"}))
    return contains_any(whole, {".shared"}) ? Class::shared : Class::store;
  if (is({"lds", "sts", "atoms", "ldsm", "shfl"})) return Class::shared;
  if (is({"bra", "bssy", "bsync", "bclear", "break", "brk", "cont", "exit", "kill", "pbk", "pcnt", "ssy",
          "sync", "warpsync", "jmp", "call", "ret", "bmov"}))
    return Class::control;
  if (is({"bar", "membar", "depbar", "cctl", "fence", "ccctl"})) return Class::sync;
  if (is({"iadd2", "iadd3", "iadd",  "imad", "imul",  "imad64", "imnmx",  "isetp",  "lea",  "leax", "lop2",
          "lop3",  "plop3", "psetp", "popc", "prmt",  "r2ur",   "redux",  "s2r",    "cs2r", "sel",  "sgxt",
          "shf",   "shl",   "shr",   "mov",  "movm",  "vote",   "match",  "bfe",    "bfi",  "bmsk", "brev",
          "flo",   "iabs",  "idp4",  "idp",  "i2i",   "isberd", "iadd2x", "iadd3x", "copy", "swap", "parcopy",
          "pin",   "unpin", "r2p",   "p2r",  "vsetp", "dp4a",   "iscadd"}))
    return uniform || name == "r2ur" ? Class::scalar_alu : Class::integer_alu;
  return Class::other;
}

}  // namespace

std::string_view name_of(InstructionClass instruction) {
  constexpr std::string_view kNames[] = {"float", "integer", "scalar",  "matrix", "load",
                                         "store", "shared",  "control", "sync",   "other"};
  static_assert(std::size(kNames) == kInstructionClasses);
  return kNames[static_cast<size_t>(instruction)];
}

uint64_t InstructionMix::total() const {
  uint64_t sum = 0;
  for (const uint64_t count : counts) sum += count;
  return sum;
}

std::optional<InstructionMix> instruction_mix(std::string_view assembly, uint32_t vendor_id) {
  constexpr uint32_t kAmd = 0x1002, kIntel = 0x8086, kNvidia = 0x10de;
  InstructionMix mix;
  bool sends = false;  // the latest instruction is a send whose message is not known yet
  while (!assembly.empty()) {
    const size_t end = std::min(assembly.find('\n'), assembly.size());
    const std::string_view line = trimmed(assembly.substr(0, end));
    assembly.remove_prefix(std::min(end + 1, assembly.size()));
    if (line.empty() || starts_with_any(line, {"//", ";", "#"})) continue;
    std::optional<Class> found;
    if (vendor_id == kAmd) found = amd_class(line);
    if (vendor_id == kNvidia) found = nvidia_class(line);
    if (vendor_id == kIntel) {
      found = intel_class(line);
      if (!found && sends) {
        found = intel_message_class(line);
        if (found) sends = false;
      } else if (found) {
        mix[Class::other] += sends;
        sends = is_intel_send(line);
        if (sends) continue;
      }
    }
    if (found) ++mix[*found];
  }
  mix[Class::other] += sends;
  return mix.total() ? std::optional(mix) : std::nullopt;
}

}  // namespace stithy::vk
