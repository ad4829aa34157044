#include "nn/run/run_folder.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "engine/core/error.h"
#include "engine/core/file.h"

namespace stithy {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char *kConfig = "config.json", *kLog = "metrics.jsonl", *kTable = "metrics.csv",
                     *kResult = "result.json";
constexpr uint64_t kLogLimit = uint64_t{1} << 30;

std::string dump(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace) + "\n";
}

Json to_json(const Metrics& values) {
  Json json = Json::object();
  for (const auto& [name, value] : values) json[name] = value;  // dumped as null where not finite
  return json;
}

std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == text.npos) return text;
  std::string quoted = "\"";
  for (char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

// Nesting is cut off early: the parser would recurse, or build, without bound otherwise.
Json parse(const std::string& text) {
  return Json::parse(text, [](int depth, Json::parse_event_t, Json&) {
    if (depth > 2) throw std::invalid_argument("depth");
    return true;
  });
}

MetricsRow parse_row(const std::string& line) {
  const Json json = parse(line);
  MetricsRow row;
  if (!json.is_object() || !json.contains("step") || !json["step"].is_number_integer())
    throw std::invalid_argument("no step");
  row.step = json["step"].get<int64_t>();
  for (const auto& [name, value] : json.items()) {
    if (name == "step") continue;
    if (!value.is_number() && !value.is_null()) throw std::invalid_argument("no number");
    row.values.emplace_back(name,
                            value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>());
  }
  return row;
}

// Calls visit(line with its end, row) for each complete line.
template <class Visit>
void each_row(const std::string& path, Visit visit) {
  const std::string text = read_file(path, kLogLimit);
  int64_t number = 1;
  for (size_t begin = 0, end; (end = text.find('\n', begin)) != text.npos; begin = end + 1, ++number) {
    const std::string line = text.substr(begin, end + 1 - begin);
    MetricsRow row;
    try {
      row = parse_row(line);
    } catch (const std::exception&) {
      throw Error(path, cat("line ", number, " is no object of numbers with a step"));
    }
    visit(line, row);
  }
}

}  // namespace

std::vector<MetricsRow> read_metrics(const std::string& path) {
  std::vector<MetricsRow> rows;
  each_row(path, [&](const std::string&, MetricsRow& row) { rows.push_back(std::move(row)); });
  return rows;
}

Config read_config(const std::string& path) {
  Config config;
  try {
    const Json json = parse(read_file(path, 1 << 20));
    if (!json.is_object()) throw std::invalid_argument("no object");
    for (const auto& [name, value] : json.items()) config.emplace_back(name, value.get<std::string>());
  } catch (const Error&) {
    throw;
  } catch (const std::exception&) {
    throw Error(path, "is no JSON object of strings");
  }
  return config;
}

RunFolder RunFolder::create(const std::string& path, const Config& config) {
  RunFolder folder(path);
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) throw Error(path, cat("the run folder cannot be made: ", error.message()));
  if (std::filesystem::exists(folder / kConfig)) {
    const Config old = read_config(folder / kConfig);
    const std::map<std::string, std::string> before(old.begin(), old.end()),
        now(config.begin(), config.end());
    for (const auto& [name, value] : now) {
      const auto found = before.find(name);
      if (found == before.end() || found->second != value)
        throw Error(
            path,
            cat("holds a run with ", found == before.end() ? "no " : "", name,
                found == before.end() ? "" : cat(" '", found->second, "'"), "; this one has '", value, "'"),
            "choose another folder by --out, or delete this one");
    }
    if (before.size() != now.size())
      throw Error(path, "holds a run of another config",
                  "choose another folder by --out, or delete this one");
    // The old result goes first: a half-started run must not look finished.
    for (const char* name : {kResult, kTable}) std::filesystem::remove(folder / name, error);
  }
  Json json = Json::object();
  for (const auto& [name, value] : config) json[name] = value;
  write_file_atomically(folder / kConfig, dump(json, 2));
  folder.open_log("w");
  return folder;
}

RunFolder RunFolder::resume(const std::string& path, int64_t step) {
  RunFolder folder(path);
  if (!std::filesystem::exists(folder / kConfig))
    throw Error(path, "holds no run that could be resumed: there is no config.json");
  std::string kept;
  if (std::filesystem::exists(folder / kLog))
    each_row(folder / kLog, [&](const std::string& line, const MetricsRow& row) {
      if (row.step <= step) kept += line;
    });
  write_file_atomically(folder / kLog, kept);
  std::error_code ignored;
  std::filesystem::remove(folder / kResult, ignored);
  folder.open_log("a");
  return folder;
}

void RunFolder::open_log(const char* mode) {
  log_.reset(std::fopen((*this / kLog).c_str(), mode));
  if (!log_) throw Error(*this / kLog, cat("opening failed: ", std::strerror(errno)));
}

void RunFolder::log(int64_t step, const Metrics& values) {
  Json json = {{"step", step}};
  json.update(to_json(values));
  const std::string line = dump(json, -1);
  if (std::fwrite(line.data(), 1, line.size(), log_.get()) != line.size() || std::fflush(log_.get()) != 0)
    throw Error(*this / kLog, cat("write failed: ", std::strerror(errno)));
}

std::vector<MetricsRow> RunFolder::metrics() const { return read_metrics(*this / kLog); }
bool RunFolder::finished() const { return std::filesystem::exists(*this / kResult); }

void RunFolder::finish(const Metrics& result) {
  const std::vector<MetricsRow> rows = metrics();
  std::vector<std::string> names;
  std::map<std::string, size_t> column;
  for (const MetricsRow& row : rows)
    for (const auto& [name, value] : row.values)
      if (column.emplace(name, names.size()).second) names.push_back(name);
  std::string text = "step";
  for (const std::string& name : names) text += "," + csv_cell(name);
  text += "\n";
  for (const MetricsRow& row : rows) {
    std::vector<std::string> cells(names.size());
    for (const auto& [name, value] : row.values)
      cells[column[name]] = std::isfinite(value) ? Json(value).dump() : "nan";
    text += std::to_string(row.step);
    for (const std::string& cell : cells) text += "," + cell;
    text += "\n";
  }
  write_file_atomically(*this / kTable, text);
  write_file_atomically(*this / kResult, dump(to_json(result), 2));
}

}  // namespace stithy
