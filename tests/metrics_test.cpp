#include "nn/metrics.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "engine/core/error.h"
#include "nn/data/dataset.h"

using namespace stithy;

namespace {
Array labels(std::vector<int32_t> values) { return Array({static_cast<int64_t>(values.size())}, values); }
const float kNaN = std::numeric_limits<float>::quiet_NaN();
}  // namespace

TEST_SUITE("metrics") {
  TEST_CASE("argmax_rows") {
    CHECK(argmax_rows(Array({2, 3}, {1, 3, 2, 5, 5, -1})) == std::vector<int32_t>{1, 0});
    CHECK(argmax_rows(Array({1, 3}, {9, kNaN, kNaN})) == std::vector<int32_t>{1});
    CHECK(argmax_rows(Array({1, 2}, {1, 2}).to(DType::bf16)) == std::vector<int32_t>{1});
    CHECK_THROWS_AS(argmax_rows(Array::scalar(1)), Error);
  }

  TEST_CASE("confusion matrix: scikit-learn's example") {
    // confusion_matrix([2,0,2,2,0,1], [0,0,2,2,0,2]) == [[2,0,0],[0,0,1],[1,0,2]]
    ConfusionMatrix matrix(3);
    CHECK(std::isnan(matrix.accuracy()));
    matrix.add(std::vector<int32_t>{0, 0, 2, 2}, std::vector<int32_t>{2, 0, 2, 2});
    matrix.add(std::vector<int32_t>{0, 2, 1}, std::vector<int32_t>{0, 1, kIgnoreIndex});
    CHECK(matrix.total() == 6);
    CHECK(matrix.count(2, 0) == 1);
    CHECK(matrix.count(1, 2) == 1);
    CHECK(matrix.accuracy() == doctest::Approx(4.0 / 6));
    CHECK(matrix.precision(0) == doctest::Approx(2.0 / 3));
    CHECK(matrix.recall(2) == doctest::Approx(2.0 / 3));
    CHECK(matrix.precision(1) == 0);
    CHECK(matrix.f1(0) == doctest::Approx(0.8));
    CHECK(matrix.macro_precision() == doctest::Approx((2.0 / 3 + 0 + 2.0 / 3) / 3));
    CHECK(matrix.macro_recall() == doctest::Approx((1 + 0 + 2.0 / 3) / 3));
    CHECK(matrix.macro_f1() == doctest::Approx((0.8 + 0 + 2.0 / 3) / 3));
    matrix.clear();
    CHECK(matrix.total() == 0);
  }

  TEST_CASE("confusion matrix from scores; classes that never occur are left out of macro means") {
    ConfusionMatrix matrix(4);
    matrix.add(Array({2, 4}, {0, 9, 0, 0, 7, 0, 0, 0}), labels({1, 1}));
    CHECK(matrix.count(1, 1) == 1);
    CHECK(matrix.count(1, 0) == 1);
    CHECK(matrix.macro_recall() == doctest::Approx(0.25));
    matrix.add(Array({1, 4}, {1, 0, 0, 0}), Array({1}, {0}).to(DType::u8));
    CHECK(matrix.total() == 3);
    CHECK_THROWS_WITH_AS(matrix.add(Array({1, 4}, {1, 0, 0, 0}), labels({4})),
                         doctest::Contains("target 4 is not in 0 to 3"), Error);
    CHECK_THROWS_AS(matrix.add(Array({1, 4}, {1, 0, 0, 0}), labels({1, 2})), Error);
    CHECK_THROWS_AS(matrix.add(Array({1, 3}, {1, 0, 0}), labels({1})), Error);
    CHECK_THROWS_AS(matrix.add(Array({1, 4}, {1, 0, 0, 0}), Array({1}, {1.0f})), Error);
    CHECK_THROWS_AS(ConfusionMatrix(0), Error);
  }

  TEST_CASE("top-k") {
    const Array scores({3, 4}, {0.1f, 0.4f, 0.3f, 0.2f, 1, 1, 1, 1, kNaN, 2, 1, 0});
    TopK two(2), three(3);
    two.add(scores, labels({2, 2, 1}));
    three.add(scores, labels({2, 2, 1}));
    CHECK(two.value() == doctest::Approx(2.0 / 3));
    CHECK(three.value() == 1);
    two.clear();
    two.add(scores, labels({kIgnoreIndex, kIgnoreIndex, 0}));
    CHECK(two.value() == 0);
    CHECK_THROWS_AS(two.add(scores, labels({0, 0, 4})), Error);
    CHECK_THROWS_AS(TopK(0), Error);
  }

  TEST_CASE("regression") {
    RegressionError error;
    CHECK(std::isnan(error.mae()));
    error.add(Array({2}, {1, 2}), Array({2}, {2, 4}));
    error.add(Array({1}, {5}), Array({1}, {5}));
    CHECK(error.mae() == doctest::Approx(1));
    CHECK(error.rmse() == doctest::Approx(std::sqrt(5.0 / 3)));
    CHECK(error.r2() == doctest::Approx(1 - 5 / (14.0 / 3)));
    CHECK_THROWS_AS(error.add(Array({2}, {1, 2}), Array({2, 1}, {1, 2})), Error);
  }

  TEST_CASE("mean and perplexity") {
    Mean loss;
    CHECK(std::isnan(loss.value()));
    loss.add(1.0, 30);
    loss.add(2.0, 10);
    loss.add(kNaN, 0);
    CHECK(loss.value() == doctest::Approx(1.25));
    CHECK(loss.perplexity() == doctest::Approx(std::exp(1.25)));
    CHECK_THROWS_AS(loss.add(1, -1), Error);
  }
}
