#include "nn/sequence_metrics.h"

#include <doctest/doctest.h>

#include <cmath>

#include "engine/core/error.h"

using namespace stithy;
using Labels = std::vector<int32_t>;

namespace {
int64_t distance(const std::string& a, const std::string& b) {
  return edit_distance(Labels(a.begin(), a.end()), Labels(b.begin(), b.end()));
}
Bleu of(const std::string& candidate, const std::vector<std::string>& references) {
  Bleu bleu;
  bleu.add(candidate, references);
  return bleu;
}
}  // namespace

TEST_SUITE("sequence_metrics") {
  TEST_CASE("edit distance") {
    CHECK(distance("kitten", "sitting") == 3);
    CHECK(distance("sitting", "kitten") == 3);
    CHECK(distance("saturday", "sunday") == 3);
    CHECK(distance("abc", "abc") == 0);
    CHECK(distance("", "abc") == 3);
    CHECK(distance("abc", "") == 3);
    CHECK(distance("ab", "ba") == 2);
    CHECK(distance("xabc", "abc") == 1);
  }

  TEST_CASE("error rate and exact matches are of all sequences together") {
    SequenceErrors errors;
    CHECK(std::isnan(errors.error_rate()));
    CHECK(std::isnan(errors.exact_match()));
    errors.add(Labels{1, 2, 3}, Labels{1, 2, 3});
    errors.add(Labels{1, 2}, Labels{1, 3, 2, 4});  // two are missing
    errors.add(Labels{5}, Labels{});
    errors.add(Labels{}, Labels{});
    CHECK(errors.error_rate() == doctest::Approx(3.0 / 7));
    CHECK(errors.exact_match() == 0.5);
  }

  TEST_CASE("BLEU: the examples of the paper") {
    const std::vector<std::string> cats{"the cat is on the mat", "there is a cat on the mat"};
    CHECK(of("the the the the the the the", cats).precision(1) == doctest::Approx(2.0 / 7));
    CHECK(of("the the the the the the the", cats).value() == 0);
    const std::vector<std::string> guide{
        "It is a guide to action that ensures that the military will forever heed Party commands",
        "It is the guiding principle which guarantees the military forces always being under the command of "
        "the "
        "Party",
        "It is the practical guide for the army always to heed the directions of the party"};
    const Bleu first =
        of("It is a guide to action which ensures that the military always obeys the commands of the party",
           guide);
    CHECK(first.precision(1) == doctest::Approx(17.0 / 18));
    CHECK(first.precision(2) == doctest::Approx(10.0 / 17));
    CHECK(of("It is to insure the troops forever hearing the activity guidebook that party direct", guide)
              .precision(1) == doctest::Approx(8.0 / 14));
  }

  TEST_CASE("BLEU of a corpus, by hand") {
    Bleu bleu;
    CHECK(std::isnan(bleu.value()));
    const std::vector<std::string> one{"a b c d e"}, two{"f g h i j k", "f g"};
    bleu.add(" a  b c\td x\n", one);  // 4 of 5, 3 of 4, 2 of 3, 1 of 2
    bleu.add("f g h i", two);         // all of 4, 3, 2, 1; the shorter of two references as near
    CHECK(bleu.precision(1) == doctest::Approx(8.0 / 9));
    CHECK(bleu.precision(2) == doctest::Approx(6.0 / 7));
    CHECK(bleu.precision(3) == doctest::Approx(4.0 / 5));
    CHECK(bleu.precision(4) == doctest::Approx(2.0 / 3));
    CHECK(bleu.brevity_penalty() == 1);
    CHECK(bleu.value() == doctest::Approx(std::pow(8.0 / 9 * 6 / 7 * 4 / 5 * 2 / 3, 0.25)));

    const std::vector<std::string> long_one{"a b c d e f g h"};
    CHECK(of("a b c d e f", long_one).value() == doctest::Approx(std::exp(1 - 8.0 / 6)));
    CHECK(of("a b c d e f g h", long_one).value() == doctest::Approx(1));
    CHECK(of("", long_one).value() == 0);
    CHECK_THROWS_WITH_AS(bleu.add("a", {}), doctest::Contains("has no reference"), Error);
  }

  TEST_CASE("the best path of CTC") {
    // Two elements of five steps; classes a = 1, b = 2, blank 0. By step: a a - a b, and b - - b b.
    const Labels best{1, 2, 1, 0, 0, 0, 1, 2, 2, 2};
    Array scores({5, 2, 3}, DType::f32);
    for (int64_t i = 0; i < 10; ++i) scores.set(3 * i + best[static_cast<size_t>(i)], 1);
    const auto all = ctc_best_path(scores);
    CHECK(all == std::vector<Labels>{{1, 1, 2}, {2, 2}});
    const Array lengths({2}, std::vector<int32_t>{2, 4});
    CHECK(ctc_best_path(scores, lengths) == std::vector<Labels>{{1}, {2, 2}});
    CHECK(ctc_best_path(scores, {}, 2) == std::vector<Labels>{{1, 0, 1}, {0}});
    CHECK_THROWS_WITH_AS(ctc_best_path(scores, {}, 3), doctest::Contains("the blank 3"), Error);
    CHECK_THROWS_WITH_AS(ctc_best_path(scores.reshaped({10, 3})), doctest::Contains("[t, n, classes]"),
                         Error);
    CHECK_THROWS_WITH_AS(ctc_best_path(scores, Array({2}, std::vector<int32_t>{2, 6})),
                         doctest::Contains("element 1 has 6 steps of 5"), Error);
    CHECK_THROWS_AS(ctc_best_path(scores, Array({1}, std::vector<int32_t>{2})), Error);
  }
}
