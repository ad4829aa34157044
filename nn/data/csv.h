// CSV tables (RFC 4180): quoted fields with "" for a quote and line breaks inside, LF or CRLF.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/core/array.h"

namespace stithy {

struct CsvOptions {
  char delimiter = ',';
  bool header = true;  // without one, columns are named "0", "1" ...
};

class CsvTable {
 public:
  // Parses `text`; errors carry `where` and the line. Throws Error for a row of another length, a quote
  // inside an unquoted field, text after a closing quote, a quote left open, a column named twice and
  // more than 65,536 columns.
  // A byte-order mark and blank lines (where there is more than one column) are skipped.
  CsvTable(std::string_view text, const std::string& where, const CsvOptions& options = {});

  int64_t rows() const { return static_cast<int64_t>(lines_.size()); }
  const std::vector<std::string>& header() const { return header_; }
  std::string_view cell(int64_t row, int64_t column) const;
  // Throws Error with the known names.
  int64_t column(std::string_view name) const;
  // The line, from 1, where a row begins.
  int64_t line(int64_t row) const { return lines_[static_cast<size_t>(row)]; }
  // Keeps the rows in which none of the named columns (all, when none is named) is missing.
  CsvTable without_missing(const std::vector<std::string>& names = {}) const;

  // f32 [rows, names]. A missing value becomes NaN where `missing_to_nan` is set, and throws otherwise;
  // anything else that is no number throws Error with the line.
  Array numbers(const std::vector<std::string>& names, bool missing_to_nan = false) const;

  struct Categories {
    Array ids;                            // i32 [rows]; -1 where missing
    std::vector<std::string> vocabulary;  // sorted
  };
  // Numbers the different texts of a column. With a vocabulary given (that of the training data), a text
  // outside it throws Error.
  Categories categories(std::string_view name, std::vector<std::string> vocabulary = {}) const;

 private:
  std::string where_, text_;  // unquoted cells, one after another
  std::vector<size_t> ends_;  // where each cell ends in text_; one more entry, 0, in front
  std::vector<int64_t> lines_;
  std::vector<std::string> header_;
};

// Empty, NA, N/A, NaN, null, None or ?, whatever the case.
bool is_missing(std::string_view cell);

CsvTable read_csv(const std::string& path, const CsvOptions& options = {});

}  // namespace stithy
