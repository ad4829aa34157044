// Command-line options of a sample: bound to variables, checked, explained by --help.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace stithy {

struct Range {
  double low = -std::numeric_limits<double>::infinity(), high = std::numeric_limits<double>::infinity();
};

// Each option is bound to a variable, whose value when it is added is the default. Accepts "--lr 0.1" and
// "--lr=0.1"; a bool is a flag without a value.
class Arguments {
 public:
  // `summary` is one sentence on what the program does.
  Arguments(std::string program, std::string summary)
      : program_(std::move(program)), summary_(std::move(summary)) {}
  // `flag` begins with "--"; `placeholder` stands for the value in --help ("DIR"), by default the type.
  Arguments& add(const std::string& flag, int64_t* value, const std::string& doc, Range range = {});
  Arguments& add(const std::string& flag, uint64_t* value, const std::string& doc);
  Arguments& add(const std::string& flag, double* value, const std::string& doc, Range range = {});
  Arguments& add(const std::string& flag, std::string* value, const std::string& doc,
                 const std::string& placeholder = "TEXT");
  Arguments& add(const std::string& flag, bool* value, const std::string& doc);

  // Sets the variables. False, after --help was printed, when the program shall end. Throws Error, named
  // after the program, for an unknown option (with the nearest known one), one that is given twice, a
  // missing value, and a value that is no number or out of range.
  bool parse(int argc, const char* const* argv);
  std::string help() const;
  // Every option, without its dashes, and its value: what config.json records.
  std::vector<std::pair<std::string, std::string>> values() const;

 private:
  struct Option {
    std::string flag, placeholder, doc, initial;
    bool is_flag;
    std::function<void(const std::string&)> set;
    std::function<std::string()> get;
  };
  Arguments& add(Option option);
  std::string program_, summary_;
  std::vector<Option> options_;
};

// What every sample understands. A sample sets its own defaults before it calls add_run_options().
struct RunOptions {
  std::string device = "auto";
  std::string data = {};  // folder; empty: data that needs no download
  int64_t epochs = 10;    // 0: the sample counts steps alone
  int64_t steps = 0;      // more than 0: instead of epochs
  int64_t batch = 64;
  double lr = 1e-3;
  uint64_t seed = 0;
  std::string out = {};     // run folder; empty: none is written
  std::string resume = {};  // run folder to go on with
  bool fast_dev_run = false, overfit_batch = false;
};

// --device, --data, --epochs (where the defaults use it), --steps, --batch, --lr, --seed, --out,
// --resume, --fast-dev-run and --overfit-batch.
void add_run_options(Arguments& arguments, RunOptions& options);

}  // namespace stithy
