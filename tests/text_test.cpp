// Unicode, the division of texts, sequences and their datasets. Golden values:
// tests/golden/make_text_golden.py.
#include <doctest/doctest.h>

#include <chrono>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/core/error.h"
#include "engine/core/file.h"
#include "nn/data/loader.h"
#include "nn/text/pre_tokenizer.h"
#include "nn/text/sequences.h"
#include "nn/text/text_files.h"
#include "nn/text/unicode.h"
#include "tests/hostile.h"
#include "tests/temporary_folder.h"

using namespace stithy;

namespace {

using Ids = std::vector<int32_t>;

const nlohmann::json& golden() {
  static const nlohmann::json json =
      nlohmann::json::parse(read_file(STITHY_SOURCE_DIR "/tests/golden/text.json"));
  return json;
}

std::vector<std::string> pieces(const PreTokenizer& pre_tokenizer, std::string_view text) {
  std::vector<std::string> result;
  pre_tokenizer(text, [&](std::string_view piece) { result.emplace_back(piece); });
  return result;
}

Ids row(const Array& array, int64_t i) {
  const auto columns = static_cast<size_t>(array.shape()[1]);
  const auto values = array.values<int32_t>().subspan(static_cast<size_t>(i) * columns, columns);
  return {values.begin(), values.end()};
}

// Item i has i % 23 + 1 elements, all i.
DatasetPtr uneven(int64_t n, const SequenceOptions& options) {
  SequenceDataset::Source source{"ids", {}, -1};
  for (int64_t i = 0; i < n; ++i)
    source.sequences.emplace_back(static_cast<size_t>(i % 23 + 1), static_cast<int32_t>(i));
  Array labels({n}, DType::i32);
  for (int64_t i = 0; i < n; ++i) labels.set(i, static_cast<double>(i));
  return std::make_shared<SequenceDataset>(
      std::vector{source}, std::vector<InMemoryDataset::Source>{{"label", labels, kIgnoreIndex}}, options);
}

}  // namespace

TEST_SUITE("text") {
  TEST_CASE("UTF-8: what is well-formed, and what is not, goes through") {
    using namespace unicode;
    const std::pair<const char*, std::vector<char32_t>> cases[] = {
        {"a\u00e9\u4e2d\U0001f600", {'a', 0xe9, 0x4e2d, 0x1f600}},
        {"\xc0\x80", {0xdcc0, 0xdc80}},                          // too long
        {"\xed\xa0\x80", {0xdced, 0xdca0, 0xdc80}},              // a surrogate
        {"\xf4\x90\x80\x80", {0xdcf4, 0xdc90, 0xdc80, 0xdc80}},  // beyond U+10FFFF
        {"\xe4\xb8", {0xdce4, 0xdcb8}},                          // cut
        {"\xe4\xb8z", {0xdce4, 0xdcb8, 'z'}},
        {"\xf4\x8f\xbf\xbf", {0x10ffff}},
    };
    for (const auto& [text, points] : cases) {
      std::vector<char32_t> found;
      std::string again;
      const std::string_view view = text;
      for (size_t at = 0; at < view.size();) append(again, found.emplace_back(next(view, at)));
      CHECK(found == points);
      CHECK(again == text);
    }
    CHECK(find_ill_formed("a\u00e9\xff") == 3);
    CHECK(find_ill_formed("a\u00e9") == std::string::npos);
    CHECK_FALSE(in(0xdcff, kLetter | kNumber | kPunctuation | kControl));
    // Every code point, and no more: the white space of PropList.txt.
    int spaces = 0;
    for (char32_t c = 0; c <= 0x10ffff; ++c) spaces += is_space(c);
    CHECK(spaces == 25);
  }

  TEST_CASE("normal forms and lower case") {
    int count = 0;
    for (const auto& item : golden()["forms"]) {
      const auto text = item["text"].get<std::string>();
      CAPTURE(text);
      CHECK(unicode::normalize(text, unicode::Form::nfc) == item["nfc"]);
      CHECK(unicode::normalize(text, unicode::Form::nfd) == item["nfd"]);
      CHECK(unicode::normalize(text, unicode::Form::nfkc) == item["nfkc"]);
      CHECK(unicode::normalize(text, unicode::Form::nfkd) == item["nfkd"]);
      CHECK(unicode::lower(text) == item["lower"]);
      const TextNormalizer strip{{{TextNormalizer::Kind::nfd}, {TextNormalizer::Kind::strip_accents}}};
      CHECK(strip(text) == item["stripped"]);
      ++count;
    }
    CHECK(count > 40);
    CHECK(unicode::normalize("e\u0301\xff\xc3", unicode::Form::nfc) == "\u00e9\xff\xc3");
    // Marks of one class keep their order.
    std::string mixed = "q", above;
    for (int i = 0; i < 40; ++i) {
      const std::string mark = i % 3 ? "\u0302" : "\u0301";
      mixed += mark + "\u0323";
      above += mark;
    }
    CHECK(unicode::normalize(mixed, unicode::Form::nfd).ends_with(above));
    // Marks in the wrong order, many: sorting them one by one would take minutes.
    std::string marks = "a";
    for (int i = 0; i < 200000; ++i) marks += "\u0301";
    for (int i = 0; i < 200000; ++i) marks += "\u0323";
    const auto start = std::chrono::steady_clock::now();
    const std::string sorted = unicode::normalize(marks, unicode::Form::nfc);
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(20));
    CHECK(sorted.starts_with("\u1ea1\u0323"));
    CHECK(sorted.ends_with("\u0301"));
  }

  TEST_CASE("division as by the regular expressions") {
    using Kind = PreTokenizer::Kind;
    std::map<std::string, PreTokenizer> known = {
        {"bert", {{{.kind = Kind::bert}}}},
        {"digits", {{{.kind = Kind::digits}}}},
        {"single_digits", {{{.kind = Kind::digits, .single_digits = true}}}},
        {"spaces", {{{.kind = Kind::separators}}}},
    };
    for (const auto& [name, pattern] : {std::pair("gpt2", SplitPattern::gpt2),
                                        {"cl100k", SplitPattern::cl100k},
                                        {"qwen2", SplitPattern::qwen2},
                                        {"o200k", SplitPattern::o200k}}) {
      known[name].steps = {{.kind = Kind::split, .pattern = pattern}};
      CHECK(find_split_pattern(regular_expression(pattern)) == pattern);
    }
    CHECK_FALSE(find_split_pattern("\\s+").has_value());
    std::map<std::string, int> seen;
    for (const auto& item : golden()["patterns"]) {
      const auto text = item["text"].get<std::string>();
      CAPTURE(text);
      CAPTURE(item["pattern"]);
      CHECK(pieces(known.at(item["pattern"]), text) == item["pieces"].get<std::vector<std::string>>());
      ++seen[item["pattern"]];
    }
    CHECK(seen.size() == known.size());
    // Bytes that are no text stand with the punctuation.
    CHECK(pieces(known.at("gpt2"), "a\xff\xfe!b \xc3") ==
          std::vector<std::string>{"a", "\xff\xfe!", "b", " \xc3"});
    CHECK(pieces({{{.kind = Kind::characters}}}, "a\u00e9\xff") ==
          std::vector<std::string>{"a", "\u00e9", "\xff"});
  }

  TEST_CASE("pad_sequences") {
    const std::vector<Ids> sequences = {{1, 2, 3}, {}, {4, 5, 6, 7, 8}};
    const PaddedSequences longest = pad_sequences(sequences);
    CHECK(longest.ids.shape() == Shape{3, 5});
    CHECK(row(longest.ids, 0) == Ids{1, 2, 3, 0, 0});
    CHECK(longest.mask.dtype() == DType::boolean);
    for (int i = 0; i < 5; ++i) CHECK(longest.mask.at(i) == (i < 3));
    CHECK(row(longest.ids, 1) == Ids{0, 0, 0, 0, 0});
    CHECK(longest.lengths.at(1) == 0);
    const PaddedSequences pre =
        pad_sequences(sequences, {.length = 4, .padding = Side::pre, .truncation = Side::pre, .value = 9});
    CHECK(row(pre.ids, 0) == Ids{9, 1, 2, 3});
    CHECK(row(pre.ids, 2) == Ids{5, 6, 7, 8});
    CHECK(pre.mask.at(0) == 0);
    CHECK(pre.mask.at(1) == 1);
    CHECK(pre.lengths.at(2) == 4);
    CHECK(row(pad_sequences(sequences, {.length = 2}).ids, 2) == Ids{4, 5});
    CHECK(row(pad_sequences(sequences, {.length = 2, .truncation = Side::pre}).ids, 2) == Ids{7, 8});
    CHECK(pad_sequences({}).ids.shape() == Shape{0, 1});
    CHECK_THROWS_AS(pad_sequences(sequences, {.length = -1}), Error);
  }

  TEST_CASE("batches are padded to the length of their bucket") {
    const DatasetPtr data = uneven(230, {.lengths = {8, 16, 20}});
    CHECK(data->columns()[0].shape == Shape{20});
    CHECK(data->columns()[1].name == "ids_mask");
    const BatchSamplerPtr sampler = bucket_sampler(*data, {.batch = 16, .seed = 3, .last = LastBatch::keep});
    CHECK(sampler->batches_per_epoch() == 3 * 5);  // 80, 80 and 70 items
    DataLoader loader(data, {.seed = 3, .sampler = sampler});
    std::vector<std::vector<int32_t>> orders;
    for (int epoch = 0; epoch < 2; ++epoch) {
      std::multiset<int32_t> items;
      std::vector<int32_t> order;
      for (int64_t b = 0; b < loader.batches_per_epoch(); ++b) {
        const Batch& batch = loader.next();
        const int64_t length = batch.columns[0].shape()[1];
        CHECK(batch.columns[1].shape() == batch.columns[0].shape());
        for (int64_t i = 0; i < batch.count; ++i) {
          const auto item = static_cast<int32_t>(batch.columns[2].at(i));
          const int64_t own = item % 23 + 1;
          CHECK(length == (own <= 8 ? 8 : own <= 16 ? 16 : 20));
          Ids expected(static_cast<size_t>(length), -1);
          for (int64_t k = 0; k < std::min(own, length); ++k) expected[static_cast<size_t>(k)] = item;
          CHECK(row(batch.columns[0], i) == expected);
          for (int64_t k = 0; k < length; ++k) CHECK(batch.columns[1].at(i * length + k) == (k < own));
          items.insert(item);
          order.push_back(item);
        }
      }
      CHECK(items.size() == 230);
      CHECK(std::set(items.begin(), items.end()).size() == 230);
      orders.push_back(order);
    }
    CHECK(orders[0] != orders[1]);
    // Not the batches alone, but what is in them.
    std::set<std::set<int64_t>> batches[2];
    for (int epoch = 0; epoch < 2; ++epoch) {
      const EpochBatches order = sampler->epoch(epoch);
      for (size_t b = 0; b < order.ends.size(); ++b)
        batches[epoch].emplace(order.items.begin() + (b ? order.ends[b - 1] : 0),
                               order.items.begin() + order.ends[b]);
    }
    for (const auto& batch : batches[0]) CHECK_FALSE(batches[1].contains(batch));
    CHECK(sampler->epoch(4).items ==
          bucket_sampler(*data, {.batch = 16, .seed = 3, .last = LastBatch::keep})->epoch(4).items);
    CHECK(sampler->epoch(4).items !=
          bucket_sampler(*data, {.batch = 16, .seed = 4, .last = LastBatch::keep})->epoch(4).items);

    // Resuming, and the number of workers, change nothing.
    DataLoader resumed(data, {.seed = 3, .sampler = sampler, .workers = 0, .prefetch = 0, .start = {1, 7}});
    DataLoader whole(data, {.seed = 3, .sampler = sampler, .workers = 3, .start = {1, 0}});
    for (int i = 0; i < 7; ++i) whole.next();
    for (int i = 0; i < 10; ++i) {
      const Batch& a = whole.next();
      const Batch& b = resumed.next();
      for (size_t c = 0; c < 3; ++c) CHECK(same_bytes(a.columns[c], b.columns[c]));
    }
  }

  TEST_CASE("buckets: what is left over, sizes by elements, parts of a dataset") {
    const DatasetPtr data = uneven(46, {.lengths = {8, 23}});  // 16 short ones, 30 long ones
    CHECK(bucket_sampler(*data, {.batch = 12})->batches_per_epoch() == 1 + 2);
    const EpochBatches padded =
        bucket_sampler(*data, {.batch = 12, .shuffle = false, .last = LastBatch::pad})->epoch(0);
    CHECK(padded.ends == std::vector<int64_t>{12, 16, 28, 40, 46});
    CHECK(padded.rows == std::vector<int64_t>(5, 12));
    CHECK(padded.items[0] == 0);
    CHECK(padded.items[8] == 23);
    const EpochBatches sized =
        bucket_sampler(*data, {.shuffle = false, .last = LastBatch::keep}, 80)->epoch(0);
    CHECK(sized.rows[0] == 10);
    CHECK(sized.rows[2] == 3);
    DataLoader loader(
        data, {.sampler = bucket_sampler(*data, {.batch = 12, .shuffle = false, .last = LastBatch::pad})});
    loader.next();
    const Batch& batch = loader.next();
    CHECK(batch.count == 4);
    CHECK(batch.columns[0].shape() == Shape{12, 8});
    CHECK(row(batch.columns[0], 11) == Ids(8, -1));
    CHECK(batch.columns[1].at(12 * 8 - 1) == 0);
    CHECK(batch.columns[2].at(11) == kIgnoreIndex);
    const DatasetPtr part = subset(data, {22, 0, 45});
    CHECK(bucket_sampler(*part, {.batch = 2, .shuffle = false, .last = LastBatch::keep})->epoch(0).items ==
          std::vector<int64_t>{1, 0, 2});
    CHECK_THROWS_WITH_AS(bucket_sampler(*data, {.batch = 31}), doctest::Contains("none of 2 groups"), Error);
    CHECK_THROWS_AS(bucket_sampler(*data, {.batch = 0}), Error);
  }

  TEST_CASE("sequence datasets: several sources, and errors") {
    const SequenceDataset pairs(
        {{"source", {{1, 2}, {3}}}, {"target", {{4}, {5, 6, 7}}, kIgnoreIndex, false}}, {},
        {.padding = Side::pre});
    CHECK(pairs.columns().size() == 3);
    const std::vector<Array> all = fetch_all(pairs);
    CHECK(row(all[0], 0) == Ids{0, 1, 2});
    CHECK(row(all[2], 0) == Ids{kIgnoreIndex, kIgnoreIndex, 4});
    CHECK(row(all[2], 1) == Ids{5, 6, 7});
    using Sources = std::vector<SequenceDataset::Source>;
    CHECK_THROWS_WITH_AS(SequenceDataset(Sources{{"a", {{1}}}, {"b", {}}}),
                         doctest::Contains("'b' has 0 items, 'a' has 1"), Error);
    CHECK_THROWS_WITH_AS(SequenceDataset(Sources{{"a", {{1}}}}, {}, {.lengths = {4, 4}}),
                         doctest::Contains("length 4 is not more than 4"), Error);
    CHECK_THROWS_WITH_AS(SequenceDataset(Sources{{"a", {{1}}}}, {{"y", Array({2}, DType::i32)}}),
                         doctest::Contains("'y' has 2 items"), Error);
    CHECK_THROWS_AS(SequenceDataset(Sources{}), Error);
  }

  TEST_CASE("token windows") {
    Ids tokens(20);
    for (int32_t i = 0; i < 20; ++i) tokens[static_cast<size_t>(i)] = i;
    const TokenWindows side_by_side(tokens, {.length = 6});
    CHECK(side_by_side.size() == 3);
    const std::vector<Array> all = fetch_all(side_by_side);
    CHECK(row(all[0], 1) == Ids{6, 7, 8, 9, 10, 11});
    CHECK(row(all[1], 1) == Ids{7, 8, 9, 10, 11, 12});
    const TokenWindows every(tokens, {.length = 6, .stride = 1});
    CHECK(every.size() == 14);
    CHECK(row(fetch_all(every)[1], 13) == Ids{14, 15, 16, 17, 18, 19});
    CHECK(TokenWindows(tokens, {.length = 19}).size() == 1);
    CHECK_THROWS_WITH_AS(TokenWindows(tokens, {.length = 20}), doctest::Contains("20 tokens are too few"),
                         Error);

    // Shifted windows reach every start, differ between epochs, and are the same in a second run.
    const auto shifted =
        std::make_shared<TokenWindows>(tokens, WindowOptions{.length = 6, .stride = 5, .shift = true});
    CHECK(shifted->size() == 3);
    const auto starts = [&] {
      DataLoader loader(shifted, {.batch = 3, .shuffle = false, .seed = 1});
      Ids first;
      for (int epoch = 0; epoch < 60; ++epoch) {
        const Batch& batch = loader.next();
        for (int64_t i = 0; i < 3; ++i) {
          first.push_back(row(batch.columns[0], i)[0]);
          CHECK(row(batch.columns[1], i)[5] == first.back() + 6);
          CHECK(first.back() / 5 == i);
        }
      }
      return first;
    };
    const Ids once = starts();
    CHECK(std::set(once.begin(), once.end()).size() == 14);
    CHECK(once == starts());
    CHECK(row(fetch_all(*shifted)[0], 1)[0] == 5);
  }

  TEST_CASE("lines and pairs") {
    TemporaryFolder folder;
    CHECK(read_lines(folder.write("a", "\xef\xbb\xbfone\r\n\ntwo \u00e9")) ==
          std::vector<std::string>{"one", "", "two \u00e9"});
    CHECK(read_lines(folder.write("a", "one\n")).size() == 1);
    CHECK(read_text(folder.write("a", "caf\xe9"), TextEncoding::latin1) == "caf\u00e9");
    for (const auto& [bytes, text] : {std::pair("\x93"
                                                "caf\xe9\x94 \x80",
                                                "\u201ccaf\u00e9\u201d \u20ac"),
                                      std::pair("caf\xc3\xa9", "caf\u00e9")})
      CHECK(read_text(folder.write("a", bytes), TextEncoding::utf8_or_windows1252) == text);
    CHECK_THROWS_WITH_AS(read_lines(folder.write("a", "x\ny\ncaf\xe9\n")),
                         doctest::Contains("line 3: the byte 0xe9 is no valid UTF-8"), Error);
    const auto pairs = read_pairs(
        folder.write("a", "Go.\tVa !\tCC-BY\n\nHe said \"hi\".\tIl a dit \u00ab salut \u00bb.\r\n"));
    REQUIRE(pairs.size() == 2);
    CHECK(pairs[0] == TextPair("Go.", "Va !"));
    CHECK(pairs[1].first == "He said \"hi\".");
    CHECK(pairs[1].second == "Il a dit \u00ab salut \u00bb.");
    CHECK_THROWS_WITH_AS(parse_pairs("a\tb\nab\n", "p.tsv"), "p.tsv: line 2: has no tab", Error);
    CHECK_THROWS_WITH_AS(parse_pairs("\tb\n", "p.tsv"), doctest::Contains("line 1: the first text is empty"),
                         Error);
    CHECK_THROWS_WITH_AS(parse_pairs("a\t\tc\n", "p.tsv"), doctest::Contains("the second text is empty"),
                         Error);
    const HostileResult damaged = feed_damaged("a\tb\n\u00e9\t\u4e2d\tx\r\n", [&](std::string_view text) {
      read_pairs(folder.write("b", std::string(text)));
    });
    CHECK(damaged.unexpected == "");
    CHECK(damaged.refused > 0);
    CHECK(damaged.accepted > 0);
  }
}
