#include "nn/text/words.h"

#include <algorithm>
#include <set>

#include "engine/core/error.h"
#include "nn/text/unicode.h"

namespace stithy {
namespace {

constexpr const char *kPadding = "<pad>", *kUnknown = "<unk>";

void add_special(TokenizerSpec& spec, const std::string& token) {
  spec.vocabulary.add(token);
  spec.added.push_back({.text = token});
}

}  // namespace

WordTokenizer::WordTokenizer(TokenizerSpec spec) : Tokenizer(std::move(spec)) {}

std::shared_ptr<const WordTokenizer> WordTokenizer::train(std::span<const std::string> texts,
                                                          const WordOptions& options) {
  TokenizerSpec spec;
  if (options.lower) spec.normalizer.steps = {{TextNormalizer::Kind::lower}};
  for (const char c : options.separators)
    if (static_cast<unsigned char>(c) >= 0x80)
      throw Error("word tokenizer",
                  cat("the separators ", in_quotes(options.separators), " are not all ASCII"));
  spec.pre_tokenizer.steps = {{.kind = PreTokenizer::Kind::separators, .separators = options.separators}};
  add_special(spec, kPadding);
  add_special(spec, kUnknown);
  for (const std::string& token : options.special) add_special(spec, token);
  spec.unknown = kUnknown;
  if (options.vocabulary != 0 && options.vocabulary <= spec.vocabulary.size())
    throw Error("word tokenizer", cat("a vocabulary of ", options.vocabulary, " leaves no room beside ",
                                      spec.vocabulary.size(), " special tokens"));

  struct Entry {
    std::string word;
    int64_t count;
  };
  std::vector<Entry> entries;  // in the order of their first occurrences
  std::unordered_map<std::string, size_t> places;
  for (const std::string& text : texts)
    spec.pre_tokenizer(spec.normalizer(text), [&](std::string_view piece) {
      const auto [place, is_new] = places.emplace(piece, entries.size());
      if (is_new) entries.push_back({place->first, 0});
      ++entries[place->second].count;
    });
  std::stable_sort(entries.begin(), entries.end(),
                   [](const Entry& a, const Entry& b) { return a.count > b.count; });
  for (const Entry& entry : entries) {
    if (entry.count < options.least) break;
    if (options.vocabulary != 0 && spec.vocabulary.size() >= options.vocabulary) break;
    if (!spec.vocabulary.find(entry.word)) spec.vocabulary.add(entry.word);
  }
  return std::make_shared<WordTokenizer>(std::move(spec));
}

void WordTokenizer::encode_plain(std::string_view text, std::vector<int32_t>& ids) const {
  spec().pre_tokenizer(text, [&](std::string_view word) {
    const auto id = spec().vocabulary.find(word);
    ids.push_back(id ? *id : unknown_id(word));
  });
}

std::string WordTokenizer::decode_plain(std::span<const int32_t> ids) const {
  std::string text;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i && spec().spaced) text += ' ';
    text += token(ids[i]);
  }
  return text;
}

CharacterTokenizer::CharacterTokenizer(TokenizerSpec spec) : Tokenizer(std::move(spec)) {}

std::shared_ptr<const CharacterTokenizer> CharacterTokenizer::train(std::span<const std::string> texts,
                                                                    const CharacterOptions& options) {
  TokenizerSpec spec;
  spec.spaced = false;
  spec.pre_tokenizer.steps = {{.kind = PreTokenizer::Kind::characters}};
  for (const std::string& token : options.special) add_special(spec, token);
  if (options.unknown) {
    spec.unknown = kUnknown;
    add_special(spec, kUnknown);
  }
  std::set<char32_t> characters;
  for (size_t i = 0; i < texts.size(); ++i) {
    if (const size_t bad = unicode::find_ill_formed(texts[i]); bad != std::string::npos)
      throw Error("character tokenizer", cat("text ", i, " is no valid UTF-8 at byte ", bad));
    for (size_t at = 0; at < texts[i].size();) characters.insert(unicode::next(texts[i], at));
  }
  for (const char32_t c : characters) {
    std::string token;
    unicode::append(token, c);
    if (!spec.vocabulary.find(token)) spec.vocabulary.add(token);
  }
  return std::make_shared<CharacterTokenizer>(std::move(spec));
}

void CharacterTokenizer::encode_plain(std::string_view text, std::vector<int32_t>& ids) const {
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    unicode::next(text, at);
    const std::string_view character = text.substr(begin, at - begin);
    const auto id = spec().vocabulary.find(character);
    ids.push_back(id ? *id : unknown_id(character));
  }
}

std::string CharacterTokenizer::decode_plain(std::span<const int32_t> ids) const {
  std::string text;
  for (const int32_t id : ids) text += token(id);
  return text;
}

}  // namespace stithy
