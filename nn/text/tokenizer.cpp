#include "nn/text/tokenizer.h"

#include <algorithm>
#include <filesystem>
#include <functional>

#include "engine/core/error.h"
#include "engine/core/file.h"
#include "nn/text/byte_pair.h"
#include "nn/text/tokenizer_json.h"
#include "nn/text/unicode.h"
#include "nn/text/word_piece.h"
#include "nn/text/words.h"

namespace stithy {

// Finds added tokens in a text: the leftmost first, of these the longest.
class Tokenizer::AddedTokens {
 public:
  struct Entry {
    std::string text;
    int32_t id;
    bool special, left_strip, right_strip;
  };
  void add(Entry entry) {
    if (entry.text.empty()) return;  // normalisation left nothing
    std::vector<Entry>& list = by_first_[static_cast<unsigned char>(entry.text[0])];
    const auto longer = [](const Entry& a, const Entry& b) { return a.text.size() > b.text.size(); };
    list.insert(std::upper_bound(list.begin(), list.end(), entry, longer), std::move(entry));
    any_ = true;
  }
  void divide(std::string_view text, bool parse_special, const std::function<void(std::string_view)>& plain,
              const std::function<void(int32_t)>& token) const {
    size_t begin = 0;
    for (size_t at = 0; any_ && at < text.size();) {
      const Entry* entry = find(text.substr(at), parse_special);
      if (!entry) {
        ++at;
        continue;
      }
      size_t left = at, right = at + entry->text.size();
      if (entry->left_strip) left = without_spaces(text, begin, at);
      if (entry->right_strip)
        for (size_t ahead = right; ahead < text.size() && unicode::is_space(unicode::next(text, ahead));)
          right = ahead;
      if (left > begin) plain(text.substr(begin, left - begin));
      token(entry->id);
      begin = at = right;
    }
    if (begin < text.size()) plain(text.substr(begin));
  }

 private:
  const Entry* find(std::string_view text, bool parse_special) const {
    for (const Entry& entry : by_first_[static_cast<unsigned char>(text[0])])
      if ((parse_special || !entry.special) && text.starts_with(entry.text)) return &entry;
    return nullptr;
  }
  // The end of text[begin, end) without the white space at its end.
  static size_t without_spaces(std::string_view text, size_t begin, size_t end) {
    while (end > begin) {
      size_t last = end - 1;
      while (last > begin && (text[last] & 0xc0) == 0x80) --last;
      size_t after = last;
      if (!unicode::is_space(unicode::next(text, after)) || after != end) break;
      end = last;
    }
    return end;
  }
  std::array<std::vector<Entry>, 256> by_first_;
  bool any_ = false;
};

Tokenizer::Tokenizer(TokenizerSpec spec) : spec_(std::move(spec)), special_(static_cast<size_t>(size())) {
  auto raw = std::make_unique<AddedTokens>(), normalized = std::make_unique<AddedTokens>();
  for (const AddedToken& added : spec_.added) {
    const int32_t id = spec_.vocabulary.id(added.text);
    special_[static_cast<size_t>(id)] = added.special;
    AddedTokens& list = added.normalized ? *normalized : *raw;
    list.add({added.normalized ? spec_.normalizer(added.text) : added.text, id, added.special,
              added.left_strip, added.right_strip});
  }
  if (!spec_.unknown.empty()) spec_.vocabulary.id(spec_.unknown);
  for (const TokenTemplate* around : {&spec_.single, &spec_.pair}) {
    std::array<int, 3> count{};
    for (const TokenTemplate::Part& part : around->parts) {
      ++count[static_cast<size_t>(part.kind)];
      if (part.kind == TokenTemplate::Part::Kind::token) spec_.vocabulary.token(part.id);
    }
    if (count[1] != 1 || count[2] != (around == &spec_.pair))
      throw Error("tokenizer", "a template must hold every text once");
  }
  raw_ = std::move(raw);
  normalized_ = std::move(normalized);
}

Tokenizer::~Tokenizer() = default;

std::vector<int32_t> Tokenizer::encode_one(std::string_view text, bool parse_special) const {
  std::vector<int32_t> ids;
  const auto token = [&](int32_t id) { ids.push_back(id); };
  const auto plain = [&](std::string_view part) { encode_plain(part, ids); };
  const auto normalize = [&](std::string_view part) {
    if (spec_.normalizer.steps.empty())
      normalized_->divide(part, parse_special, plain, token);
    else
      normalized_->divide(spec_.normalizer(part), parse_special, plain, token);
  };
  raw_->divide(text, parse_special, normalize, token);
  return ids;
}

namespace {

void shorten(std::vector<int32_t>& ids, size_t length) {
  if (ids.size() > length) ids.resize(length);
}

Encoding fill(const TokenTemplate& around, std::span<const int32_t> first, std::span<const int32_t> second) {
  Encoding result;
  for (const TokenTemplate::Part& part : around.parts) {
    const std::span<const int32_t> ids = part.kind == TokenTemplate::Part::Kind::token
                                             ? std::span(&part.id, 1)
                                         : part.kind == TokenTemplate::Part::Kind::first ? first
                                                                                         : second;
    result.ids.insert(result.ids.end(), ids.begin(), ids.end());
    result.types.insert(result.types.end(), ids.size(), part.type);
  }
  return result;
}

// What the texts may have of EncodeOptions::most.
size_t room(const EncodeOptions& options, const TokenTemplate& around, size_t texts) {
  if (options.most < 0) throw Error("encode", cat("most ", options.most, " is negative"));
  if (options.most == 0) return std::string::npos;
  const size_t most = static_cast<size_t>(options.most);
  const size_t special = options.add_special ? around.parts.size() - texts : 0;
  if (special > most)
    throw Error("encode", cat("most ", most, " is less than the ", special, " tokens of the template"));
  return most - special;
}

}  // namespace

std::vector<int32_t> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  const size_t most = room(options, spec_.single, 1);
  std::vector<int32_t> ids = encode_one(text, options.parse_special);
  shorten(ids, most);
  if (!options.add_special || spec_.single.parts.size() == 1) return ids;
  return fill(spec_.single, ids, {}).ids;
}

Encoding Tokenizer::encode_pair(std::string_view first, std::string_view second,
                                const EncodeOptions& options) const {
  const size_t most = room(options, spec_.pair, 2);
  std::vector<int32_t> a = encode_one(first, options.parse_special),
                       b = encode_one(second, options.parse_special);
  if (a.size() + b.size() > most) {
    // What taking the last token of the longer one, again and again, comes to.
    std::vector<int32_t>&shorter = a.size() <= b.size() ? a : b, &longer = a.size() <= b.size() ? b : a;
    shorten(shorter, most / 2);
    shorten(longer, most - shorter.size());
  }
  if (options.add_special) return fill(spec_.pair, a, b);
  return fill({{{TokenTemplate::Part::Kind::first}, {TokenTemplate::Part::Kind::second, 0, 1}}}, a, b);
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  std::vector<int32_t> kept;
  kept.reserve(ids.size());
  for (const int32_t id : ids) {
    spec_.vocabulary.token(id);
    if (!skip_special || !special_[static_cast<size_t>(id)]) kept.push_back(id);
  }
  return decode_plain(kept);
}

int32_t Tokenizer::unknown_id(std::string_view piece) const {
  if (!spec_.unknown.empty()) return spec_.vocabulary.id(spec_.unknown);
  throw Error("tokenizer", cat(in_quotes(piece), " is not in the vocabulary of ", size(), " tokens"),
              "train it on text that has it, or with a token for the unknown");
}

void Tokenizer::save(const std::string& path) const {
  write_file_atomically(path, write_tokenizer_json(spec_, path));
}

TokenizerPtr make_tokenizer(TokenizerSpec spec) {
  switch (spec.model) {
    case TokenizerSpec::Model::byte_pair: return std::make_shared<BytePairTokenizer>(std::move(spec));
    case TokenizerSpec::Model::word_piece: return std::make_shared<WordPieceTokenizer>(std::move(spec));
    case TokenizerSpec::Model::words: break;
  }
  const auto& steps = spec.pre_tokenizer.steps;
  if (!spec.spaced && steps.size() == 1 && steps[0].kind == PreTokenizer::Kind::characters)
    return std::make_shared<CharacterTokenizer>(std::move(spec));
  return std::make_shared<WordTokenizer>(std::move(spec));
}

TokenizerPtr load_tokenizer(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) {
    if (path.ends_with(".txt")) return WordPieceTokenizer::load(path);
    TokenizerSpec spec = read_tokenizer_json(read_file(path), path);
    try {
      return make_tokenizer(std::move(spec));
    } catch (const Error& error) {
      throw Error(path, error.message(), error.hint());
    }
  }
  const auto in_folder = [&](const char* name) { return (fs::path(path) / name).string(); };
  const auto there = [&](const char* name) { return fs::is_regular_file(in_folder(name), ignored); };
  if (there("tokenizer.json")) return load_tokenizer(in_folder("tokenizer.json"));
  for (const auto& [vocabulary, merges] :
       {std::pair("vocab.json", "merges.txt"), {"encoder.json", "vocab.bpe"}})
    if (there(vocabulary) && there(merges))
      return BytePairTokenizer::load(in_folder(vocabulary), in_folder(merges));
  if (there("vocab.txt")) {
    const std::string config = in_folder("tokenizer_config.json");
    const bool lower = !there("tokenizer_config.json") || read_lower_case(read_file(config), config);
    return WordPieceTokenizer::load(in_folder("vocab.txt"), {.lower = lower});
  }
  throw Error("load_tokenizer",
              cat("the folder '", path,
                  "' has none of tokenizer.json, vocab.json with merges.txt, encoder.json with "
                  "vocab.bpe, and vocab.txt"));
}

}  // namespace stithy
