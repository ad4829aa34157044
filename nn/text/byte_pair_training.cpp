#include <algorithm>
#include <numeric>
#include <queue>
#include <tuple>
#include <unordered_set>

#include "engine/core/error.h"
#include "nn/text/byte_pair.h"

namespace stithy {
namespace {

using Pair = std::array<int32_t, 2>;

uint64_t key(Pair pair) {
  return uint64_t{static_cast<uint32_t>(pair[0])} << 32 | static_cast<uint32_t>(pair[1]);
}

struct Word {
  std::vector<int32_t> ids;
  int64_t count;
};

struct Occurrences {
  int64_t count = 0;
  std::vector<uint32_t> words;  // where it occurs, or did
};

struct Candidate {
  int64_t count;
  Pair pair;
  bool operator<(const Candidate& other) const {  // the largest is taken first
    return std::tie(count, other.pair) < std::tie(other.count, pair);
  }
};

// Replaces the pair from the left. Returns whether it was there.
bool merge(std::vector<int32_t>& ids, Pair pair, int32_t id) {
  size_t out = 0;
  for (size_t in = 0; in < ids.size(); ++out) {
    const bool here = in + 1 < ids.size() && ids[in] == pair[0] && ids[in + 1] == pair[1];
    ids[out] = here ? id : ids[in];
    in += here ? 2 : 1;
  }
  const bool found = out < ids.size();
  ids.resize(out);
  return found;
}

}  // namespace

std::shared_ptr<const BytePairTokenizer> BytePairTokenizer::train(std::span<const std::string> texts,
                                                                  const BytePairTraining& options) {
  const int64_t least_size = 256 + static_cast<int64_t>(options.special.size());
  if (options.vocabulary < least_size || options.vocabulary > (1 << 24))
    throw Error("byte-pair training", cat("a vocabulary of ", options.vocabulary, " is not in ", least_size,
                                          " (the bytes and the special tokens) to ", 1 << 24));
  if (options.least < 1) throw Error("byte-pair training", cat("least ", options.least, " is less than 1"));

  TokenizerSpec spec;
  spec.model = TokenizerSpec::Model::byte_pair;
  if (options.pattern != SplitPattern::gpt2)
    spec.pre_tokenizer.steps = {{.kind = PreTokenizer::Kind::split, .pattern = options.pattern}};
  spec.pre_tokenizer.steps.push_back(
      {.kind = PreTokenizer::Kind::byte_level, .divide = options.pattern == SplitPattern::gpt2});
  for (const std::string& token : options.special) {
    spec.vocabulary.add(token);
    spec.added.push_back({.text = token});
  }
  std::array<std::string, 256> spelled;
  for (size_t byte = 0; byte < 256; ++byte) {
    const char text = static_cast<char>(byte);
    spelled[byte] = spell_bytes({&text, 1});
  }
  std::array<size_t, 256> order{};
  std::iota(order.begin(), order.end(), size_t{0});
  // The order of code points is that of the bytes of their UTF-8.
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return spelled[a] < spelled[b]; });
  for (const size_t byte : order) spec.vocabulary.add(spelled[byte]);

  std::unordered_map<std::string, int64_t> counts;
  for (const std::string& text : texts)
    spec.pre_tokenizer(text, [&](std::string_view piece) { ++counts[std::string(piece)]; });
  if (counts.size() >= UINT32_MAX)
    throw Error("byte-pair training", "the texts have too many different words");
  std::vector<Word> words;
  words.reserve(counts.size());
  for (const auto& [text, count] : counts) {
    Word& word = words.emplace_back(Word{{}, count});
    for (const char byte : text)
      word.ids.push_back(spec.vocabulary.id(spelled[static_cast<unsigned char>(byte)]));
  }

  std::unordered_map<uint64_t, Occurrences> pairs;
  const auto count_pairs = [&](const Word& word, int64_t by) {
    for (size_t i = 0; i + 1 < word.ids.size(); ++i) pairs[key({word.ids[i], word.ids[i + 1]})].count += by;
  };
  std::priority_queue<Candidate> candidates;
  std::vector<Pair> fresh;  // pairs that a merge made
  // A word's pairs with `id` in them, or all.
  const auto note_pairs = [&](uint32_t number, std::optional<int32_t> id) {
    const std::vector<int32_t>& ids = words[number].ids;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      if (id && ids[i] != *id && ids[i + 1] != *id) continue;
      const Pair pair{ids[i], ids[i + 1]};
      std::vector<uint32_t>& places = pairs[key(pair)].words;
      if (places.empty() || places.back() != number) places.push_back(number);
      fresh.push_back(pair);
    }
  };
  const auto propose = [&] {
    std::sort(fresh.begin(), fresh.end());
    fresh.erase(std::unique(fresh.begin(), fresh.end()), fresh.end());
    for (const Pair& pair : fresh) candidates.push({pairs[key(pair)].count, pair});
    fresh.clear();
  };
  for (uint32_t i = 0; i < words.size(); ++i) {
    count_pairs(words[i], words[i].count);
    note_pairs(i, {});
  }
  propose();

  std::unordered_set<uint64_t> known;
  while (spec.vocabulary.size() < options.vocabulary && !candidates.empty()) {
    const auto [count, pair] = candidates.top();
    candidates.pop();
    const auto found = pairs.find(key(pair));
    if (found == pairs.end()) continue;
    if (found->second.count != count) {  // a merge took some away since
      if (found->second.count > 0) candidates.push({found->second.count, pair});
      continue;
    }
    if (count < options.least) break;
    const std::string token = spec.vocabulary.token(pair[0]) + spec.vocabulary.token(pair[1]);
    // Two pairs can make the same token, and one that was merged can come up again by that.
    const auto there = spec.vocabulary.find(token);
    const int32_t id = there ? *there : spec.vocabulary.add(token);
    if (known.insert(key(pair)).second) spec.merges.push_back(pair);
    const std::vector<uint32_t> places = std::move(found->second.words);
    for (const uint32_t place : places) {
      Word& word = words[place];
      count_pairs(word, -word.count);
      const bool changed = merge(word.ids, pair, id);
      count_pairs(word, word.count);
      if (changed) note_pairs(place, id);
    }
    pairs.erase(key(pair));
    propose();
  }
  return std::make_shared<BytePairTokenizer>(std::move(spec));
}

}  // namespace stithy
