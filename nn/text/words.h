// Tokenizers whose tokens are whole words, or single characters.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "nn/text/tokenizer.h"

namespace stithy {

struct WordOptions {
  int64_t vocabulary = 0;  // the most tokens, the special ones included; 0 is no limit
  int64_t least = 1;       // words that occur less often are unknown
  bool lower = true;
  // ASCII characters that divide words, and go, as white space does (Keras's Tokenizer has the same).
  std::string separators = "!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~";
  // <pad> has id 0 and <unk>, which stands for every other word, id 1; further ones follow.
  std::vector<std::string> special = {};
};

// Words between spaces, as Keras's Tokenizer with an oov_token: ids by falling frequency, of words as
// frequent the first to occur goes first.
class WordTokenizer : public Tokenizer {
 public:
  static std::shared_ptr<const WordTokenizer> train(std::span<const std::string> texts,
                                                    const WordOptions& options = {});
  explicit WordTokenizer(TokenizerSpec spec);

 protected:
  void encode_plain(std::string_view text, std::vector<int32_t>& ids) const override;
  std::string decode_plain(std::span<const int32_t> ids) const override;
};

struct CharacterOptions {
  std::vector<std::string> special = {};  // they have the first ids
  bool unknown = false;  // <unk>, the last of the special ones, for characters that are not there
};

// Code points. Their ids are in the order of their code points, as in char-rnn's and nanoGPT's data.
class CharacterTokenizer : public Tokenizer {
 public:
  // The vocabulary is all that the texts hold. Throws Error for a text that is no UTF-8, with the position.
  static std::shared_ptr<const CharacterTokenizer> train(std::span<const std::string> texts,
                                                         const CharacterOptions& options = {});
  explicit CharacterTokenizer(TokenizerSpec spec);

 protected:
  void encode_plain(std::string_view text, std::vector<int32_t>& ids) const override;
  std::string decode_plain(std::span<const int32_t> ids) const override;
};

}  // namespace stithy
