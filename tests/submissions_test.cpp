#include "engine/graph/submissions.h"

#include <doctest/doctest.h>

#include <limits>

#include "engine/graph/hazard.h"
#include "engine/graph/program.h"
#include "engine/ops.h"
#include "tests/harness.h"

using namespace stithy;

namespace {

Plan plan_of(std::vector<double> seconds, double bound) {
  Plan plan;
  for (double s : seconds) plan.dispatches.emplace_back().seconds = s;
  plan.submission_seconds = bound;
  return plan;
}

Array numbers(const Shape& shape) {
  Array array(shape, DType::f32);
  for (int64_t i = 0; i < array.numel(); ++i) array.set(i, static_cast<double>(i % 17) - 8);
  return array;
}

}  // namespace

TEST_SUITE("submissions") {
  using Cuts = std::vector<size_t>;

  TEST_CASE("cut where the sum would pass the bound") {
    const Plan plan = plan_of({0.2, 0.2, 0.2, 0.6, 0.1, 0.1}, 0.5);
    CHECK(submission_cuts(plan, 1) == Cuts{2, 3, 4});
    CHECK(submission_cuts(plan, 0.1) == Cuts{});
    CHECK(submission_cuts(plan, 100) == Cuts{1, 2, 3, 4, 5});
    CHECK(submission_cuts(plan_of({}, 0.5), 1) == Cuts{});
  }

  TEST_CASE("measured runs correct the prediction") {
    const Plan plan = plan_of({1, 1}, 0.5);
    SubmissionTimer timer(plan);
    CHECK(timer.scale() == 1);
    REQUIRE(timer.measures());
    CHECK_FALSE(timer.add(0.6));  // faster than predicted: the first run alone does not say so
    CHECK_FALSE(timer.add(0.2));
    CHECK(timer.add(0.4));
    CHECK(timer.scale() == doctest::Approx(0.1));
    CHECK_FALSE(timer.measures());

    SubmissionTimer slow(plan);
    CHECK(slow.add(8));
    CHECK(slow.scale() == doctest::Approx(4));
    CHECK(slow.measures());
    CHECK_FALSE(slow.add(9));
    CHECK(slow.add(6));
    CHECK(slow.scale() == doctest::Approx(3));

    CHECK_FALSE(SubmissionTimer(plan_of({0.001}, 0.5)).measures());
    CHECK_FALSE(SubmissionTimer(plan_of({1e9}, std::numeric_limits<double>::infinity())).measures());
  }

  TEST_CASE("predictions: by device, and told where one kernel alone is too long") {
    const Tensor x = input("x", {2048, 2048}), y = matmul(x, x);
    vk::DeviceInfo gpu = testing::modest_device();
    gpu.kind = vk::DeviceKind::integrated;
    const Plan plan = make_plan({y, relu(y)}, {}, {}, gpu);
    CHECK(plan.submission_seconds == 0.5);
    double matmul_seconds = 0, other_seconds = 0;
    for (const PlannedDispatch& d : plan.dispatches)
      (d.node == y.node().get() ? matmul_seconds : other_seconds) += d.seconds;
    CHECK(matmul_seconds > 2.0 * 2048 * 2048 * 2048 / 1e12);
    CHECK(other_seconds < matmul_seconds / 10);
    CHECK(plan.describe().find("more than a submission should take") != std::string::npos);
    gpu.kind = vk::DeviceKind::discrete;
    const Plan faster = make_plan({y}, {}, {}, gpu);
    CHECK(faster.dispatches[0].seconds < plan.dispatches[0].seconds);
    CHECK(faster.describe().find("more than a submission") == std::string::npos);
    gpu.kind = vk::DeviceKind::cpu;
    CHECK(make_plan({y}, {}, {}, gpu).submission_seconds == std::numeric_limits<double>::infinity());
  }

  TEST_CASE("a run in many submissions gives the same, and is joined again where it proves short") {
    const Tensor x = input("x", {64, 48});
    Tensor y = x;
    for (int i = 0; i < 6; ++i) y = tanh(softmax(y, -1) * 3.0f) + x;
    const Tensor loss = sum(y);
    const Array values = numbers({64, 48});
    const Feed feed{x, &values};
    ProgramOptions options;
    options.fuse = false;
    Program whole({y, loss}, {}, options);
    options.submission_seconds = 1e-12;
    Program cut({y, loss}, {}, options);
    // Far below what it takes, but far above what is predicted when scaled down by a measured run.
    options.submission_seconds = 1e-5;
    Program some({y, loss}, {}, options);
    const size_t dispatches = cut.plan().dispatches.size();
    REQUIRE(dispatches > 10);
    for (uint64_t run = 1; run <= 6; ++run) {
      for (Program* program : {&whole, &cut, &some}) program->submit({&feed, 1});
      CHECK(whole.counters().submissions == run);
      CHECK(cut.counters().submissions == run * dispatches);
      for (Program* program : {&cut, &some})
        for (size_t fetch : {0, 1}) CHECK(same_bytes(program->read(fetch), whole.read(fetch)));
    }
    CHECK(some.counters().submissions > 6);
    CHECK(whole.counters().recordings == 5);
    CHECK(find_hazards(cut.plan()).empty());
  }
}
