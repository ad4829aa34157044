// WordPiece, BERT's tokenizer: Devlin et al., "BERT" (2018); google-research/bert, tokenization.py.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "nn/text/tokenizer.h"

namespace stithy {

class WordPieceTokenizer : public Tokenizer {
 public:
  // BERT's vocab.txt: a token a line, the first with id 0, among them [CLS], [SEP] and [UNK]. Texts become
  // [CLS] A [SEP] and [CLS] A [SEP] B [SEP]; [PAD] and [MASK] are special, too, where they are there. `text`
  // is how texts are normalised: BERT's own are {.lower = true} and, for cased vocabularies, false. Accents
  // are removed by Unicode's general categories, lower case is that of each code point (unicode::lower).
  // Throws Error with the line.
  static std::shared_ptr<const WordPieceTokenizer> load(const std::string& path,
                                                        const BertNormalization& text = {});
  explicit WordPieceTokenizer(TokenizerSpec spec);

 protected:
  void encode_plain(std::string_view text, std::vector<int32_t>& ids) const override;
  // Joined by spaces, but for word endings and before the marks . , ! and ?: not the text that was encoded.
  std::string decode_plain(std::span<const int32_t> ids) const override;

 private:
  void encode_word(std::string_view word, std::vector<int32_t>& ids) const;
  size_t longest_ = 0;  // bytes of the longest token, the continuation's mark included
};

}  // namespace stithy
