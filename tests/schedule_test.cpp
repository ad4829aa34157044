#include "nn/schedule.h"

#include <doctest/doctest.h>

#include <cmath>
#include <numbers>

#include "engine/core/error.h"

using namespace stithy;
namespace schedule = nn::schedule;

TEST_SUITE("schedule") {
  TEST_CASE("step, multi-step, exponential, polynomial") {
    const nn::Schedule step = schedule::step(3, 0.5), multi = schedule::multi_step({2, 5}, 0.1);
    const double steps[] = {1, 1, 1, 0.5, 0.5, 0.5, 0.25}, multis[] = {1, 1, 0.1, 0.1, 0.1, 0.01, 0.01};
    for (int64_t i = 0; i < 7; ++i) {
      CHECK(step(i) == doctest::Approx(steps[i]));
      CHECK(multi(i) == doctest::Approx(multis[i]));
      CHECK(schedule::exponential(0.9)(i) == doctest::Approx(std::pow(0.9, i)));
    }
    CHECK(schedule::constant(0.3)(99) == 0.3);
    const nn::Schedule square = schedule::polynomial(4, 2);
    CHECK(square(1) == doctest::Approx(9.0 / 16));
    CHECK(square(4) == 0);
    CHECK(square(9) == 0);
    CHECK(schedule::polynomial(4, 1, 0.2)(2) == doctest::Approx(0.6));
    CHECK_THROWS_AS(schedule::multi_step({5, 2}), Error);
    CHECK_THROWS_AS(schedule::step(0), Error);
  }

  TEST_CASE("cosine equals PyTorch's recursive form") {
    // CosineAnnealingLR.get_lr: next = end + (now - end) (1 + cos(pi t / T)) / (1 + cos(pi (t - 1) / T))
    const int64_t total = 11;
    const double end = 0.07;
    const nn::Schedule cosine = schedule::cosine(total, end);
    double factor = 1;
    CHECK(cosine(0) == 1);
    for (int64_t t = 1; t <= total; ++t) {
      factor = end + (factor - end) * (1 + std::cos(std::numbers::pi * t / total)) /
                         (1 + std::cos(std::numbers::pi * (t - 1) / total));
      CHECK(cosine(t) == doctest::Approx(factor));
    }
    CHECK(cosine(1000) == doctest::Approx(end));
  }

  TEST_CASE("warm restarts begin anew and grow") {
    const nn::Schedule restarts = schedule::warm_restarts(4, 2);
    for (const int64_t start : {0, 4, 12, 28}) CHECK(restarts(start) == 1);
    CHECK(restarts(2) == doctest::Approx(0.5));
    CHECK(restarts(8) == doctest::Approx(0.5));
    CHECK(restarts(20) == doctest::Approx(0.5));
    CHECK(schedule::warm_restarts(4)(10) == doctest::Approx(0.5));
  }

  TEST_CASE("one cycle") {
    // OneCycleLR(max_lr=1, total_steps=10): rises to step 2, falls to step 9.
    const nn::Schedule cycle = schedule::one_cycle(10);
    const double pi = std::numbers::pi;
    CHECK(cycle(0) == doctest::Approx(0.04));
    CHECK(cycle(1) == doctest::Approx(0.52));
    CHECK(cycle(2) == doctest::Approx(1));
    CHECK(cycle(3) == doctest::Approx(4e-6 + (1 - 4e-6) * (1 + std::cos(pi / 7)) / 2));
    CHECK(cycle(9) == doctest::Approx(4e-6));
    CHECK(cycle(50) == doctest::Approx(4e-6));
    CHECK(schedule::one_cycle(10, {.linear = true})(1) == doctest::Approx(0.52));
    CHECK(schedule::one_cycle(10, {.linear = true})(3) == doctest::Approx(1 + (4e-6 - 1) / 7));
  }

  TEST_CASE("warm-up, sequences and products") {
    const nn::Schedule warm = schedule::linear_warmup(4, schedule::step(2, 0.5), 0.2);
    const double expected[] = {0.2, 0.4, 0.6, 0.8, 1, 1, 0.5, 0.5, 0.25};
    for (int64_t i = 0; i < 9; ++i) CHECK(warm(i) == doctest::Approx(expected[i]));
    const nn::Schedule parts = schedule::sequence(
        {{schedule::constant(0.1), 2}, {schedule::exponential(0.5), 3}, {schedule::constant(7), 1}});
    const double sequence[] = {0.1, 0.1, 1, 0.5, 0.25, 7, 7};
    for (int64_t i = 0; i < 7; ++i) CHECK(parts(i) == doctest::Approx(sequence[i]));
    CHECK(schedule::chained({schedule::constant(0.5), schedule::exponential(0.1)})(2) ==
          doctest::Approx(0.005));
  }

  TEST_CASE("reduce on plateau waits for patience, then for the cooldown, and its state can be restored") {
    const nn::PlateauOptions options{.factor = 0.5, .patience = 1, .cooldown = 2, .least = 0.2};
    nn::ReduceOnPlateau plateau(options);
    const double losses[] = {1, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.5, 0.5, 0.5};
    // Two bad ones reduce; two more do not count; two bad ones reduce again.
    const double factors[] = {1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25};
    for (size_t i = 0; i < std::size(losses); ++i) {
      plateau.observe(losses[i]);
      CHECK(plateau.factor() == doctest::Approx(factors[i]));
      nn::ReduceOnPlateau restored(options);
      restored.restore(plateau.state());
      CHECK(restored.state() == plateau.state());
      CHECK(restored.factor() == plateau.factor());
    }
    for (int i = 0; i < 20; ++i) plateau.observe(std::nan(""));
    CHECK(plateau.factor() == doctest::Approx(0.2));
    CHECK_THROWS_AS(plateau.restore("1 2"), Error);
    nn::ReduceOnPlateau rising({.factor = 0.5, .patience = 0, .maximize = true});
    for (const double accuracy : {0.5, 0.6, 0.7}) rising.observe(accuracy);
    CHECK(rising.factor() == 1);
    rising.observe(0.7);
    CHECK(rising.factor() == 0.5);
  }

  TEST_CASE("early stopping") {
    nn::EarlyStopping stopping({.patience = 1, .maximize = true});
    CHECK(stopping.observe(0.5));
    CHECK_FALSE(stopping.observe(0.5));
    CHECK_FALSE(stopping.stop());
    nn::EarlyStopping restored({.patience = 1, .maximize = true});
    restored.restore(stopping.state());
    CHECK_FALSE(restored.observe(std::nan("")));
    CHECK(restored.stop());
    CHECK(restored.observe(0.6));
    CHECK_FALSE(restored.stop());
    CHECK(restored.best() == 0.6);
    CHECK_THROWS_AS(restored.restore(""), Error);
  }
}
