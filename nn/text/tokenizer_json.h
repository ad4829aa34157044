// tokenizer.json, the file of Hugging Face's tokenizers (https://github.com/huggingface/tokenizers), and
// vocab.json.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "nn/text/tokenizer.h"

namespace stithy {

// Models BPE (byte-level), WordPiece and WordLevel with the normalizers, pre-tokenizers, post-processors and
// decoders that TokenizerSpec can say. Throws Error, with `where` and the name of the part, for anything else
// that would change a result, for what is no such file, and for a key that is there twice.
TokenizerSpec read_tokenizer_json(std::string_view text, const std::string& where);
// Throws Error, with `where`, for tokens that are no UTF-8, which JSON cannot hold.
std::string write_tokenizer_json(const TokenizerSpec& spec, const std::string& where);

// {"token": id, ...}
Vocabulary read_vocabulary_json(std::string_view text, const std::string& where);
// Of "a b", the line of a merges.txt. Throws Error when there are not two tokens of the vocabulary.
std::array<int32_t, 2> find_merge(const Vocabulary& vocabulary, std::string_view line);
// do_lower_case of a tokenizer_config.json; true where it does not say.
bool read_lower_case(std::string_view text, const std::string& where);

}  // namespace stithy
