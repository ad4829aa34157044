// Choices: an op that can run in several ways offers them while it is launched; which one a plan takes comes
// from the program's options, else from a table of what was measured on this device, else it is the first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/vk/device_info.h"

namespace stithy {

struct Plan;

struct Choice {
  // All that the best answer depends on, apart from device and driver: shape bucket, dtypes, layout.
  // Launch::choose() puts the op's name before it.
  std::string key;
  std::vector<std::string>
      labels;        // the candidates, none twice; 0 is a good one that nothing was measured for
  size_t plain = 0;  // the simplest one: the others are checked against it
  size_t taken = 0;  // the answer
};

// Answers with the index of a label.
using Chooser = std::function<size_t(const Choice& choice)>;

// What was measured, process-wide; engine/tune.cpp provides it.
class ChoiceTable {
 public:
  virtual ~ChoiceTable() = default;
  virtual size_t choose(const Choice& choice, const vk::DeviceInfo& device) = 0;
  // Sees every plan of a program before it is used. True: the answers have changed, plan again.
  virtual bool reconsider(const Plan& plan) = 0;
};
// The table that programs ask; null takes it away. Returns the one before.
ChoiceTable* set_choice_table(ChoiceTable* table);
ChoiceTable* choice_table();

// A size as keys state it: exact up to 16, then rounded up to three significant bits (20, 24, 28, 32, 40,
// ...), so that sizes that run alike share what was measured.
int64_t size_bucket(int64_t size);

}  // namespace stithy
