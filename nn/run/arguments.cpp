#include "nn/run/arguments.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <set>

#include "engine/core/error.h"

namespace stithy {
namespace {

// Levenshtein 1966: the fewest insertions, deletions and substitutions that make `b` of `a`.
size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j)
      diagonal =
          std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])}));
  }
  return row[b.size()];
}

template <class T>
std::string number_text(T value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

template <class T>
T parse_number(const std::string& where, const std::string& flag, const std::string& text, Range range) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const char* kind = std::is_floating_point_v<T> ? "a number"
                     : std::is_signed_v<T>       ? "a whole number"
                                                 : "a whole number from 0 on";
  if (error == std::errc::result_out_of_range) throw Error(where, cat(flag, " ", text, " is too large"));
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(static_cast<double>(value)))
    throw Error(where, cat(flag, " '", text, "' is not ", kind));
  const double number = static_cast<double>(value);
  if (number < range.low || number > range.high)
    throw Error(where, std::isinf(range.high) ? cat(flag, " ", text, " is below ", range.low)
                                              : cat(flag, " ", text, " is not in ", number_text(range.low),
                                                    " to ", number_text(range.high)));
  return value;
}

}  // namespace

Arguments& Arguments::add(Option option) {
  for (const Option& other : options_)
    if (other.flag == option.flag) throw Error(program_, cat("option ", option.flag, " is declared twice"));
  option.initial = option.get();
  options_.push_back(std::move(option));
  return *this;
}

Arguments& Arguments::add(const std::string& flag, int64_t* value, const std::string& doc, Range range) {
  return add(
      {flag, "N", doc, "", false,
       [=, this](const std::string& text) { *value = parse_number<int64_t>(program_, flag, text, range); },
       [=] { return number_text(*value); }});
}

Arguments& Arguments::add(const std::string& flag, uint64_t* value, const std::string& doc) {
  return add(
      {flag, "N", doc, "", false,
       [=, this](const std::string& text) { *value = parse_number<uint64_t>(program_, flag, text, {}); },
       [=] { return number_text(*value); }});
}

Arguments& Arguments::add(const std::string& flag, double* value, const std::string& doc, Range range) {
  return add(
      {flag, "X", doc, "", false,
       [=, this](const std::string& text) { *value = parse_number<double>(program_, flag, text, range); },
       [=] { return number_text(*value); }});
}

Arguments& Arguments::add(const std::string& flag, std::string* value, const std::string& doc,
                          const std::string& placeholder) {
  return add({flag, placeholder, doc, "", false, [=](const std::string& text) { *value = text; },
              [=] { return *value; }});
}

Arguments& Arguments::add(const std::string& flag, bool* value, const std::string& doc) {
  return add({flag, "", doc, "", true, [=](const std::string&) { *value = true; },
              [=] { return std::string(*value ? "true" : "false"); }});
}

bool Arguments::parse(int argc, const char* const* argv) {
  std::set<std::string> seen;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--help" || argument == "-h") {
      std::fputs(help().c_str(), stdout);
      return false;
    }
    const size_t equals = argument.find('=');
    const std::string flag = argument.substr(0, equals);
    const auto option =
        std::find_if(options_.begin(), options_.end(), [&](const Option& o) { return o.flag == flag; });
    if (option == options_.end()) {
      const auto nearest =
          std::min_element(options_.begin(), options_.end(), [&](const Option& a, const Option& b) {
            return edit_distance(flag, a.flag) < edit_distance(flag, b.flag);
          });
      const bool close = nearest != options_.end() &&
                         edit_distance(flag, nearest->flag) <= std::max<size_t>(2, flag.size() / 3);
      throw Error(program_, cat("unknown option ", flag),
                  close ? cat("did you mean ", nearest->flag, "? --help lists the options")
                        : "--help lists the options");
    }
    if (!seen.insert(flag).second) throw Error(program_, cat("option ", flag, " is given twice"));
    if (option->is_flag) {
      if (equals != argument.npos) throw Error(program_, cat(flag, " takes no value"));
      option->set("");
    } else if (equals != argument.npos) {
      option->set(argument.substr(equals + 1));
    } else if (i + 1 < argc && std::string(argv[i + 1]).rfind("--", 0) != 0) {
      option->set(argv[++i]);
    } else {
      throw Error(program_, cat(flag, " needs a value"),
                  cat(flag, " ", option->placeholder, ": ", option->doc));
    }
  }
  return true;
}

std::string Arguments::help() const {
  std::vector<std::pair<std::string, std::string>> lines;
  for (const Option& option : options_) {
    const bool has_default = !option.is_flag && !option.initial.empty();
    lines.emplace_back(option.flag + (option.is_flag ? "" : " " + option.placeholder),
                       option.doc + (has_default ? " [" + option.initial + "]" : ""));
  }
  lines.emplace_back("--help", "show this and end");
  size_t width = 0;
  for (const auto& line : lines) width = std::max(width, line.first.size());
  std::string text = cat(program_, ": ", summary_, "\n\noptions [default]\n");
  for (const auto& [flag, doc] : lines)
    text += cat("  ", flag, std::string(width + 2 - flag.size(), ' '), doc, "\n");
  return text;
}

std::vector<std::pair<std::string, std::string>> Arguments::values() const {
  std::vector<std::pair<std::string, std::string>> result;
  for (const Option& option : options_) result.emplace_back(option.flag.substr(2), option.get());
  return result;
}

void add_run_options(Arguments& arguments, RunOptions& options) {
  arguments
      .add("--device", &options.device, "auto, a number from `stithy doctor`, or part of a device's name",
           "NAME")
      .add("--data", &options.data, "folder with the data set; without it, data that needs no download",
           "DIR");
  if (options.epochs > 0)
    arguments.add("--epochs", &options.epochs, "passes over the training data", {1, 1e6});
  arguments.add(
      "--steps", &options.steps,
      options.epochs > 0 ? "training steps, instead of epochs; 0: as the epochs say" : "training steps",
      {options.epochs > 0 ? 0.0 : 1.0, 1e12});
  arguments.add("--batch", &options.batch, "items a step", {1, 1 << 20})
      .add("--lr", &options.lr, "learning rate, at its peak", {1e-12, 1e3})
      .add("--seed", &options.seed, "seed of initialisation, shuffling and dropout")
      .add("--out", &options.out,
           "folder for metrics, checkpoints and report.html; without it runs/NAME-1, -2 ...; none: no files",
           "DIR")
      .add("--resume", &options.resume, "folder of a run to go on with", "DIR")
      .add("--fast-dev-run", &options.fast_dev_run, "a few steps of everything, to see that it works")
      .add("--overfit-batch", &options.overfit_batch,
           "train on one batch only: the loss must go to almost 0");
}

}  // namespace stithy
