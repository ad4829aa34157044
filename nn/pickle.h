// Pickles, Python's serialised objects, as plain values. A pickle is a program for a small machine that may
// call any function by name; this machine calls none. It knows the opcodes of protocols 2 to 5.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace stithy {

struct PickleValue {
  enum class Kind {
    none,
    boolean,     // integer
    integer,     // integer
    number,      // number
    text,        // text: str, or bytes
    tuple,       // items
    list,        // items; also a set
    dict,        // items: key, value, key, value ...; also OrderedDict and defaultdict
    global,      // text: "module.name" of a class or a function
    call,        // text: the function's "module.name"; items: the tuple of its arguments. Nothing was called.
    object,      // text: the class's "module.name"; what it holds is left out. Also an integer above 64 bits.
    persistent,  // items: the one value by which the program that wrote it knows an object kept elsewhere
  };
  Kind kind = Kind::none;
  int64_t integer = 0;
  double number = 0;
  std::string text;
  std::vector<const PickleValue*> items;
};

// Values may be shared and may contain themselves: who walks them bounds the depth and the steps.
struct Pickle {
  std::deque<PickleValue> values;  // all of them
  const PickleValue* root = nullptr;
  size_t size = 0;  // bytes read
};

// Reads one pickle from the beginning of `bytes`. `may_call` says for which functions a call becomes a value;
// any other is refused, and so are opcodes that PyTorch does not use. Throws Error, named `where`, for those,
// for damage, and for more than a million values.
Pickle read_pickle(std::string_view bytes, const std::string& where,
                   const std::function<bool(const std::string& function)>& may_call);

}  // namespace stithy
