#include "nn/pickle.h"

#include <bit>
#include <cstring>
#include <unordered_map>

#include "engine/core/error.h"

namespace stithy {
namespace {

using Kind = PickleValue::Kind;

constexpr size_t kMostValues = 1'000'000;

// The machine of Python's Lib/pickle.py: a stack, marks on it, and a memo of values for later.
class Machine {
 public:
  Machine(std::string_view bytes, const std::string& where,
          const std::function<bool(const std::string&)>& may_call)
      : bytes_(bytes), where_(where), may_call_(may_call) {}

  Pickle run() {
    for (;;) {
      opcode_at_ = at_;
      const uint8_t opcode = static_cast<uint8_t>(take(1)[0]);
      if (opcode == '.') break;
      step(opcode);
      if (stack_.size() > kMostValues || memo_.size() > kMostValues) fail("holds too many values");
    }
    pickle_.root = pop();
    pickle_.size = at_;
    return std::move(pickle_);
  }

 private:
  [[noreturn]] void fail(const std::string& message) const {
    throw Error(where_, cat("the pickle ", message, ", at byte ", opcode_at_));
  }

  std::string_view take(uint64_t count) {
    if (count > bytes_.size() - at_) fail("ends early");
    const std::string_view taken = bytes_.substr(at_, count);
    at_ += count;
    return taken;
  }
  uint64_t little_endian(size_t count) {
    uint64_t value = 0;
    const std::string_view taken = take(count);
    for (size_t i = 0; i < count; ++i) value |= uint64_t{static_cast<uint8_t>(taken[i])} << 8 * i;
    return value;
  }
  std::string_view line() {
    const size_t end = bytes_.find('\n', at_);
    if (end == bytes_.npos) fail("ends early");
    const std::string_view text = take(end - at_);
    take(1);
    return text;
  }

  PickleValue* make(Kind kind) {
    if (pickle_.values.size() >= kMostValues) fail("holds too many values");
    PickleValue& value = pickle_.values.emplace_back();
    value.kind = kind;
    return &value;
  }
  void push(PickleValue* value) { stack_.push_back(value); }
  void push_integer(int64_t value, Kind kind = Kind::integer) {
    push(make(kind));
    stack_.back()->integer = value;
  }
  void push_text(std::string_view text, Kind kind = Kind::text) {
    push(make(kind));
    stack_.back()->text = text;
  }
  // Values above the topmost mark cannot be reached below it.
  PickleValue* pop() {
    if (stack_.empty() || (!marks_.empty() && stack_.size() <= marks_.back()))
      fail("takes a value that is not there");
    PickleValue* value = stack_.back();
    stack_.pop_back();
    return value;
  }
  PickleValue* top() {
    PickleValue* value = pop();
    push(value);
    return value;
  }
  std::vector<const PickleValue*> pop_to_mark() {
    if (marks_.empty()) fail("takes a mark that is not there");
    std::vector<const PickleValue*> values(stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back()),
                                           stack_.end());
    stack_.resize(marks_.back());
    marks_.pop_back();
    return values;
  }
  void push_tuple(size_t count) {
    std::vector<const PickleValue*> items(count);
    for (size_t i = count; i-- > 0;) items[i] = pop();
    push(make(Kind::tuple));
    stack_.back()->items = std::move(items);
  }
  // Fills a list or a dict. Other things take nothing in: what they hold is not ours to know.
  void add(Kind kind, const std::vector<const PickleValue*>& items) {
    if (kind == Kind::dict && items.size() % 2) fail("has a key without a value");
    // One list can be put into many by a few bytes each.
    if ((added_ += items.size()) > 4 * kMostValues) fail("holds too many values");
    PickleValue* to = top();
    if (to->kind == kind)
      to->items.insert(to->items.end(), items.begin(), items.end());
    else if (to->kind != Kind::object && to->kind != Kind::call)
      fail("fills what is no list and no dict");
  }
  void remember(uint64_t key) { memo_[key] = top(); }
  void recall(uint64_t key) {
    const auto found = memo_.find(key);
    if (found == memo_.end()) fail("recalls a value that was not kept");
    push(found->second);
  }

  void global(std::string_view module, std::string_view name) {
    // Names are copied into each call and object.
    if (module.size() + name.size() > 1000) fail("names a global by more than 1000 letters");
    push_text(cat(module, ".", name), Kind::global);
  }

  void call() {
    const PickleValue* arguments = pop();
    const PickleValue* function = pop();
    if (function->kind != Kind::global || arguments->kind != Kind::tuple) fail("calls what is no function");
    if (function->text == "collections.OrderedDict" || function->text == "collections.defaultdict") {
      push(make(Kind::dict));
      // Python 2 wrote the pairs as an argument.
      if (!arguments->items.empty() && arguments->items[0]->kind == Kind::list)
        for (const PickleValue* pair : arguments->items[0]->items) {
          if ((pair->kind != Kind::list && pair->kind != Kind::tuple) || pair->items.size() != 2)
            fail("makes a dict of what are no pairs");
          add(Kind::dict, pair->items);
        }
      return;
    }
    if (!may_call_(function->text))
      throw Error(
          where_, cat("the pickle would call ", function->text, ", which tensors do not need: it is refused"),
          "nothing was run; where you trust the file, load it in Python and save its state_dict alone");
    push_text(function->text, Kind::call);
    stack_.back()->items = {arguments};
  }

  void object(size_t arguments) {
    while (arguments-- > 0) pop();
    const PickleValue* type = pop();
    if (type->kind != Kind::global) fail("makes an object of what is no class");
    push_text(type->text, Kind::object);
  }

  void long_integer(uint64_t count) {
    const std::string_view digits = take(count);
    if (count > 8) return push_text("int", Kind::object);
    uint64_t value = 0;
    for (size_t i = 0; i < count; ++i) value |= uint64_t{static_cast<uint8_t>(digits[i])} << 8 * i;
    // Two's complement of as many bytes.
    const int unused = static_cast<int>(64 - 8 * count);
    push_integer(count ? static_cast<int64_t>(value << unused) >> unused : 0);
  }

  void big_endian_double() {
    const std::string_view digits = take(8);
    uint64_t bits = 0;
    for (char c : digits) bits = bits << 8 | static_cast<uint8_t>(c);
    push(make(Kind::number));
    stack_.back()->number = std::bit_cast<double>(bits);
  }

  void step(uint8_t opcode) {
    switch (opcode) {
      case 0x80: take(1); break;  // PROTO
      case 0x95: take(8); break;  // FRAME
      case '(':
        marks_.push_back(stack_.size());
        if (marks_.size() > kMostValues) fail("holds too many marks");
        break;
      case '0': pop(); break;                   // POP
      case '1': pop_to_mark(); break;           // POP_MARK
      case '2': push(top()); break;             // DUP
      case 'N': push(make(Kind::none)); break;  // NONE
      case 0x88: push_integer(1, Kind::boolean); break;
      case 0x89: push_integer(0, Kind::boolean); break;
      case 'J': push_integer(static_cast<int32_t>(little_endian(4))); break;  // BININT
      case 'K': push_integer(static_cast<int64_t>(little_endian(1))); break;
      case 'M': push_integer(static_cast<int64_t>(little_endian(2))); break;
      case 0x8a: long_integer(little_endian(1)); break;  // LONG1
      case 0x8b: long_integer(little_endian(4)); break;
      case 'G': big_endian_double(); break;  // BINFLOAT
      case 'U':
      case 'C':
      case 0x8c: push_text(take(little_endian(1))); break;  // SHORT_BINSTRING and its like
      case 'T':
      case 'X':
      case 'B': push_text(take(little_endian(4))); break;  // BINSTRING ...
      case 0x8d:
      case 0x8e:
      case 0x96: push_text(take(little_endian(8))); break;  // BINUNICODE8 ...
      case ']':
      case 0x8f: push(make(Kind::list)); break;  // EMPTY_LIST, EMPTY_SET
      case 'a': {
        const PickleValue* item = pop();
        add(Kind::list, {item});
        break;
      }
      case 'e':
      case 0x90: {
        const auto items = pop_to_mark();
        add(Kind::list, items);
        break;
      }
      case 0x91: {
        const auto items = pop_to_mark();
        push(make(Kind::list));
        add(Kind::list, items);
        break;
      }
      case ')': push_tuple(0); break;
      case 0x85:
      case 0x86:
      case 0x87: push_tuple(opcode - 0x84u); break;
      case 't': {
        auto items = pop_to_mark();
        push(make(Kind::tuple));
        stack_.back()->items = std::move(items);
        break;
      }
      case '}': push(make(Kind::dict)); break;
      case 's': {
        const PickleValue* value = pop();
        const PickleValue* key = pop();
        add(Kind::dict, {key, value});
        break;
      }
      case 'u': {
        const auto items = pop_to_mark();
        add(Kind::dict, items);
        break;
      }
      case 'c': {
        const auto module = line();
        const auto name = line();
        global(module, name);
        break;
      }
      case 0x93: {  // STACK_GLOBAL
        const PickleValue* name = pop();
        const PickleValue* module = pop();
        if (name->kind != Kind::text || module->kind != Kind::text) fail("names a global by what is no text");
        global(module->text, name->text);
        break;
      }
      case 'R': call(); break;
      case 0x81: object(1); break;  // NEWOBJ
      case 0x92: object(2); break;
      case 'b':
        pop();
        top();
        break;  // BUILD: the attributes of an object, which we leave out
      case 'Q': {
        const PickleValue* id = pop();
        push(make(Kind::persistent));
        stack_.back()->items = {id};
        break;
      }
      case 'q': remember(little_endian(1)); break;
      case 'r': remember(little_endian(4)); break;
      case 0x94: remember(memo_.size()); break;  // MEMOIZE
      case 'h': recall(little_endian(1)); break;
      case 'j': recall(little_endian(4)); break;
      default: fail(cat("has opcode ", int{opcode}, ", which PyTorch does not write"));
    }
  }

  std::string_view bytes_;
  const std::string& where_;
  const std::function<bool(const std::string&)>& may_call_;
  size_t at_ = 0, opcode_at_ = 0, added_ = 0;
  Pickle pickle_;
  std::vector<PickleValue*> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint64_t, PickleValue*> memo_;
};

}  // namespace

Pickle read_pickle(std::string_view bytes, const std::string& where,
                   const std::function<bool(const std::string&)>& may_call) {
  return Machine(bytes, where, may_call).run();
}

}  // namespace stithy
