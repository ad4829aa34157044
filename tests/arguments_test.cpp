#include "nn/run/arguments.h"

#include <doctest/doctest.h>

#include "engine/core/error.h"

using namespace stithy;

namespace {
struct Sample {
  RunOptions run;
  int64_t hidden = 256;
  Arguments arguments{"sample", "Trains a sample."};
  Sample() {
    add_run_options(arguments, run);
    arguments.add("--hidden", &hidden, "width of the hidden layer", {1, 65536});
  }
  bool parse(std::vector<const char*> words) {
    words.insert(words.begin(), "sample");
    return arguments.parse(static_cast<int>(words.size()), words.data());
  }
};
void refused(std::vector<const char*> words, const char* reason) {
  CAPTURE(reason);
  Sample sample;
  CHECK_THROWS_WITH_AS(sample.parse(words), doctest::Contains(reason), Error);
}
}  // namespace

TEST_SUITE("arguments") {
  TEST_CASE("values, both spellings, flags") {
    Sample sample;
    CHECK(sample.parse({"--lr", "3e-4", "--batch=128", "--hidden", "64", "--fast-dev-run", "--out",
                        "runs/a b", "--seed", "18446744073709551615"}));
    CHECK(sample.run.lr == 3e-4);
    CHECK(sample.run.batch == 128);
    CHECK(sample.hidden == 64);
    CHECK(sample.run.fast_dev_run);
    CHECK_FALSE(sample.run.overfit_batch);
    CHECK(sample.run.out == "runs/a b");
    CHECK(sample.run.seed == ~uint64_t{0});
    CHECK(sample.run.epochs == 10);
    Sample untouched;
    CHECK(untouched.parse({}));
    CHECK(untouched.run.batch == 64);
  }

  TEST_CASE("errors name the option and a way out") {
    refused({"--batch", "0"}, "sample: --batch 0 is not in 1 to 1048576");
    refused({"--lr", "nan"}, "--lr 'nan' is not a number");
    refused({"--lr", "inf"}, "--lr 'inf' is not a number");
    refused({"--lr", "-1"}, "--lr -1 is not in 1e-12 to 1000");
    refused({"--lr", "1e999"}, "--lr 1e999 is too large");
    refused({"--epochs", "-1"}, "--epochs -1 is not in 1 to 1e+06");
    refused({"--epochs", "3.5"}, "--epochs '3.5' is not a whole number");
    refused({"--epochs", "99999999999999999999"}, "is too large");
    refused({"--epochs", ""}, "--epochs '' is not a whole number");
    refused({"--seed", "-1"}, "--seed '-1' is not a whole number from 0 on");
    refused({"--bacth", "3"}, "unknown option --bacth\nHINT: did you mean --batch?");
    refused({"--zzzzzzzz"}, "unknown option --zzzzzzzz\nHINT: --help lists");
    refused({"words"}, "unknown option words");
    refused({"--batch"}, "--batch needs a value");
    refused({"--batch", "--lr", "1"}, "--batch needs a value");
    refused({"--batch", "1", "--batch", "2"}, "--batch is given twice");
    refused({"--fast-dev-run=1"}, "takes no value");
    refused({"--steps", "-5"}, "--steps -5 is not in 0 to");
    Arguments twice("t", "");
    bool flag = false;
    CHECK_THROWS_AS(twice.add("--x", &flag, "").add("--x", &flag, ""), Error);
  }

  TEST_CASE("help and values") {
    Sample sample;
    const std::string help = sample.arguments.help();
    CHECK(help.find("sample: Trains a sample.\n") == 0);
    CHECK(help.find("  --hidden N       width of the hidden layer [256]\n") != help.npos);
    CHECK(help.find("  --data DIR       folder with the data set; ") != help.npos);
    CHECK(help.find("  --help           show this and end\n") != help.npos);
    sample.parse({"--hidden", "8"});
    CHECK(sample.arguments.help().find("[256]") != help.npos);  // the default, not the value
    const auto values = sample.arguments.values();
    CHECK(values.back() == std::pair<std::string, std::string>{"hidden", "8"});
    CHECK(values.front() == std::pair<std::string, std::string>{"device", "auto"});
  }
}
