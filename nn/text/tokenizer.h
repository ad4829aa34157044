// Tokenizers: text to the numbers that a model is fed with, and back.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "nn/text/pre_tokenizer.h"
#include "nn/text/vocabulary.h"

namespace stithy {

// A token that is found in a text before the model sees it: <|endoftext|>, [MASK].
struct AddedToken {
  std::string text;
  bool special = true;  // left out by decode()
  // White space in front of it, or behind it, is taken up.
  bool left_strip = false, right_strip = false;
  bool normalized = false;  // looked for in the normalised text
};

// What surrounds an encoded text, or two: [CLS] A [SEP] B [SEP].
struct TokenTemplate {
  struct Part {
    enum class Kind { token, first, second } kind;
    int32_t id = 0;    // of a token
    int32_t type = 0;  // the segment (BERT's token type)
  };
  std::vector<Part> parts;
};

// All that makes a tokenizer, as data: what a file holds.
struct TokenizerSpec {
  enum class Model {
    byte_pair,  // of bytes: Radford et al., "Language models are unsupervised multitask learners" (2019), 2.2
    word_piece,  // longest match first, from the left
    words,       // a piece is a token
  };

  Model model = Model::words;
  bool spaced = true;  // words: decoded with spaces between them
  Vocabulary vocabulary;
  std::vector<AddedToken> added;  // each is in the vocabulary
  TextNormalizer normalizer;
  PreTokenizer pre_tokenizer;
  TokenTemplate single{{{TokenTemplate::Part::Kind::first}}};
  TokenTemplate pair{{{TokenTemplate::Part::Kind::first}, {TokenTemplate::Part::Kind::second, 0, 1}}};
  std::string unknown;                         // the token of what has none; empty: it is an error
  std::vector<std::array<int32_t, 2>> merges;  // byte_pair: the first goes first
  bool whole_pieces = false;        // byte_pair: a piece that is a token is not taken apart (ignore_merges)
  std::string continuation = "##";  // word_piece: in front of a token inside a word
  int64_t longest_word = 100;       // word_piece: a word of more code points is unknown
};

struct EncodeOptions {
  bool add_special = true;  // what the template puts around a text
  // Texts of added tokens become these tokens. For text that others wrote, false: special tokens' texts are
  // encoded as any other, as they were written.
  bool parse_special = true;
  // Not more than so many, those of the template included: texts lose their ends, the longer of two first.
  // 0 is no limit.
  int64_t most = 0;
};

struct Encoding {
  std::vector<int32_t> ids;
  std::vector<int32_t> types;  // 0 for the first text, 1 for the second, or as the template says
};

// Safe to use from several threads at once.
class Tokenizer {
 public:
  virtual ~Tokenizer();
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  // Throws Error for what the vocabulary cannot express where there is no token for the unknown.
  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options = {}) const;
  Encoding encode_pair(std::string_view first, std::string_view second,
                       const EncodeOptions& options = {}) const;
  // Byte-level BPE gives the text back byte by byte (where no normaliser changed it); ids that end within a
  // character give a part of it. Throws Error for an id that is not in the vocabulary.
  std::string decode(std::span<const int32_t> ids, bool skip_special = true) const;

  // One more than the largest id: the rows of an embedding.
  int64_t size() const { return spec_.vocabulary.size(); }
  // Tokens are spelled as in their file: "Ġthe" for " the" in a byte-level vocabulary. Throw Error for what
  // is not there.
  const std::string& token(int32_t id) const { return spec_.vocabulary.token(id); }
  int32_t id(std::string_view token) const { return spec_.vocabulary.id(token); }
  const TokenizerSpec& spec() const { return spec_; }

  // Writes tokenizer.json, which Hugging Face's tokenizers and load_tokenizer() read, whole or not at all.
  void save(const std::string& path) const;

 protected:
  // Throws Error where an added token, the unknown one or one of the templates is not in the vocabulary.
  explicit Tokenizer(TokenizerSpec spec);
  // Appends the tokens of a normalised text without added tokens.
  virtual void encode_plain(std::string_view text, std::vector<int32_t>& ids) const = 0;
  virtual std::string decode_plain(std::span<const int32_t> ids) const = 0;
  int32_t unknown_id(std::string_view piece) const;

 private:
  class AddedTokens;
  std::vector<int32_t> encode_one(std::string_view text, bool parse_special) const;

  TokenizerSpec spec_;
  std::vector<bool> special_;  // by id
  std::unique_ptr<const AddedTokens> raw_, normalized_;
};
using TokenizerPtr = std::shared_ptr<const Tokenizer>;

// The kind that the spec names. Throws Error for a spec that does not fit together.
TokenizerPtr make_tokenizer(TokenizerSpec spec);

// A file (tokenizer.json, BERT's vocab.txt), or a folder with tokenizer.json, else with vocab.json and
// merges.txt, else with encoder.json and vocab.bpe (GPT-2), else with vocab.txt and, perhaps,
// tokenizer_config.json, which tells whether it is lower case. Throws Error for what is damaged and for kinds
// that are not read, by their names. The truncation and the padding of a tokenizer.json are not applied: they
// are the caller's.
TokenizerPtr load_tokenizer(const std::string& path);

}  // namespace stithy
