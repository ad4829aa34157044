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
    // Class 0: 2 of 3 items in the union; class 1: 0 of 2; class 2: 2 of 4.
    CHECK(matrix.iou(0) == doctest::Approx(2.0 / 3));
    CHECK(matrix.iou(1) == 0);
    CHECK(matrix.iou(2) == doctest::Approx(0.5));
    CHECK(matrix.mean_iou() == doctest::Approx((2.0 / 3 + 0 + 0.5) / 3));
    matrix.clear();
    CHECK(matrix.total() == 0);
    CHECK(std::isnan(matrix.mean_iou()));
  }

  TEST_CASE("confusion matrix from scores; classes that never occur are left out of macro means") {
    ConfusionMatrix matrix(4);
    matrix.add(Array({2, 4}, {0, 9, 0, 0, 7, 0, 0, 0}), labels({1, 1}));
    CHECK(matrix.count(1, 1) == 1);
    CHECK(matrix.count(1, 0) == 1);
    CHECK(matrix.macro_recall() == doctest::Approx(0.25));
    CHECK(matrix.mean_iou() == doctest::Approx(0.25));  // 1 of 2, 0 of 1, and classes 2 and 3 left out
    CHECK(matrix.iou(3) == 0);
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

  TEST_CASE("ROC: the area is Mann and Whitney's statistic, ties by half") {
    RocCurve roc;
    CHECK(std::isnan(roc.auc()));
    for (auto [score, positive] : {std::pair{0.1, false}, {0.4, false}, {0.35, true}, {0.8, true}})
      roc.add(score, positive);
    CHECK(roc.auc() == doctest::Approx(0.75));  // scikit-learn's example
    CHECK(roc.points() ==
          std::vector<std::pair<double, double>>{{0, 0}, {0, 0.5}, {0.5, 0.5}, {0.5, 1}, {1, 1}});
    RocCurve equal;
    for (int i = 0; i < 10; ++i) equal.add(3, i < 4);
    CHECK(equal.auc() == doctest::Approx(0.5));
    CHECK(equal.points() == std::vector<std::pair<double, double>>{{0, 0}, {1, 1}});
    // Many ties, against the definition.
    RocCurve many;
    std::vector<std::pair<int, bool>> items;
    for (int i = 0; i < 200; ++i) items.emplace_back(i * 7919 % 13 + i % 3, i * 31 % 5 < 2);
    double wins = 0, pairs = 0;
    for (const auto& [score, positive] : items) {
      many.add(score, positive);
      for (const auto& [other, other_positive] : items)
        if (positive && !other_positive) wins += score > other ? 1 : score == other ? 0.5 : 0, ++pairs;
    }
    CHECK(many.auc() == doctest::Approx(wins / pairs));
    CHECK_THROWS_AS(many.add(kNaN, true), Error);
    many.clear();
    many.add(1, true);
    CHECK(std::isnan(many.auc()));
    CHECK(many.points().empty());
  }

  TEST_CASE("overlap of boxes") {
    CHECK(iou({0, 0, 2, 2}, {1, 1, 3, 3}) == doctest::Approx(1.0 / 7));
    CHECK(iou({0, 0, 2, 2}, {0, 0, 2, 2}) == 1);
    CHECK(iou({0, 0, 2, 2}, {2, 0, 4, 2}) == 0);
    CHECK(iou({1, 1, 1, 1}, {1, 1, 1, 1}) == 0);
    CHECK(iou({3, 3, 1, 1}, {0, 0, 4, 4}) == 0);
  }

  TEST_CASE("average precision of detections, by hand") {
    const Box a{0, 0, 10, 10}, b{20, 0, 30, 10}, far{50, 50, 60, 60};
    DetectionPrecision one(2);
    CHECK(std::isnan(one.mean()));
    // Right, wrong, right of three boxes: precision 1, 1/2, 2/3 at recall 1/3, 1/3, 2/3.
    one.add(std::vector<Detection>{{a, 0, 0.9f}, {far, 0, 0.8f}}, std::vector<LabelledBox>{{a, 0}, {b, 0}});
    one.add(std::vector<Detection>{{b, 0, 0.7f}}, std::vector<LabelledBox>{{b, 0}});
    CHECK(one.average_precision(0) == doctest::Approx(1.0 / 3 + 2.0 / 9));
    CHECK(std::isnan(one.average_precision(1)));
    CHECK(one.mean() == doctest::Approx(5.0 / 9));  // of the class that occurs
    // A box is found once: the second detection of it is wrong, and so is one of another class.
    DetectionPrecision twice(2);
    twice.add(std::vector<Detection>{{a, 0, 0.9f}, {a, 0, 0.8f}, {b, 1, 0.7f}},
              std::vector<LabelledBox>{{a, 0}, {b, 0}, {far, 1}});
    CHECK(twice.average_precision(0) == doctest::Approx(0.5));
    CHECK(twice.average_precision(1) == 0);
    CHECK(twice.mean() == doctest::Approx(0.25));
    // An overlap of 8/12: right up to that threshold. A box of another image does not count.
    DetectionPrecision shifted(1);
    shifted.add(std::vector<Detection>{{{0, 2, 10, 12}, 0, 1}}, std::vector<LabelledBox>{{a, 0}});
    CHECK(shifted.mean(0.66) == 1);
    CHECK(shifted.mean(0.67) == 0);
    CHECK(shifted.mean_over_thresholds() == doctest::Approx(0.4));
    shifted.add(std::vector<Detection>{{a, 0, 2}}, {});
    CHECK(shifted.mean() == doctest::Approx(0.5));
    shifted.clear();
    shifted.add({}, std::vector<LabelledBox>{{a, 0}});
    CHECK(shifted.mean() == 0);
    CHECK_THROWS_AS(shifted.add(std::vector<Detection>{{a, 1, 1}}, {}), Error);
    CHECK_THROWS_AS(shifted.add({}, std::vector<LabelledBox>{{a, -1}}), Error);
    CHECK_THROWS_AS(shifted.add(std::vector<Detection>{{a, 0, float(kNaN)}}, {}), Error);
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
