// Byte-level byte-pair encoding: GPT-2's tokenizer and its successors. Any bytes can be encoded, and come
// back.
#pragma once

#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "nn/text/tokenizer.h"

namespace stithy {

struct BytePairTraining {
  int64_t vocabulary = 8192;  // tokens, the 256 bytes and the special ones included
  int64_t least = 2;          // a pair that occurs less often is not merged
  std::vector<std::string> special = {"<|endoftext|>"};  // they have the first ids
  SplitPattern pattern = SplitPattern::gpt2;
};

class BytePairTokenizer : public Tokenizer {
 public:
  // GPT-2's files, by either way of naming them: vocab.json or encoder.json (token: id) and merges.txt or
  // vocab.bpe (a pair a line, those that merge first in front). Of the texts in `special` those in the
  // vocabulary become special tokens. Throws Error, with the line, for what does not fit together.
  static std::shared_ptr<const BytePairTokenizer> load(const std::string& vocabulary,
                                                       const std::string& merges,
                                                       const std::vector<std::string>& special = {
                                                           "<|endoftext|>"});
  // Merges the pair of neighbours that occurs the most often, again and again (Sennrich, Haddow and Birch,
  // "Neural machine translation of rare words with subword units", 2016, algorithm 1), inside of the pieces
  // that `pattern` makes. Of pairs as frequent the one with the smaller first id goes first, then the one
  // with the smaller second, as in Hugging Face's trainer; the bytes have their ids in the order of the
  // characters that spell them. Stops early when no pair occurs often enough.
  static std::shared_ptr<const BytePairTokenizer> train(std::span<const std::string> texts,
                                                        const BytePairTraining& options = {});
  explicit BytePairTokenizer(TokenizerSpec spec);

 protected:
  void encode_plain(std::string_view text, std::vector<int32_t>& ids) const override;
  std::string decode_plain(std::span<const int32_t> ids) const override;

 private:
  struct Scratch;
  uint32_t rank(int32_t left, int32_t right) const;
  void encode_piece(std::string_view piece, Scratch& scratch, std::vector<int32_t>& ids) const;

  std::array<int32_t, 256> byte_ids_{};
  std::vector<std::string> bytes_;                  // of each id
  std::unordered_map<std::string, int32_t> whole_;  // pieces that are tokens, for whole_pieces
  std::unordered_map<uint64_t, uint32_t> ranks_;    // of pairs
  std::vector<int32_t> merged_;                     // by rank
};

// The printable characters by which vocabularies spell bytes (openai/gpt-2, encoder.py, bytes_to_unicode):
// those of Latin-1 that can be seen stand for themselves, the others for U+0100 and following.
std::string spell_bytes(std::string_view bytes);
// The inverse; nothing for a text that does not spell bytes.
std::optional<std::string> unspell_bytes(std::string_view token);

}  // namespace stithy
