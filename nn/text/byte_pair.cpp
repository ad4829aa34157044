#include "nn/text/byte_pair.h"

#include <algorithm>
#include <functional>
#include <limits>

#include "engine/core/error.h"
#include "engine/core/file.h"
#include "nn/text/tokenizer_json.h"
#include "nn/text/unicode.h"

namespace stithy {
namespace {

constexpr uint32_t kNoMerge = std::numeric_limits<uint32_t>::max();

bool spells_itself(unsigned byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

const std::array<char32_t, 256>& spelling() {
  static const std::array<char32_t, 256> table = [] {
    std::array<char32_t, 256> characters{};
    char32_t next = 0x100;
    for (unsigned byte = 0; byte < 256; ++byte) characters[byte] = spells_itself(byte) ? byte : next++;
    return characters;
  }();
  return table;
}

uint64_t pair_key(int32_t left, int32_t right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

}  // namespace

std::string spell_bytes(std::string_view bytes) {
  std::string result;
  for (const char byte : bytes) unicode::append(result, spelling()[static_cast<unsigned char>(byte)]);
  return result;
}

std::optional<std::string> unspell_bytes(std::string_view token) {
  static const std::unordered_map<char32_t, char> bytes = [] {
    std::unordered_map<char32_t, char> map;
    for (unsigned byte = 0; byte < 256; ++byte) map[spelling()[byte]] = static_cast<char>(byte);
    return map;
  }();
  std::string result;
  for (size_t at = 0; at < token.size();) {
    const auto found = bytes.find(unicode::next(token, at));
    if (found == bytes.end()) return std::nullopt;
    result += found->second;
  }
  return result;
}

BytePairTokenizer::BytePairTokenizer(TokenizerSpec made)
    : Tokenizer(std::move(made)), bytes_(static_cast<size_t>(size())) {
  const auto& steps = spec().pre_tokenizer.steps;
  const auto is_byte_level = [](const auto& step) { return step.kind == PreTokenizer::Kind::byte_level; };
  if (steps.empty() || std::find_if(steps.begin(), steps.end(), is_byte_level) != steps.end() - 1)
    throw Error("byte-pair tokenizer", "its last pre-tokenizer, and no other, must be ByteLevel",
                "only byte-level BPE is supported, not that of SentencePiece");
  const Vocabulary& vocabulary = spec().vocabulary;
  std::vector<bool> is_added(bytes_.size());
  for (const AddedToken& added : spec().added)
    is_added[static_cast<size_t>(vocabulary.id(added.text))] = true;
  for (int32_t id = 0; id < vocabulary.size(); ++id) {
    if (!vocabulary.has(id)) continue;
    std::string& bytes = bytes_[static_cast<size_t>(id)];
    const auto spelled = unspell_bytes(vocabulary.token(id));
    if (!spelled && !is_added[static_cast<size_t>(id)])
      throw Error("byte-pair tokenizer",
                  cat("the token ", in_quotes(vocabulary.token(id)), " spells no bytes"),
                  "only byte-level vocabularies are read, not those of SentencePiece");
    bytes = is_added[static_cast<size_t>(id)] ? vocabulary.token(id) : *spelled;
    if (spec().whole_pieces && !is_added[static_cast<size_t>(id)]) whole_.emplace(bytes, id);
  }
  for (unsigned byte = 0; byte < 256; ++byte) {
    const char text = static_cast<char>(byte);
    const auto id = vocabulary.find(spell_bytes({&text, 1}));
    if (!id)
      throw Error("byte-pair tokenizer", cat("the vocabulary lacks the byte ", in_quotes({&text, 1})),
                  "all 256 bytes are needed, so that every text can be encoded");
    byte_ids_[byte] = *id;
  }
  ranks_.reserve(spec().merges.size());
  for (const auto& [left, right] : spec().merges) {
    const std::string together = vocabulary.token(left) + vocabulary.token(right);
    const auto id = vocabulary.find(together);
    if (!id)
      throw Error("byte-pair tokenizer", cat("the merge of ", in_quotes(vocabulary.token(left)), " and ",
                                             in_quotes(vocabulary.token(right)), " makes no token"));
    // A pair that is there twice has its last place, as in Hugging Face's.
    ranks_[pair_key(left, right)] = static_cast<uint32_t>(merged_.size());
    merged_.push_back(*id);
  }
}

uint32_t BytePairTokenizer::rank(int32_t left, int32_t right) const {
  const auto found = ranks_.find(pair_key(left, right));
  return found == ranks_.end() ? kNoMerge : found->second;
}

// A piece in the making: a list of symbols, and the merges that are possible, as rank and position in one
// number, in a heap with the smallest in front. A merge that another one made impossible is known by its
// rank.
struct BytePairTokenizer::Scratch {
  struct Symbol {
    int32_t id, before, after;
    uint32_t rank;  // of the merge with the symbol behind it
  };
  std::vector<Symbol> symbols;
  std::vector<uint64_t> heap;
};

void BytePairTokenizer::encode_piece(std::string_view piece, Scratch& scratch,
                                     std::vector<int32_t>& ids) const {
  if (spec().whole_pieces)
    if (const auto found = whole_.find(std::string(piece)); found != whole_.end()) {
      ids.push_back(found->second);
      return;
    }
  if (piece.size() > std::numeric_limits<int32_t>::max())
    throw Error("encode", cat("a word of ", piece.size(), " bytes is too long"));
  auto& [symbols, heap] = scratch;
  symbols.clear();
  heap.clear();
  const int32_t count = static_cast<int32_t>(piece.size());
  const auto symbol = [&](int32_t i) -> Scratch::Symbol& { return symbols[static_cast<size_t>(i)]; };
  const auto update = [&](int32_t i) {
    Scratch::Symbol& left = symbol(i);
    left.rank = left.after < count ? rank(left.id, symbol(left.after).id) : kNoMerge;
    if (left.rank != kNoMerge) heap.push_back(uint64_t{left.rank} << 32 | static_cast<uint32_t>(i));
    return left.rank != kNoMerge;
  };
  for (int32_t i = 0; i < count; ++i)
    symbols.push_back(
        {byte_ids_[static_cast<unsigned char>(piece[static_cast<size_t>(i)])], i - 1, i + 1, kNoMerge});
  for (int32_t i = 0; i < count; ++i) update(i);
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const auto merge = static_cast<uint32_t>(heap.back() >> 32);
    const auto at = static_cast<int32_t>(heap.back() & 0xffffffff);
    heap.pop_back();
    Scratch::Symbol& left = symbol(at);
    if (left.rank != merge) continue;
    symbol(left.after).rank = kNoMerge;
    left.after = symbol(left.after).after;
    left.id = merged_[merge];
    if (left.after < count) symbol(left.after).before = at;
    if (update(at)) std::push_heap(heap.begin(), heap.end(), std::greater<>());
    if (left.before >= 0 && update(left.before)) std::push_heap(heap.begin(), heap.end(), std::greater<>());
  }
  for (int32_t i = 0; i < count; i = symbol(i).after) ids.push_back(symbol(i).id);
}

void BytePairTokenizer::encode_plain(std::string_view text, std::vector<int32_t>& ids) const {
  Scratch scratch;
  spec().pre_tokenizer(text, [&](std::string_view piece) { encode_piece(piece, scratch, ids); });
}

std::string BytePairTokenizer::decode_plain(std::span<const int32_t> ids) const {
  std::string text;
  for (const int32_t id : ids) text += bytes_[static_cast<size_t>(id)];
  return text;
}

std::shared_ptr<const BytePairTokenizer> BytePairTokenizer::load(const std::string& vocabulary,
                                                                 const std::string& merges,
                                                                 const std::vector<std::string>& special) {
  TokenizerSpec spec;
  spec.model = TokenizerSpec::Model::byte_pair;
  spec.vocabulary = read_vocabulary_json(read_file(vocabulary), vocabulary);
  for (const std::string& token : special)
    if (spec.vocabulary.find(token)) spec.added.push_back({.text = token});
  spec.pre_tokenizer.steps = {{.kind = PreTokenizer::Kind::byte_level, .divide = true}};
  const std::string text = read_file(merges);
  int64_t number = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = std::string_view(text).substr(at, end - at);
    at = end + 1;
    ++number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || (number == 1 && line.starts_with("#version"))) continue;
    try {
      spec.merges.push_back(find_merge(spec.vocabulary, line));
    } catch (const Error& error) {
      throw Error(merges, cat("line ", number, ": ", error.message()));
    }
  }
  try {
    return std::make_shared<BytePairTokenizer>(std::move(spec));
  } catch (const Error& error) {
    throw Error(merges, cat("with ", vocabulary, ": ", error.message()), error.hint());
  }
}

}  // namespace stithy
