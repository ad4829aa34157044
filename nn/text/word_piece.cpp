#include "nn/text/word_piece.h"

#include <algorithm>

#include "engine/core/error.h"
#include "engine/core/file.h"
#include "nn/text/unicode.h"

namespace stithy {

WordPieceTokenizer::WordPieceTokenizer(TokenizerSpec made) : Tokenizer(std::move(made)) {
  if (spec().unknown.empty())
    throw Error("wordpiece tokenizer", "needs a token for the unknown, such as [UNK]");
  for (int32_t id = 0; id < spec().vocabulary.size(); ++id)
    if (spec().vocabulary.has(id)) longest_ = std::max(longest_, token(id).size());
}

void WordPieceTokenizer::encode_word(std::string_view word, std::vector<int32_t>& ids) const {
  int64_t characters = 0;
  for (size_t at = 0; at < word.size() && characters <= spec().longest_word; ++characters)
    unicode::next(word, at);
  const size_t before = ids.size();
  const auto unknown = [&] {
    ids.resize(before);
    ids.push_back(unknown_id(word));
  };
  if (characters > spec().longest_word) return unknown();
  std::string piece;
  for (size_t at = 0; at < word.size();) {
    const std::string_view mark = at ? std::string_view(spec().continuation) : std::string_view();
    piece = mark;
    piece += word.substr(at, longest_);
    std::optional<int32_t> id;
    for (;;) {  // the longest token that the rest begins with
      if (piece.size() <= mark.size()) return unknown();
      id = spec().vocabulary.find(piece);
      if (id) break;
      piece.pop_back();
    }
    at += piece.size() - mark.size();
    ids.push_back(*id);
  }
}

void WordPieceTokenizer::encode_plain(std::string_view text, std::vector<int32_t>& ids) const {
  spec().pre_tokenizer(text, [&](std::string_view word) { encode_word(word, ids); });
}

std::string WordPieceTokenizer::decode_plain(std::span<const int32_t> ids) const {
  std::string text;
  for (size_t i = 0; i < ids.size(); ++i) {
    std::string_view piece = token(ids[i]);
    const auto begins = [&](std::string_view with) { return piece.starts_with(with); };
    if (i) {
      const bool inside = !spec().continuation.empty() && begins(spec().continuation);
      if (inside)
        piece.remove_prefix(spec().continuation.size());
      else if (!begins(".") && !begins("?") && !begins("!") && !begins(",") && !begins("n't") &&
               !begins("'m") && !begins("'s") && !begins("'ve") && !begins("'re"))
        text += ' ';
    }
    text += piece;
  }
  return text;
}

std::shared_ptr<const WordPieceTokenizer> WordPieceTokenizer::load(const std::string& path,
                                                                   const BertNormalization& text) {
  TokenizerSpec spec;
  spec.model = TokenizerSpec::Model::word_piece;
  spec.normalizer.steps = {{TextNormalizer::Kind::bert, text}};
  spec.pre_tokenizer.steps = {{.kind = PreTokenizer::Kind::bert}};
  const std::string lines = read_file(path);
  for (size_t at = 0; at < lines.size();) {
    const size_t end = std::min(lines.find('\n', at), lines.size());
    std::string_view line = std::string_view(lines).substr(at, end - at);
    at = end + 1;
    if (line.ends_with('\r')) line.remove_suffix(1);
    const auto in_line = [&](const std::string& message) {
      return Error(path, cat("line ", spec.vocabulary.size() + 1, ": ", message));
    };
    if (unicode::find_ill_formed(line) != line.npos) throw in_line("is no valid UTF-8");
    try {
      spec.vocabulary.add(line);
    } catch (const Error& error) {
      throw in_line(error.message());
    }
  }
  for (const char* token : {"[UNK]", "[CLS]", "[SEP]"})
    if (!spec.vocabulary.find(token))
      throw Error(path, cat("has no token ", token), "is it a vocab.txt of BERT?");
  for (const char* token : {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"})
    if (spec.vocabulary.find(token)) spec.added.push_back({.text = token});
  using Kind = TokenTemplate::Part::Kind;
  const int32_t cls = spec.vocabulary.id("[CLS]"), sep = spec.vocabulary.id("[SEP]");
  spec.unknown = "[UNK]";
  spec.single.parts = {{Kind::token, cls}, {Kind::first}, {Kind::token, sep}};
  spec.pair.parts = {
      {Kind::token, cls}, {Kind::first}, {Kind::token, sep}, {Kind::second, 0, 1}, {Kind::token, sep, 1}};
  return std::make_shared<WordPieceTokenizer>(std::move(spec));
}

}  // namespace stithy
