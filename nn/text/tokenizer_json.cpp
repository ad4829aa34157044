#include "nn/text/tokenizer_json.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/core/error.h"

namespace stithy {
namespace {

using Json = nlohmann::json;
using Ordered = nlohmann::ordered_json;
using Part = TokenTemplate::Part;

constexpr int kDepth = 64;
constexpr std::string_view kCharacterPattern = "[\\s\\S]";

Json parse(std::string_view text, const std::string& where) {
  std::vector<std::set<std::string>> keys;
  const auto check = [&](int depth, Json::parse_event_t event, Json& value) {
    if (depth > kDepth) throw Error(where, cat("is nested deeper than ", kDepth));
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.back().insert(value.get<std::string>()).second)
      throw Error(where, cat("has the key ", in_quotes(value.get<std::string>()), " twice"));
    return true;
  };
  try {
    return Json::parse(text, check);
  } catch (const Json::exception& error) {
    throw Error(where, cat("is no valid JSON: ", error.what()));
  }
}

// A part of the file, whose path messages name.
class Node {
 public:
  Node(const std::string& where, std::string path, const Json& json)
      : where_(where), path_(std::move(path)), json_(json) {}

  [[noreturn]] void fail(const std::string& message, const std::string& hint = {}) const {
    throw Error(where_, path_.empty() ? message : cat(path_, ": ", message), hint);
  }
  const std::string& where() const { return where_; }
  bool is_null() const { return json_.is_null(); }
  bool has(const char* key) const {
    return json_.is_object() && json_.contains(key) && !json_[key].is_null();
  }
  Node operator[](const char* key) const {
    if (!json_.is_object()) fail("is no object");
    if (!json_.contains(key)) fail(cat("lacks ", key));
    return {where_, path_.empty() ? key : cat(path_, ".", key), json_[key]};
  }
  std::vector<Node> items() const {
    if (!json_.is_array()) fail("is no array");
    std::vector<Node> list;
    for (size_t i = 0; i < json_.size(); ++i) list.push_back({where_, cat(path_, "[", i, "]"), json_[i]});
    return list;
  }
  const Json& json() const { return json_; }
  std::string text() const {
    if (!json_.is_string()) fail("is no string");
    return json_.get<std::string>();
  }
  bool flag() const {
    if (!json_.is_boolean()) fail("is neither true nor false");
    return json_.get<bool>();
  }
  bool flag(const char* key, bool otherwise) const { return has(key) ? (*this)[key].flag() : otherwise; }
  int32_t number() const {
    if (!json_.is_number_unsigned() || json_.get<uint64_t>() > INT32_MAX)
      fail("is no whole number below 2^31");
    return json_.get<int32_t>();
  }
  std::string type() const { return (*this)["type"].text(); }
  // For options that only one value of is carried out.
  void only(const char* key, const Json& value) const {
    if (has(key) && json_[key] != value)
      fail(cat(key, " ", json_[key].dump(), " is not supported, only ", value.dump()));
  }
  [[noreturn]] void unknown_type(const char* known) const {
    fail(cat("the type ", in_quotes(type()), " is not supported"), cat("known are ", known));
  }

 private:
  const std::string& where_;
  std::string path_;
  const Json& json_;
};

// Ids stay below the bytes of the file: a real one has no such gaps, and it bounds what is allocated.
void add_token(Vocabulary& vocabulary, const Node& node, std::string_view token, int32_t id,
               size_t file_bytes) {
  if (static_cast<size_t>(id) >= file_bytes)
    node.fail(cat("the id ", id, " of ", in_quotes(token), " leaves gaps larger than the file"));
  try {
    vocabulary.add(token, id);
  } catch (const Error& error) {
    node.fail(error.message());
  }
}

Vocabulary read_vocabulary(const Node& node, size_t file_bytes) {
  if (!node.json().is_object()) node.fail("is no object");
  Vocabulary vocabulary;
  for (const auto& [token, id] : node.json().items())
    add_token(vocabulary, node, token, Node(node.where(), cat("the id of ", in_quotes(token)), id).number(),
              file_bytes);
  return vocabulary;
}

// The parts of a Sequence, or the one part.
std::vector<Node> sequence(const Node& node, const char* list) {
  if (node.is_null()) return {};
  if (node.type() != "Sequence") return {node};
  std::vector<Node> parts;
  for (const Node& item : node[list].items())
    for (const Node& part : sequence(item, list)) parts.push_back(part);
  return parts;
}

void read_normalizer(const Node& node, TokenizerSpec& spec) {
  using Kind = TextNormalizer::Kind;
  static const std::vector<std::pair<std::string, Kind>> plain = {
      {"NFC", Kind::nfc},   {"NFD", Kind::nfd},         {"NFKC", Kind::nfkc},
      {"NFKD", Kind::nfkd}, {"Lowercase", Kind::lower}, {"StripAccents", Kind::strip_accents}};
  for (const Node& part : sequence(node, "normalizers")) {
    const std::string type = part.type();
    const auto found =
        std::find_if(plain.begin(), plain.end(), [&](const auto& known) { return known.first == type; });
    if (found != plain.end()) {
      spec.normalizer.steps.push_back({found->second});
    } else if (type == "BertNormalizer") {
      BertNormalization bert;
      bert.clean = part.flag("clean_text", true);
      bert.space_cjk = part.flag("handle_chinese_chars", true);
      if (part.has("strip_accents")) bert.strip_accents = part["strip_accents"].flag();
      bert.lower = part.flag("lowercase", true);
      spec.normalizer.steps.push_back({Kind::bert, bert});
    } else {
      part.unknown_type("NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, BertNormalizer and Sequence");
    }
  }
}

// The characters of "[...\s]+", as separators_pattern() writes it.
std::optional<std::string> read_separators(std::string_view pattern) {
  constexpr std::string_view end = "\\s]+";
  if (!pattern.starts_with('[') || !pattern.ends_with(end) || pattern.size() < 1 + end.size())
    return std::nullopt;
  const std::string_view body = pattern.substr(1, pattern.size() - 1 - end.size());
  std::string characters;
  for (size_t i = 0; i < body.size(); ++i) {
    if (body[i] != '\\' || ++i == body.size() || std::isalnum(static_cast<unsigned char>(body[i])))
      return std::nullopt;
    characters += body[i];
  }
  return characters;
}

std::string separators_pattern(std::string_view characters) {
  std::string pattern = "[";
  for (const char c : characters) (pattern += '\\') += c;
  return pattern + "\\s]+";
}

void read_split(const Node& part, TokenizerSpec& spec) {
  using Kind = PreTokenizer::Kind;
  part.only("invert", false);
  const std::string behavior = part["behavior"].text();
  if (!part["pattern"].has("Regex")) part.fail("a split by a plain string is not supported");
  const std::string pattern = part["pattern"]["Regex"].text();
  if (behavior == "Isolated") {
    if (const auto known = find_split_pattern(pattern)) {
      spec.pre_tokenizer.steps.push_back({.kind = Kind::split, .pattern = *known});
      return;
    }
    if (pattern == kCharacterPattern) {
      spec.pre_tokenizer.steps.push_back({.kind = Kind::characters});
      return;
    }
  } else if (const auto separators = read_separators(pattern); separators && behavior == "Removed") {
    spec.pre_tokenizer.steps.push_back({.kind = Kind::separators, .separators = *separators});
    return;
  }
  part.fail(cat("the pattern '", pattern, "' (", behavior, ") is not supported"),
            "known are those of GPT-2, cl100k (Llama 3), Qwen2 and o200k, Isolated");
}

void read_pre_tokenizer(const Node& node, TokenizerSpec& spec) {
  using Kind = PreTokenizer::Kind;
  std::vector<PreTokenizer::Step>& steps = spec.pre_tokenizer.steps;
  for (const Node& part : sequence(node, "pretokenizers")) {
    const std::string type = part.type();
    if (type == "ByteLevel") {
      steps.push_back({.kind = Kind::byte_level,
                       .prefix_space = part.flag("add_prefix_space", true),
                       .divide = part.flag("use_regex", true)});
    } else if (type == "Split") {
      read_split(part, spec);
    } else if (type == "Digits") {
      steps.push_back({.kind = Kind::digits, .single_digits = part.flag("individual_digits", false)});
    } else if (type == "BertPreTokenizer") {
      steps.push_back({.kind = Kind::bert});
    } else if (type == "WhitespaceSplit") {
      steps.push_back({.kind = Kind::separators});
    } else {
      part.unknown_type("ByteLevel, Split, Digits, BertPreTokenizer, WhitespaceSplit and Sequence");
    }
  }
}

Part token_part(const Vocabulary& vocabulary, const Node& name, int32_t type) {
  const auto id = vocabulary.find(name.text());
  if (!id) name.fail(cat(in_quotes(name.text()), " is not in the vocabulary"));
  return {Part::Kind::token, *id, type};
}

TokenTemplate read_template(const Node& list, const Node& specials, const Vocabulary& vocabulary) {
  TokenTemplate result;
  for (const Node& item : list.items()) {
    if (item.has("SpecialToken")) {
      const Node token = item["SpecialToken"];
      const int32_t type = token["type_id"].number();
      for (const Node& name : specials[token["id"].text().c_str()]["tokens"].items())
        result.parts.push_back(token_part(vocabulary, name, type));
    } else {
      const Node text = item["Sequence"];
      const std::string id = text["id"].text();
      if (id != "A" && id != "B") text.fail(cat("the sequence ", in_quotes(id), " is neither A nor B"));
      result.parts.push_back(
          {id == "A" ? Part::Kind::first : Part::Kind::second, 0, text["type_id"].number()});
    }
  }
  return result;
}

void read_post_processor(const Node& node, TokenizerSpec& spec) {
  for (const Node& part : sequence(node, "processors")) {
    const std::string type = part.type();
    if (type == "ByteLevel") continue;  // of offsets
    if (type == "TemplateProcessing") {
      spec.single = read_template(part["single"], part["special_tokens"], spec.vocabulary);
      spec.pair = read_template(part["pair"], part["special_tokens"], spec.vocabulary);
    } else if (type == "BertProcessing" || type == "RobertaProcessing") {
      const bool bert = type == "BertProcessing";
      const auto special = [&](const char* key) {
        const std::vector<Node> pair = part[key].items();
        if (pair.size() != 2) part[key].fail("is no pair of token and id");
        return token_part(spec.vocabulary, pair[0], 0);
      };
      const Part cls = special("cls"), sep = special("sep");
      const Part first{Part::Kind::first}, second{Part::Kind::second, 0, bert};
      spec.single.parts = {cls, first, sep};
      spec.pair.parts = {cls, first, sep};
      if (!bert) spec.pair.parts.push_back(sep);
      spec.pair.parts.insert(spec.pair.parts.end(), {second, {Part::Kind::token, sep.id, bert}});
    } else {
      part.unknown_type("TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel and Sequence");
    }
  }
}

void read_model(const Node& node, size_t file_bytes, TokenizerSpec& spec) {
  // Files of old versions do not name the type.
  const std::string type = node.has("type") ? node.type() : node.has("merges") ? "BPE" : "WordPiece";
  spec.vocabulary = read_vocabulary(node["vocab"], file_bytes);
  if (node.has("unk_token")) spec.unknown = node["unk_token"].text();
  if (type == "BPE") {
    spec.model = TokenizerSpec::Model::byte_pair;
    spec.unknown.clear();  // all bytes are known
    node.only("dropout", 0.0);
    node.only("continuing_subword_prefix", "");
    node.only("end_of_word_suffix", "");
    node.only("byte_fallback", false);
    spec.whole_pieces = node.flag("ignore_merges", false);
    for (const Node& merge : node["merges"].items()) {
      try {
        if (merge.json().is_string()) {
          spec.merges.push_back(find_merge(spec.vocabulary, merge.text()));
          continue;
        }
        const std::vector<Node> pair = merge.items();
        if (pair.size() != 2) merge.fail("is no pair");
        spec.merges.push_back({spec.vocabulary.id(pair[0].text()), spec.vocabulary.id(pair[1].text())});
      } catch (const Error& error) {
        if (error.where() == node.where()) throw;
        merge.fail(error.message());
      }
    }
  } else if (type == "WordPiece") {
    spec.model = TokenizerSpec::Model::word_piece;
    if (node.has("continuing_subword_prefix")) spec.continuation = node["continuing_subword_prefix"].text();
    if (node.has("max_input_chars_per_word")) spec.longest_word = node["max_input_chars_per_word"].number();
  } else if (type == "WordLevel") {
    spec.model = TokenizerSpec::Model::words;
  } else {
    node.unknown_type("BPE (byte-level), WordPiece and WordLevel");
  }
}

void read_decoder(const Node& node, TokenizerSpec& spec) {
  if (node.is_null()) return;
  const std::string type = node.type();
  const bool fits = spec.model == TokenizerSpec::Model::byte_pair    ? type == "ByteLevel"
                    : spec.model == TokenizerSpec::Model::word_piece ? type == "WordPiece"
                                                                     : type == "Fuse";
  if (!fits) node.fail(cat("the decoder ", in_quotes(type), " is not supported for this model"));
  if (type == "Fuse") spec.spaced = false;
  if (type == "WordPiece") {
    node.only("prefix", spec.continuation);
    node.only("cleanup", true);
  }
}

void read_added_tokens(const Node& node, size_t file_bytes, TokenizerSpec& spec) {
  for (const Node& item : node.items()) {
    item.only("single_word", false);
    AddedToken added{.text = item["content"].text(),
                     .special = item.flag("special", false),
                     .left_strip = item.flag("lstrip", false),
                     .right_strip = item.flag("rstrip", false),
                     .normalized = item.flag("normalized", false)};
    const int32_t id = item["id"].number();
    const auto known = spec.vocabulary.find(added.text);
    if (known && *known != id)
      item.fail(cat(in_quotes(added.text), " has the id ", id, ", in the vocabulary ", *known));
    if (!known) add_token(spec.vocabulary, item, added.text, id, file_bytes);
    spec.added.push_back(std::move(added));
  }
}

Ordered write_normalizer(const TextNormalizer& normalizer) {
  Ordered list = Ordered::array();
  for (const TextNormalizer::Step& step : normalizer.steps) switch (step.kind) {
      case TextNormalizer::Kind::nfc: list.push_back({{"type", "NFC"}}); break;
      case TextNormalizer::Kind::nfd: list.push_back({{"type", "NFD"}}); break;
      case TextNormalizer::Kind::nfkc: list.push_back({{"type", "NFKC"}}); break;
      case TextNormalizer::Kind::nfkd: list.push_back({{"type", "NFKD"}}); break;
      case TextNormalizer::Kind::lower: list.push_back({{"type", "Lowercase"}}); break;
      case TextNormalizer::Kind::strip_accents: list.push_back({{"type", "StripAccents"}}); break;
      case TextNormalizer::Kind::bert:
        list.push_back(
            {{"type", "BertNormalizer"},
             {"clean_text", step.bert.clean},
             {"handle_chinese_chars", step.bert.space_cjk},
             {"strip_accents", step.bert.strip_accents ? Ordered(*step.bert.strip_accents) : Ordered()},
             {"lowercase", step.bert.lower}});
        break;
    }
  if (list.empty()) return nullptr;
  return list.size() == 1 ? list[0] : Ordered{{"type", "Sequence"}, {"normalizers", list}};
}

Ordered split_json(std::string_view pattern, const char* behavior) {
  return {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", behavior}, {"invert", false}};
}

Ordered write_pre_tokenizer(const PreTokenizer& pre_tokenizer) {
  Ordered list = Ordered::array();
  for (const PreTokenizer::Step& step : pre_tokenizer.steps) switch (step.kind) {
      case PreTokenizer::Kind::split:
        list.push_back(split_json(regular_expression(step.pattern), "Isolated"));
        break;
      case PreTokenizer::Kind::byte_level:
        list.push_back({{"type", "ByteLevel"},
                        {"add_prefix_space", step.prefix_space},
                        {"trim_offsets", true},
                        {"use_regex", step.divide}});
        break;
      case PreTokenizer::Kind::digits:
        list.push_back({{"type", "Digits"}, {"individual_digits", step.single_digits}});
        break;
      case PreTokenizer::Kind::separators:
        list.push_back(split_json(separators_pattern(step.separators), "Removed"));
        break;
      case PreTokenizer::Kind::bert: list.push_back({{"type", "BertPreTokenizer"}}); break;
      case PreTokenizer::Kind::characters: list.push_back(split_json(kCharacterPattern, "Isolated")); break;
    }
  if (list.empty()) return nullptr;
  return list.size() == 1 ? list[0] : Ordered{{"type", "Sequence"}, {"pretokenizers", list}};
}

Ordered write_template(const TokenTemplate& around, const Vocabulary& vocabulary, Ordered& specials) {
  Ordered list = Ordered::array();
  for (const Part& part : around.parts) {
    if (part.kind == Part::Kind::token) {
      const std::string& token = vocabulary.token(part.id);
      list.push_back({{"SpecialToken", {{"id", token}, {"type_id", part.type}}}});
      specials[token] = {{"id", token}, {"ids", {part.id}}, {"tokens", {token}}};
    } else {
      const char* id = part.kind == Part::Kind::first ? "A" : "B";
      list.push_back({{"Sequence", {{"id", id}, {"type_id", part.type}}}});
    }
  }
  return list;
}

}  // namespace

TokenizerSpec read_tokenizer_json(std::string_view text, const std::string& where) {
  const Json json = parse(text, where);
  const Node root(where, "", json);
  const Json none;
  const auto section = [&](const char* name) {
    return root.has(name) ? root[name] : Node(where, name, none);
  };
  TokenizerSpec spec;
  read_model(root["model"], text.size(), spec);
  if (root.has("added_tokens")) read_added_tokens(root["added_tokens"], text.size(), spec);
  read_normalizer(section("normalizer"), spec);
  read_pre_tokenizer(section("pre_tokenizer"), spec);
  read_post_processor(section("post_processor"), spec);
  read_decoder(section("decoder"), spec);
  return spec;
}

std::string write_tokenizer_json(const TokenizerSpec& spec, const std::string& where) {
  const Vocabulary& vocabulary = spec.vocabulary;
  Ordered added = Ordered::array();
  std::set<int32_t> added_ids;
  for (const AddedToken& token : spec.added) {
    const int32_t id = vocabulary.id(token.text);
    added_ids.insert(id);
    added.push_back({{"id", id},
                     {"content", token.text},
                     {"single_word", false},
                     {"lstrip", token.left_strip},
                     {"rstrip", token.right_strip},
                     {"normalized", token.normalized},
                     {"special", token.special}});
  }
  std::sort(added.begin(), added.end(), [](const Ordered& a, const Ordered& b) { return a["id"] < b["id"]; });
  Ordered tokens = Ordered::object();
  // By way of the list: looking every key up in an ordered object would take quadratic time.
  auto& list = tokens.get_ref<Ordered::object_t&>();
  for (int32_t id = 0; id < vocabulary.size(); ++id)
    if (vocabulary.has(id)) list.Container::emplace_back(vocabulary.token(id), id);

  Ordered model, decoder;
  switch (spec.model) {
    case TokenizerSpec::Model::byte_pair: {
      Ordered merges = Ordered::array();
      for (const auto& [left, right] : spec.merges)
        merges.push_back({vocabulary.token(left), vocabulary.token(right)});
      model = {{"type", "BPE"},
               {"dropout", nullptr},
               {"unk_token", nullptr},
               {"continuing_subword_prefix", nullptr},
               {"end_of_word_suffix", nullptr},
               {"fuse_unk", false},
               {"byte_fallback", false},
               {"ignore_merges", spec.whole_pieces}};
      model["vocab"] = std::move(tokens);
      model["merges"] = std::move(merges);
      decoder = {
          {"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}};
      break;
    }
    case TokenizerSpec::Model::word_piece:
      model = {{"type", "WordPiece"},
               {"unk_token", spec.unknown},
               {"continuing_subword_prefix", spec.continuation},
               {"max_input_chars_per_word", spec.longest_word}};
      model["vocab"] = std::move(tokens);
      decoder = {{"type", "WordPiece"}, {"prefix", spec.continuation}, {"cleanup", true}};
      break;
    case TokenizerSpec::Model::words:
      model = {{"type", "WordLevel"}};
      model["vocab"] = std::move(tokens);
      model["unk_token"] = spec.unknown;
      if (!spec.spaced) decoder = {{"type", "Fuse"}};
      break;
  }
  Ordered specials = Ordered::object();
  Ordered processor = {{"type", "TemplateProcessing"}};
  processor["single"] = write_template(spec.single, vocabulary, specials);
  processor["pair"] = write_template(spec.pair, vocabulary, specials);
  processor["special_tokens"] = specials;

  Ordered file = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
  file["added_tokens"] = std::move(added);
  file["normalizer"] = write_normalizer(spec.normalizer);
  file["pre_tokenizer"] = write_pre_tokenizer(spec.pre_tokenizer);
  file["post_processor"] = std::move(processor);
  file["decoder"] = std::move(decoder);
  file["model"] = std::move(model);
  try {
    return file.dump(1) + "\n";
  } catch (const Json::exception&) {
    throw Error(where, "a token is no valid UTF-8, and JSON cannot hold it");
  }
}

Vocabulary read_vocabulary_json(std::string_view text, const std::string& where) {
  const Json json = parse(text, where);
  return read_vocabulary(Node(where, "", json), text.size());
}

std::array<int32_t, 2> find_merge(const Vocabulary& vocabulary, std::string_view line) {
  const size_t space = line.find(' ');
  if (space == line.npos || line.find(' ', space + 1) != line.npos)
    throw Error("merge", cat(in_quotes(line), " is no pair of tokens"));
  return {vocabulary.id(line.substr(0, space)), vocabulary.id(line.substr(space + 1))};
}

bool read_lower_case(std::string_view text, const std::string& where) {
  const Json json = parse(text, where);
  return Node(where, "", json).flag("do_lower_case", true);
}

}  // namespace stithy
