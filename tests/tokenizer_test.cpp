// Tokenizers against Hugging Face's, tiktoken's and Python's (tests/golden/make_text_golden.py).
#include "nn/text/tokenizer.h"

#include <doctest/doctest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/core/error.h"
#include "engine/core/file.h"
#include "engine/core/rng.h"
#include "nn/text/byte_pair.h"
#include "nn/text/tokenizer_json.h"
#include "nn/text/unicode.h"
#include "nn/text/word_piece.h"
#include "nn/text/words.h"
#include "tests/hostile.h"
#include "tests/temporary_folder.h"

using namespace stithy;

namespace {

using Ids = std::vector<int32_t>;

std::string golden_path(const std::string& name) { return STITHY_SOURCE_DIR "/tests/golden/" + name; }

const nlohmann::json& golden() {
  static const nlohmann::json json = nlohmann::json::parse(read_file(golden_path("text.json")));
  return json;
}

// The folder of the real data, or nothing, which is said.
std::string data_folder(const std::string& name, const char* what) {
  const char* folder = std::getenv("STITHY_DATA");
  const std::string path = std::string(folder ? folder : STITHY_SOURCE_DIR "/../shared/data") + "/" + name;
  if (std::filesystem::is_directory(path)) return path;
  std::printf("SKIP: %s: there is no folder %s\n", what, path.c_str());
  return {};
}

int check_encodings(const Tokenizer& tokenizer, const nlohmann::json& cases) {
  int count = 0;
  for (const auto& item : cases) {
    const auto text = item["text"].get<std::string>();
    CAPTURE(text);
    CHECK(tokenizer.encode(text) == item["ids"].get<Ids>());
    if (item.contains("decoded")) CHECK(tokenizer.decode(item["ids"].get<Ids>()) == item["decoded"]);
    ++count;
  }
  return count;
}

// Text of any bytes, and of any code points.
std::string random_bytes(Philox& random, size_t most) {
  std::string text(random.below(most), '\0');
  for (char& c : text) c = static_cast<char>(random.bits());
  return text;
}
std::string random_utf8(Philox& random, size_t most) {
  std::string text;
  for (size_t i = 0, n = random.below(most); i < n; ++i) {
    const uint64_t plane = random.below(4);
    const auto c = static_cast<char32_t>(random.below(plane == 0   ? 0x80
                                                      : plane == 1 ? 0x800
                                                      : plane == 2 ? 0xd800
                                                                   : 0x20000));
    if (c < 0xd800 || c > 0xdfff) unicode::append(text, c);
  }
  return text;
}

void check_round_trips(const Tokenizer& tokenizer) {
  Philox random(7);
  for (int i = 0; i < 2000; ++i) {
    const std::string text = i % 2 ? random_bytes(random, 60) : random_utf8(random, 40);
    const Ids ids = tokenizer.encode(text, {.add_special = false, .parse_special = false});
    REQUIRE(tokenizer.decode(ids, false) == text);
    REQUIRE(
        std::all_of(ids.begin(), ids.end(), [&](int32_t id) { return id >= 0 && id < tokenizer.size(); }));
  }
}

}  // namespace

TEST_SUITE("tokenizer") {
  TEST_CASE("GPT-2 by its own files") {
    const std::string folder = data_folder("gpt2", "GPT-2's vocabulary");
    if (folder.empty()) return;
    const TokenizerPtr tokenizer = load_tokenizer(folder);
    CHECK(tokenizer->size() == 50257);
    CHECK(tokenizer->id("<|endoftext|>") == 50256);
    CHECK(tokenizer->token(262) == "\u0120the");
    CHECK(tokenizer->decode(Ids{262}) == " the");
    CHECK(check_encodings(*tokenizer, golden()["gpt2"]) > 50);
    check_round_trips(*tokenizer);
    // Within and without special tokens.
    CHECK(tokenizer->encode("a<|endoftext|>b") == Ids{64, 50256, 65});
    const Ids plain = tokenizer->encode("a<|endoftext|>b", {.parse_special = false});
    CHECK(plain.size() > 3);
    CHECK(tokenizer->decode(plain) == "a<|endoftext|>b");
    CHECK(tokenizer->decode(Ids{64, 50256, 65}) == "ab");
    CHECK(tokenizer->decode(Ids{64, 50256, 65}, false) == "a<|endoftext|>b");
    CHECK_THROWS_WITH_AS(tokenizer->decode(Ids{50257}), doctest::Contains("50257 is out of range for 50257"),
                         Error);
    CHECK_THROWS_WITH_AS(tokenizer->id("\x01"), doctest::Contains("'\\x01'"), Error);
    // Our tokenizer.json of it says the same.
    TemporaryFolder scratch;
    tokenizer->save(scratch / "tokenizer.json");
    const TokenizerPtr again = load_tokenizer(scratch.path());
    CHECK(check_encodings(*again, golden()["gpt2"]) > 50);
    CHECK(again->token(50255) == tokenizer->token(50255));
  }

  TEST_CASE("a word of a million letters takes no quadratic time") {
    const TokenizerPtr tokenizer = load_tokenizer(golden_path("tokenizer_gpt2.json"));
    for (const char* unit : {"a", "ab", " ", "\n ", "\u0301", "1", "\xff", "<|endoftext|", "'"}) {
      std::string text;
      while (text.size() < 1000000) text += unit;
      const auto start = std::chrono::steady_clock::now();
      const Ids ids = tokenizer->encode(text);
      // Quadratic time would be minutes, this is a second on a slow machine.
      CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(20));
      CHECK(tokenizer->decode(ids) == text);
    }
  }

  TEST_CASE("BERT by its own file") {
    const std::string folder = data_folder("bert", "BERT's vocabulary");
    if (folder.empty()) return;
    const TokenizerPtr lower = load_tokenizer(folder);
    const TokenizerPtr cased = WordPieceTokenizer::load(folder + "/vocab.txt", {.lower = false});
    CHECK(lower->size() == 30522);
    int pairs = 0;
    for (const auto& item : golden()["bert"]) {
      const Tokenizer& tokenizer = item["lower"].get<bool>() ? *lower : *cased;
      const auto text = item["text"].get<std::string>();
      CAPTURE(text);
      if (item.contains("second")) {
        const Encoding both =
            tokenizer.encode_pair(text, item["second"].get<std::string>(), {.most = item["most"]});
        CHECK(both.ids == item["ids"].get<Ids>());
        CHECK(both.types == item["types"].get<Ids>());
        ++pairs;
      } else {
        CHECK(tokenizer.encode(text) == item["ids"].get<Ids>());
        CHECK(tokenizer.decode(item["ids"].get<Ids>()) == item["decoded"]);
      }
    }
    CHECK(pairs > 10);
    // Bytes that are no text are dropped, as by Google's convert_to_unicode.
    CHECK(lower->encode("he\xffllo \xc3") == lower->encode("hello"));
    // CJK ideographs of extension E stand alone, too.
    CHECK(lower->encode("a\U0002b820b").size() == 5);
  }

  TEST_CASE("tokenizer.json of Hugging Face, and ours of it") {
    TemporaryFolder folder;
    for (const char* name : {"gpt2", "llama", "bert"}) {
      CAPTURE(name);
      const TokenizerPtr tokenizer = load_tokenizer(golden_path(cat("tokenizer_", name, ".json")));
      CHECK(check_encodings(*tokenizer, golden()["trained"][name]) > 10);
      tokenizer->save(folder / "tokenizer.json");
      CHECK(check_encodings(*load_tokenizer(folder.path()), golden()["trained"][name]) > 10);
    }
    // A space in front, and RoBERTa's pairs.
    TokenizerSpec spec =
        read_tokenizer_json(read_file(golden_path("tokenizer_gpt2.json")), "tokenizer_gpt2.json");
    spec.pre_tokenizer.steps[0].prefix_space = true;
    using Kind = TokenTemplate::Part::Kind;
    spec.single.parts = {{Kind::token, 0}, {Kind::first}, {Kind::token, 0}};
    spec.pair.parts = {{Kind::token, 0}, {Kind::first},  {Kind::token, 0},
                       {Kind::token, 0}, {Kind::second}, {Kind::token, 0}};
    const TokenizerPtr prefixed = make_tokenizer(spec);
    CHECK(check_encodings(*prefixed, golden()["trained"]["roberta"]) > 10);
    const auto& pair = golden()["trained"]["roberta_pair"];
    const auto text = [&](size_t i) { return golden()["trained"]["roberta"][i]["text"].get<std::string>(); };
    CHECK(prefixed->encode_pair(text(0), text(1)).ids == pair["ids"].get<Ids>());
    check_round_trips(*load_tokenizer(golden_path("tokenizer_gpt2.json")));
  }

  TEST_CASE("training makes Hugging Face's merges") {
    const auto texts = golden()["trained"]["texts"].get<std::vector<std::string>>();
    const auto trained = BytePairTokenizer::train(texts, {.vocabulary = 400});
    const auto theirs = nlohmann::json::parse(read_file(golden_path("tokenizer_gpt2.json")));
    const auto ours = nlohmann::json::parse(write_tokenizer_json(trained->spec(), ""));
    CHECK(ours["model"]["merges"] == theirs["model"]["merges"]);
    CHECK(ours["model"]["vocab"] == theirs["model"]["vocab"]);
    CHECK(ours["pre_tokenizer"] == theirs["pre_tokenizer"]);
    CHECK(ours["added_tokens"] == theirs["added_tokens"]);
    CHECK(check_encodings(*trained, golden()["trained"]["gpt2"]) > 10);
    const auto other = BytePairTokenizer::train(
        texts,
        {.vocabulary = 380, .special = {"<|begin|>", "<|endoftext|>"}, .pattern = SplitPattern::cl100k});
    const auto llama = nlohmann::json::parse(read_file(golden_path("tokenizer_llama.json")));
    CHECK(nlohmann::json::parse(write_tokenizer_json(other->spec(), ""))["model"]["merges"] ==
          llama["model"]["merges"]);
    // The same again, and from a file.
    const auto again = BytePairTokenizer::train(texts, {.vocabulary = 400});
    CHECK(again->spec().merges == trained->spec().merges);
    TemporaryFolder folder;
    trained->save(folder / "t.json");
    const TokenizerPtr loaded = load_tokenizer(folder / "t.json");
    for (const std::string& text : texts) CHECK(loaded->encode(text) == trained->encode(text));
    check_round_trips(*trained);
  }

  TEST_CASE("training by hand: counts, ties and ends") {
    // "ab" occurs five times. Then "ab ab" (of "abab"), " ab" and "cd" occur twice; c has the smallest id,
    // then the space. After that "ab ab" is left but once.
    const std::vector<std::string> texts = {"abab abab ab", "cd", "cd"};
    const auto tokenizer = BytePairTokenizer::train(texts, {.vocabulary = 300, .special = {}});
    const auto merge = [&](size_t i) {
      const auto [left, right] = tokenizer->spec().merges.at(i);
      return tokenizer->token(left) + "+" + tokenizer->token(right);
    };
    CHECK(merge(0) == "a+b");
    CHECK(merge(1) == "c+d");
    CHECK(merge(2) == "\u0120+ab");
    CHECK(tokenizer->spec().merges.size() == 3);
    CHECK(BytePairTokenizer::train(texts, {.vocabulary = 257, .special = {}})->size() == 257);
    CHECK(BytePairTokenizer::train({}, {.vocabulary = 300})->size() == 257);
    CHECK_THROWS_WITH_AS(BytePairTokenizer::train(texts, {.vocabulary = 256}),
                         doctest::Contains("is not in 257"), Error);
    CHECK_THROWS_WITH_AS(BytePairTokenizer::train(texts, {.vocabulary = 300, .special = {"a"}}),
                         doctest::Contains("'a' is there twice"), Error);
  }

  TEST_CASE("truncation leaves room for the template") {
    const TokenizerPtr tokenizer = load_tokenizer(golden_path("tokenizer_bert.json"));
    const Ids whole = tokenizer->encode("the lighthouse stood");
    const Ids cut = tokenizer->encode("the lighthouse stood", {.most = 4});
    CHECK(cut == Ids{whole[0], whole[1], whole[2], whole.back()});
    CHECK(tokenizer->encode("the lighthouse", {.add_special = false, .most = 1}).size() == 1);
    CHECK_THROWS_WITH_AS(tokenizer->encode("a", {.most = 1}), doctest::Contains("less than the 2 tokens"),
                         Error);
    CHECK_THROWS_AS(tokenizer->encode("a", {.most = -1}), Error);
    for (int64_t most = 3; most < 12; ++most)
      CHECK(tokenizer->encode_pair("the lamp and the weather", "he'd", {.most = most}).ids.size() <=
            static_cast<size_t>(most));
  }

  TEST_CASE("words, as Keras numbers them") {
    const std::vector<std::string> texts = {"The cat sat. The cat, the!", "a dog\tsat\u00a0down: ÄRGER"};
    const auto tokenizer = WordTokenizer::train(texts);
    CHECK(tokenizer->token(0) == "<pad>");
    CHECK(tokenizer->token(1) == "<unk>");
    CHECK(tokenizer->encode("the cat sat a dog down ärger") == Ids{2, 3, 4, 5, 6, 7, 8});
    CHECK(tokenizer->encode("THE bird's") == Ids{2, 1});
    CHECK(tokenizer->decode(Ids{2, 1, 3}, false) == "the <unk> cat");
    const auto few = WordTokenizer::train(texts, {.vocabulary = 5, .special = {"<start>"}});
    CHECK(few->size() == 5);
    CHECK(few->encode("<start>the cat sat") == Ids{2, 3, 4, 1});
    // Of added tokens that begin alike, the longest.
    const auto alike = WordTokenizer::train(texts, {.special = {"<go>", "<go>on", "<g"}});
    CHECK(alike->encode("<go>on<go>the<gone", {}) == Ids{3, 2, 5, 4, 1});
    const auto often = WordTokenizer::train(texts, {.least = 2, .lower = false, .separators = "."});
    CHECK(often->encode("The cat sat sat. cat, the!") == Ids{2, 1, 3, 3, 1, 1});
    CHECK_THROWS_WITH_AS(WordTokenizer::train(texts, {.vocabulary = 2}), doctest::Contains("leaves no room"),
                         Error);
    CHECK_THROWS_AS(WordTokenizer::train(texts, {.separators = "\xc3\xa9"}), Error);
    TemporaryFolder folder;
    for (const TokenizerPtr& one : {TokenizerPtr(tokenizer), TokenizerPtr(few), TokenizerPtr(often)}) {
      one->save(folder / "words.json");
      const TokenizerPtr loaded = load_tokenizer(folder / "words.json");
      for (const char* text : {"The cat sat. cat,the!", "  ]a^b\\c-d d\u00e9j\u00e0 <start>", ""})
        CHECK(loaded->encode(text) == one->encode(text));
      CHECK(loaded->decode(Ids{2, 3}) == one->decode(Ids{2, 3}));
    }
  }

  TEST_CASE("characters") {
    const std::vector<std::string> texts = {"hello\n", "w\u00f6rld \U0001f600"};
    const auto tokenizer = CharacterTokenizer::train(texts);
    CHECK(tokenizer->size() == 11);
    CHECK(tokenizer->encode("\n h\U0001f600") == Ids{0, 1, 4, 10});
    CHECK(tokenizer->decode(tokenizer->encode(texts[1])) == texts[1]);
    CHECK_THROWS_WITH_AS(tokenizer->encode("hex"), doctest::Contains("'x' is not in the vocabulary of 11"),
                         Error);
    CHECK_THROWS_WITH_AS(tokenizer->encode("h\xff"), doctest::Contains("'\\xff'"), Error);
    const auto unknown = CharacterTokenizer::train(texts, {.special = {"."}, .unknown = true});
    CHECK(unknown->encode(".hx") == Ids{0, 6, 1});
    CHECK(unknown->decode(Ids{0, 6, 1}) == "h");
    CHECK_THROWS_WITH_AS(CharacterTokenizer::train(std::vector<std::string>{"a", "b\x80"}),
                         doctest::Contains("text 1 is no valid UTF-8 at byte 1"), Error);
    TemporaryFolder folder;
    unknown->save(folder / "characters.json");
    const TokenizerPtr loaded = load_tokenizer(folder / "characters.json");
    CHECK(loaded->encode("..hxo\n \n") == unknown->encode("..hxo\n \n"));
    CHECK(loaded->decode(loaded->encode("lo \u00f6")) == "lo \u00f6");
  }

  TEST_CASE("what is not supported is named") {
    const auto valid = nlohmann::json::parse(read_file(golden_path("tokenizer_llama.json")));
    const auto refused = [&](const char* pointer, const nlohmann::json& value, const char* reason) {
      nlohmann::json changed = valid;
      changed[nlohmann::json::json_pointer(pointer)] = value;
      CAPTURE(pointer);
      CHECK_THROWS_WITH_AS(make_tokenizer(read_tokenizer_json(changed.dump(), "t.json")),
                           doctest::Contains(reason), Error);
    };
    using J = nlohmann::json;
    refused("/model/type", "Unigram", "model: the type 'Unigram' is not supported");
    refused("/model/byte_fallback", true, "byte_fallback true is not supported");
    refused("/model/dropout", 0.1, "dropout 0.1 is not supported");
    refused("/model/vocab/the", -1, "is no whole number");
    refused("/model/vocab/the", 2147483647, "leaves gaps larger than the file");
    refused("/model/vocab/a", 1, "the id 1 is taken");
    refused("/model/merges/3", "a b c", "model.merges[3]: 'a b c' is no pair of tokens");
    refused("/model/merges/3", J({"a", "nothing"}), "model.merges[3]: has no token 'nothing'");
    refused("/model/merges/3", J({"a", "?"}), "the merge of 'a' and '?' makes no token");
    refused("/normalizer", J{{"type", "Precompiled"}}, "normalizer: the type 'Precompiled' is not supported");
    refused("/pre_tokenizer", nullptr, "must be ByteLevel");
    refused("/pre_tokenizer/pretokenizers/0/pattern/Regex", "\\w+",
            "the pattern '\\w+' (Isolated) is not supported");
    refused("/pre_tokenizer/pretokenizers/0/behavior", "Removed", "(Removed) is not supported");
    refused("/pre_tokenizer/pretokenizers/1/type", "Metaspace",
            "pre_tokenizer.pretokenizers[1]: the type 'Metaspace'");
    refused("/post_processor/processors/1/single/0/SpecialToken/id", "<x>", "lacks <x>");
    refused("/post_processor/processors/1/single/1/Sequence/id", "B", "must hold every text once");
    refused("/decoder/type", "Metaspace", "decoder: the decoder 'Metaspace'");
    refused("/added_tokens/0/single_word", true, "single_word true is not supported");
    refused("/added_tokens/0/id", 7, "has the id 7, in the vocabulary 0");
    refused("/model/vocab", 5, "model.vocab: is no object");
    nlohmann::json less = valid;
    less["model"]["vocab"].erase("a");
    less["model"]["merges"] = J::array();
    CHECK_THROWS_WITH_AS(make_tokenizer(read_tokenizer_json(less.dump(), "t")),
                         doctest::Contains("lacks the byte 'a'"), Error);
    CHECK_THROWS_WITH_AS(read_vocabulary_json(R"({"a": 0, "a": 1})", "v.json"),
                         "v.json: has the key 'a' twice", Error);
    CHECK_THROWS_WITH_AS(read_vocabulary_json(std::string(100000, '['), "v.json"),
                         doctest::Contains("nested deeper"), Error);
    TemporaryFolder folder;
    CHECK_THROWS_WITH_AS(load_tokenizer(folder.path()), doctest::Contains("has none of tokenizer.json"),
                         Error);
    CHECK_THROWS_AS(load_tokenizer(folder / "none.json"), Error);
  }

  TEST_CASE("damaged files") {
    TemporaryFolder folder;
    const auto encode = [](const Tokenizer& tokenizer) {
      for (const char* text : {"the lamp", "  a\u0301 1 \xff", "<sep> <mask>"})
        if (const Ids ids = tokenizer.encode(text); !ids.empty()) tokenizer.decode(ids);
    };
    // A small one of each kind.
    const auto words = WordTokenizer::train(std::vector<std::string>{"ab cd"}, {.separators = ","});
    const std::string word_level = write_tokenizer_json(words->spec(), "");
    CHECK(feed_damaged(word_level, [&](std::string_view text) {
            encode(*make_tokenizer(read_tokenizer_json(text, "t")));
          }).unexpected == "");
    TokenizerSpec spec = read_tokenizer_json(read_file(golden_path("tokenizer_bert.json")), "t");
    Vocabulary few;
    for (int32_t id = 0; id < 12; ++id) few.add(spec.vocabulary.token(id));
    spec.vocabulary = few;
    const std::string pieces = write_tokenizer_json(spec, "");
    CHECK(feed_damaged(pieces, [&](std::string_view text) {
            encode(*make_tokenizer(read_tokenizer_json(text, "t")));
          }).unexpected == "");
    const std::string whole = read_file(golden_path("tokenizer_llama.json"));
    for (size_t length = 0; length < whole.size(); length += 37)
      CHECK_THROWS_AS(read_tokenizer_json(std::string_view(whole).substr(0, length), "t"), Error);

    const std::string vocabulary = R"({"a": 0, "b": 1, "ab": 2, "\u0120": 3})";
    const std::string path = folder.write("vocab.json", vocabulary);
    const HostileResult map =
        feed_damaged(vocabulary, [](std::string_view text) { read_vocabulary_json(text, "v"); });
    CHECK(map.unexpected == "");
    CHECK(map.accepted > 0);
    const auto with_merges = [&](std::string_view merges) {
      BytePairTokenizer::load(path, folder.write("merges.txt", std::string(merges)));
    };
    CHECK_THROWS_WITH_AS(with_merges("#version: 0.2\na b\na\n"), doctest::Contains("line 3: 'a' is no pair"),
                         Error);
    CHECK_THROWS_WITH_AS(with_merges("a b\nb c\n"), doctest::Contains("line 2: has no token 'c'"), Error);
    CHECK_THROWS_WITH_AS(with_merges("a b\r\n"), doctest::Contains("lacks the byte"), Error);

    const std::string lines = "[PAD]\n[UNK]\n[CLS]\n[SEP]\nab\n##c\n\xc3\xa9\n";
    const HostileResult pieces_of_lines = feed_damaged(lines, [&](std::string_view text) {
      encode(*WordPieceTokenizer::load(folder.write("vocab.txt", std::string(text))));
    });
    CHECK(pieces_of_lines.unexpected == "");
    CHECK(pieces_of_lines.accepted > 0);
    const auto with_lines = [&](const std::string& text) {
      WordPieceTokenizer::load(folder.write("v.txt", text));
    };
    CHECK_THROWS_WITH_AS(with_lines(lines + "ab\n"),
                         doctest::Contains("line 8: the token 'ab' is there twice"), Error);
    CHECK_THROWS_WITH_AS(with_lines(lines + "\nx"), doctest::Contains("line 8: the token with id 7 is empty"),
                         Error);
    CHECK_THROWS_WITH_AS(with_lines(lines + "\xff\n"), doctest::Contains("line 8: is no valid UTF-8"), Error);
    CHECK_THROWS_WITH_AS(with_lines("a\nb\n"), doctest::Contains("has no token [UNK]"), Error);
    // A cased one says so beside it.
    folder.write("vocab.txt", lines + "A\na\n");
    CHECK(load_tokenizer(folder / "vocab.txt")->encode("A")[1] == 8);
    folder.write("tokenizer_config.json", R"({"do_lower_case": false})");
    std::filesystem::remove(folder / "vocab.json");
    CHECK(load_tokenizer(folder.path())->encode("A")[1] == 7);
  }
}
