#include "nn/data/csv.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <set>

#include "engine/core/error.h"
#include "engine/core/file.h"

namespace stithy {
namespace {

constexpr size_t kMaxColumns = 65536;

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  return begin == text.npos ? std::string_view()
                            : text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

std::string in_line(int64_t line) { return cat("line ", line, ": "); }

// A long cell is cut in messages.
std::string quoted(std::string_view cell) {
  return cat("'", cell.substr(0, 40), cell.size() > 40 ? "...'" : "'");
}

}  // namespace

bool is_missing(std::string_view cell) {
  std::string lower(trimmed(cell));
  for (char& c : lower) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  for (const char* name : {"", "na", "n/a", "nan", "null", "none", "?"})
    if (lower == name) return true;
  return false;
}

CsvTable::CsvTable(std::string_view text, const std::string& where, const CsvOptions& options)
    : where_(where), ends_{0} {
  const auto fail = [&](int64_t line, const std::string& message) {
    throw Error(where, in_line(line) + message);
  };
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  int64_t line = 1, row_line = 1;
  size_t width = 0, cells_before = 0;
  bool first = true;

  const auto end_cell = [&] { ends_.push_back(text_.size()); };
  const auto end_row = [&] {
    const size_t cells = ends_.size() - 1 - cells_before;
    const bool blank = cells == 1 && ends_.back() == ends_[ends_.size() - 2];
    if (first && cells > kMaxColumns) fail(row_line, cat("has ", cells, " fields, more than ", kMaxColumns));
    if (first && options.header) {
      std::set<std::string> seen;
      for (size_t c = 0; c < cells; ++c) {
        header_.emplace_back(text_, ends_[c], ends_[c + 1] - ends_[c]);
        if (!seen.insert(header_.back()).second)
          fail(row_line, cat("column ", quoted(header_.back()), " is named twice"));
      }
      text_.clear();
      ends_ = {0};
      width = cells;
    } else if (blank && !first && width > 1) {
      ends_.pop_back();
    } else {
      if (first) {
        for (size_t c = 0; c < cells; ++c) header_.push_back(std::to_string(c));
        width = cells;
      }
      if (cells != width) fail(row_line, cat("has ", cells, " fields, expected ", width));
      lines_.push_back(row_line);
    }
    first = false;
    cells_before = ends_.size() - 1;
  };

  size_t i = 0;
  bool open = false;  // a row has begun
  while (i < text.size()) {
    if (!open) row_line = line;
    open = true;
    if (text[i] == '"') {
      for (++i;; ++i) {
        if (i == text.size()) fail(row_line, "a quote is not closed");
        if (text[i] == '"') {
          if (i + 1 == text.size() || text[i + 1] != '"') break;
          ++i;
        }
        line += text[i] == '\n';
        text_ += text[i];
      }
      ++i;
      if (i < text.size() && text[i] != options.delimiter && text[i] != '\n' && text.substr(i, 2) != "\r\n")
        fail(line, "text follows a closing quote");
    } else {
      while (i < text.size() && text[i] != options.delimiter && text[i] != '\n' &&
             text.substr(i, 2) != "\r\n") {
        if (text[i] == '"') fail(line, "a quote stands inside a field that is not quoted");
        text_ += text[i++];
      }
    }
    end_cell();
    if (i < text.size() && text[i] == options.delimiter) {
      ++i;
      if (i < text.size()) continue;
      end_cell();  // the file ends in a delimiter
    }
    if (i < text.size()) {
      i += text[i] == '\r' ? 2 : 1;
      ++line;
    }
    end_row();
    open = false;
  }
  if (header_.empty()) throw Error(where, options.header ? "has no header line" : "has no rows");
}

std::string_view CsvTable::cell(int64_t row, int64_t column) const {
  const size_t i = static_cast<size_t>(row) * header_.size() + static_cast<size_t>(column);
  return std::string_view(text_).substr(ends_[i], ends_[i + 1] - ends_[i]);
}

int64_t CsvTable::column(std::string_view name) const {
  const auto found = std::find(header_.begin(), header_.end(), name);
  if (found != header_.end()) return found - header_.begin();
  std::string names;
  for (const std::string& known : header_) names += (names.empty() ? "" : ", ") + known;
  throw Error(where_, cat("has no column ", quoted(name)), cat("its columns are ", names));
}

CsvTable CsvTable::without_missing(const std::vector<std::string>& names) const {
  std::vector<int64_t> columns;
  for (const std::string& name : names.empty() ? header_ : names) columns.push_back(column(name));
  CsvTable kept = *this;
  kept.text_.clear();
  kept.ends_ = {0};
  kept.lines_.clear();
  for (int64_t row = 0; row < rows(); ++row) {
    if (std::any_of(columns.begin(), columns.end(), [&](int64_t c) { return is_missing(cell(row, c)); }))
      continue;
    for (int64_t c = 0; c < static_cast<int64_t>(header_.size()); ++c) {
      kept.text_ += cell(row, c);
      kept.ends_.push_back(kept.text_.size());
    }
    kept.lines_.push_back(line(row));
  }
  return kept;
}

Array CsvTable::numbers(const std::vector<std::string>& names, bool missing_to_nan) const {
  Array result({rows(), static_cast<int64_t>(names.size())}, DType::f32);
  const std::span<float> out = result.values<float>();
  for (size_t k = 0; k < names.size(); ++k) {
    const int64_t c = column(names[k]);
    for (int64_t row = 0; row < rows(); ++row) {
      std::string_view text = trimmed(cell(row, c));
      double value = std::numeric_limits<double>::quiet_NaN();
      if (is_missing(text)) {
        if (!missing_to_nan)
          throw Error(where_, cat(in_line(line(row)), "column '", names[k], "' is missing"),
                      "drop such rows by without_missing(), or read them as NaN");
      } else {
        if (text.starts_with('+')) text.remove_prefix(1);
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        if (error != std::errc() || end != text.data() + text.size() ||
            !std::isfinite(static_cast<float>(value)))
          throw Error(where_,
                      cat(in_line(line(row)), "column '", names[k], "': ", quoted(text), " is no number"));
      }
      out[static_cast<size_t>(row) * names.size() + k] = static_cast<float>(value);
    }
  }
  return result;
}

CsvTable::Categories CsvTable::categories(std::string_view name, std::vector<std::string> vocabulary) const {
  const int64_t c = column(name);
  const bool given = !vocabulary.empty();
  if (!given) {
    std::set<std::string_view> different;
    for (int64_t row = 0; row < rows(); ++row)
      if (!is_missing(cell(row, c))) different.insert(trimmed(cell(row, c)));
    vocabulary.assign(different.begin(), different.end());
  } else if (!std::is_sorted(vocabulary.begin(), vocabulary.end())) {
    throw Error(where_, "a given vocabulary must be sorted");
  }
  Categories result{Array({rows()}, DType::i32), std::move(vocabulary)};
  const std::span<int32_t> ids = result.ids.values<int32_t>();
  for (int64_t row = 0; row < rows(); ++row) {
    const std::string_view text = trimmed(cell(row, c));
    const auto found = std::lower_bound(result.vocabulary.begin(), result.vocabulary.end(), text);
    const bool known = found != result.vocabulary.end() && *found == text;
    if (!known && !is_missing(text))
      throw Error(where_, cat(in_line(line(row)), "column '", name, "': ", quoted(text),
                              " is not in the vocabulary"));
    ids[static_cast<size_t>(row)] = known ? static_cast<int32_t>(found - result.vocabulary.begin()) : -1;
  }
  return result;
}

CsvTable read_csv(const std::string& path, const CsvOptions& options) {
  return CsvTable(read_file(path), path, options);
}

}  // namespace stithy
