// What comes before a tokenizer's model: normalisation of a text, and its division into pieces (words,
// numbers, punctuation), inside of which the model finds its tokens.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace stithy {

// BERT's BasicTokenizer (google-research/bert, tokenization.py) up to the division: BertNormalizer of
// tokenizer.json.
struct BertNormalization {
  bool clean = true;      // control characters (Cc, Cf, Co), U+0000 and U+FFFD go, white space becomes ' '
  bool space_cjk = true;  // spaces around the CJK ideographs
  // The normal form D without Mn. Unset: as `lower`.
  std::optional<bool> strip_accents = {};
  bool lower = true;
};

struct TextNormalizer {
  enum class Kind { nfc, nfd, nfkc, nfkd, lower, strip_accents /* without M* */, bert };
  struct Step {
    Kind kind;
    BertNormalization bert = {};
  };
  std::vector<Step> steps;  // in this order
  std::string operator()(std::string_view text) const;
};

// The regular expressions that byte-level BPE is published with. They are recognised by their text and
// carried out by hand-written code in linear time.
enum class SplitPattern {
  gpt2,    // openai/gpt-2, encoder.py
  cl100k,  // GPT-4 and Llama 3: contractions in any case, numbers by up to three digits, line breaks apart
  qwen2,   // the same with numbers digit by digit
  o200k,   // GPT-4o: words end where a lower-case letter is followed by an upper-case one
};
std::optional<SplitPattern> find_split_pattern(std::string_view regular_expression);
std::string_view regular_expression(SplitPattern pattern);
// Where the piece ends that begins at text[at].
size_t piece_end(SplitPattern pattern, std::string_view text, size_t at);

struct PreTokenizer {
  enum class Kind {
    split,       // by `pattern`
    byte_level,  // says that the model's tokens stand for bytes; the last step. A space is put in front of a
                 // text without one where `prefix_space` is set, then GPT-2's pattern divides where `divide`
                 // is.
    digits,      // numbers (N*) apart from the rest, each for itself where `single_digits` is set
    separators,  // white space and the ASCII characters `separators` divide, and go
    bert,        // white space divides and goes, punctuation (P* and ASCII's) stands alone
    characters,  // every code point for itself
  };
  struct Step {
    Kind kind;
    SplitPattern pattern = SplitPattern::gpt2;
    bool prefix_space = false, divide = false, single_digits = false;
    std::string separators = {};
  };
  std::vector<Step> steps;  // each divides what the one before it left
  void operator()(std::string_view text, const std::function<void(std::string_view)>& piece) const;
};

}  // namespace stithy
