// Choices between ways to run an op: who answers, and that the answer is what runs.
#include <doctest/doctest.h>

#include <set>

#include "engine/graph/op.h"
#include "engine/graph/program.h"
#include "engine/ops.h"
#include "tests/harness.h"

using namespace stithy;

TEST_SUITE_BEGIN("tune");

TEST_CASE("size buckets are exact for small sizes and an eighth to a quarter apart for others") {
  int64_t last = 0;
  for (int64_t n = 0; n < 5000; ++n) {
    const int64_t bucket = size_bucket(n);
    CHECK(bucket >= n);
    CHECK(bucket >= last);
    CHECK(size_bucket(bucket) == bucket);
    if (n <= 16)
      CHECK(bucket == n);
    else
      CHECK(4 * bucket < 5 * n);
    last = bucket;
  }
  CHECK(size_bucket(17) == 20);
  CHECK(size_bucket(1024) == 1024);
  CHECK(size_bucket(1025) == 1280);
}

namespace {

// An op that can fill its output in three ways.
void launch_ways(const Node&, Launch& launch) {
  launch.choose({.key = "any", .labels = {"good", "other", "plain"}, .plain = 2});
  launch.choose({.key = "single", .labels = {"only"}});
}
const OpDef kWays = {.name = "ways", .launch = launch_ways};
Tensor ways() { return make_node(kWays, {}, {}, {{Shape{4}}}); }

struct FixedTable : ChoiceTable {
  size_t answer = 0;
  int asked = 0;
  size_t choose(const Choice& choice, const vk::DeviceInfo&) override {
    CHECK(choice.key == "ways any");
    ++asked;
    return answer;
  }
  bool reconsider(const Plan&) override { return false; }
};

struct TableInUse {
  ChoiceTable* before;
  explicit TableInUse(ChoiceTable* table) : before(set_choice_table(table)) {}
  ~TableInUse() { set_choice_table(before); }
};

}  // namespace

TEST_CASE("options answer before the table, the table before the default") {
  const vk::DeviceInfo device = testing::modest_device();
  FixedTable table;
  table.answer = 1;
  const auto taken = [&](const ProgramOptions& options) {
    const Plan plan = make_plan({ways()}, {}, options, device);
    REQUIRE(plan.choices.size() == 1);  // a single candidate is no choice
    CHECK(plan.choices[0].choice.plain == 2);
    return plan.choices[0].choice.taken;
  };
  {
    const TableInUse none(nullptr);
    CHECK(taken({}) == 0);
  }
  const TableInUse use(&table);
  CHECK(taken({}) == 1);
  CHECK(table.asked == 1);
  ProgramOptions options;
  options.choose = [](const Choice&) { return size_t{2}; };
  CHECK(taken(options) == 2);
  options.choose = [](const Choice&) { return size_t{7}; };  // stays within what is offered
  CHECK(taken(options) == 2);
  CHECK(table.asked == 1);
}

TEST_CASE("the candidate taken is what runs") {
  const Tensor y = matmul(input("a", {64, 64}), input("b", {64, 64}));
  std::set<std::vector<uint32_t>> specs;
  std::string description;
  size_t count = 1;
  for (size_t i = 0; i < count; ++i) {
    ProgramOptions options;
    options.choose = [i](const Choice&) { return i; };
    const Plan plan = make_plan({y}, {}, options, testing::modest_device());
    REQUIRE(plan.choices.size() == 1);
    const Choice& choice = plan.choices[0].choice;
    count = choice.labels.size();
    CHECK(choice.plain < count);
    CHECK(choice.taken == i);
    CHECK(std::set<std::string>(choice.labels.begin(), choice.labels.end()).size() == count);
    std::vector<uint32_t> spec;
    for (const PlannedDispatch& dispatch : plan.dispatches)
      spec.insert(spec.end(), dispatch.call.spec.begin(), dispatch.call.spec.end());
    specs.insert(spec);
    CHECK(plan.describe().find("<" + choice.labels[i] + ">") != std::string::npos);
  }
  CHECK(count > 2);
  CHECK(specs.size() >= count - 1);  // two may differ in how k is cut alone
}

TEST_SUITE_END();
