#include "nn/run/progress.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "engine/core/error.h"
#include "engine/core/file.h"
#include "tests/temporary_folder.h"

using namespace stithy;

namespace {
ProgressState example() {
  return {3,      10,  78,    100, {{"loss", 0.28123, 4}, {"acc", 0.897, 3}, {"lr", 8.1e-4, 2}},
          0.0041, 127, "img", 41};
}
// What a run of two epochs of four steps, one second each, writes.
std::string run(bool live) {
  TemporaryFolder folder;
  std::FILE* out = std::fopen((folder / "out").c_str(), "w");
  double now = 0;
  {
    Progress progress({.epochs = 2,
                       .steps_per_epoch = 4,
                       .items_per_step = 10,
                       .out = out,
                       .width = 100,
                       .live = live,
                       .clock = [&] { return now; }});
    for (int64_t epoch = 0; epoch < 2; ++epoch)
      for (int64_t step = 1; step <= 4; ++step) {
        now += 1;
        progress.step(epoch, step, {{"loss", 1.0 / static_cast<double>(step), 3}});
        if (epoch == 1 && step == 2) progress.print("saved");
      }
  }
  std::fclose(out);
  return read_file(folder / "out");
}
}  // namespace

TEST_SUITE("progress") {
  TEST_CASE("the line") {
    CHECK(progress_line(example(), 160) ==
          "epoch 3/10 #####################------- 78%  loss 0.2812  acc 0.897  lr 8.1e-4  4.1 ms/step  31k "
          "img/s  ETA 0:41");
    CHECK(progress_line(example(), 90) ==
          "epoch 3/10 ####-- 78%  loss 0.2812  acc 0.897  lr 8.1e-4  4.1 ms/step  31k img/s  ETA 0:41");
    CHECK(progress_line(example(), 68) ==
          "epoch 3/10 ######-- 78%  loss 0.2812  acc 0.897  lr 8.1e-4  ETA 0:41");
    CHECK(progress_line(example(), 40).size() <= 40);
    for (int width = 1; width < 130; ++width)
      CHECK(progress_line(example(), width).size() <= static_cast<size_t>(width));
    ProgressState hostile = example();
    hostile.values[0].name = "a\x1b[2J\n\xc3\xa9";
    for (char c : progress_line(hostile, 200)) CHECK((c >= ' ' && c <= '~'));
    ProgressState steps;
    steps.epochs = 0;
    steps.step = 5;
    steps.steps = 20;
    CHECK(progress_line(steps, 30) == "step 5/20 ####------------ 25%");
  }

  TEST_CASE("numbers, counts, durations") {
    CHECK(format_number(0.28123, 4) == "0.2812");
    CHECK(format_number(8.1e-4, 2) == "8.1e-4");
    CHECK(format_number(0, 4) == "0.0000");
    CHECK(format_number(12, 4) == "12.00");
    CHECK(format_number(1234, 4) == "1234");
    CHECK(format_number(54321, 4) == "54321");
    CHECK(format_number(2.5e7, 3) == "2.50e7");
    CHECK(format_number(-0.5, 2) == "-0.50");
    CHECK(format_number(0.0 / 0.0, 2).find("nan") != std::string::npos);
    CHECK(format_count(950) == "950");
    CHECK(format_count(1234) == "1.2k");
    CHECK(format_count(31000) == "31k");
    CHECK(format_count(999999) == "1.0M");
    CHECK(format_duration(41) == "0:41");
    CHECK(format_duration(3723) == "1:02:03");
  }

  TEST_CASE("elsewhere than on a terminal: whole lines, few of them, none with a carriage return") {
    const std::string text = run(false);
    CHECK(text.find('\r') == text.npos);
    CHECK(std::count(text.begin(), text.end(), '\n') == 3);  // two ends of epochs and "saved"
    CHECK(text.find(
              "epoch 1/2 ############################ 100%  loss 0.250  1.0 s/step  10 img/s  ETA 0:04\n") ==
          0);
    CHECK(text.find("saved\nepoch 2/2") != text.npos);
  }

  TEST_CASE("on a terminal: one line, redrawn, which stays at the end of an epoch") {
    const std::string text = run(true);
    CHECK(std::count(text.begin(), text.end(), '\n') == 3);
    CHECK(std::count(text.begin(), text.end(), '\r') >= 8);
    CHECK(text.find("\rsaved\n\repoch 2/2") != text.npos);
    CHECK(text.find('\x1b') == text.npos);
    CHECK_THROWS_AS(Progress({.steps_per_epoch = 0}), Error);
  }
}
