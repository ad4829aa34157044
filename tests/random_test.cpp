// Random numbers on the device: distributions, independence, and equality with the host's Philox.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/core/error.h"
#include "engine/core/rng.h"
#include "engine/graph/program.h"
#include "engine/ops.h"

using namespace stithy;

namespace {

std::vector<double> values_of(const Tensor& x) {
  const Array array = x.eval();
  std::vector<double> values;
  for (int64_t i = 0; i < array.numel(); ++i) values.push_back(array.at(i));
  return values;
}

struct Moments {
  double mean = 0, variance = 0, fourth = 0;  // fourth: central, by variance^2
};
Moments moments_of(const std::vector<double>& xs) {
  Moments m;
  const auto n = static_cast<double>(xs.size());
  for (double x : xs) m.mean += x / n;
  for (double x : xs) m.variance += std::pow(x - m.mean, 2) / n;
  for (double x : xs) m.fourth += std::pow(x - m.mean, 4) / n;
  m.fourth /= m.variance * m.variance;
  return m;
}

// sqrt(n) times the greatest distance between the empirical and the true distribution function (Kolmogorov
// and Smirnov): beyond 1.95 once in 1000.
template <class Cdf>
double kolmogorov(std::vector<double> xs, Cdf cdf) {
  std::sort(xs.begin(), xs.end());
  const auto n = static_cast<double>(xs.size());
  double distance = 0;
  for (size_t i = 0; i < xs.size(); ++i) {
    const double f = cdf(xs[i]);
    distance = std::max({distance, f - static_cast<double>(i) / n, static_cast<double>(i + 1) / n - f});
  }
  return distance * std::sqrt(n);
}

double correlation(const std::vector<double>& a, const std::vector<double>& b) {
  const Moments ma = moments_of(a), mb = moments_of(b);
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += (a[i] - ma.mean) * (b[i] - mb.mean);
  return sum / static_cast<double>(a.size()) / std::sqrt(ma.variance * mb.variance);
}

constexpr int64_t kCount = 100000;

}  // namespace

TEST_SUITE_BEGIN("random");

TEST_CASE("uniform numbers are the host's Philox, bit for bit, at any step and stream") {
  const uint64_t seed = 0xfedcba9876543210u;
  Generator generator(seed);
  for (uint32_t step = 0; step < 3; ++step) {
    const uint32_t stream = generator.next_stream() + 1;
    const Array drawn = uniform({1003}, 0, 1, generator).eval();
    for (int64_t i = 0; i < drawn.numel(); ++i) {
      const auto words = philox({static_cast<uint32_t>(i / 4), step, stream, 0},
                                {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
      const float expected = static_cast<float>(words[static_cast<size_t>(i % 4)] >> 8) * 0x1p-24f;
      if (drawn.values<float>()[static_cast<size_t>(i)] != expected)
        FAIL_CHECK("step ", step, ", number ", i);
    }
    Program({}, {generator.advance()}).submit();
  }
  CHECK(generator.state().value().at(2) == 3);
  generator.seed(7);
  CHECK(generator.state().value().at(0) == 7);
  CHECK(generator.state().value().at(2) == 0);
}

TEST_CASE("uniform") {
  Generator generator(1);
  const std::vector<double> xs = values_of(uniform({kCount}, -1, 3, generator));
  CHECK(*std::min_element(xs.begin(), xs.end()) >= -1);
  CHECK(*std::max_element(xs.begin(), xs.end()) < 3);
  CHECK(kolmogorov(xs, [](double x) { return (x + 1) / 4; }) < 1.95);
  // Chi square of 256 bins; 330.5 is exceeded once in 1000.
  std::vector<double> bins(256);
  for (double x : xs) bins[static_cast<size_t>((x + 1) * 64)] += 1;
  double chi = 0;
  for (double bin : bins) chi += std::pow(bin - kCount / 256.0, 2) / (kCount / 256.0);
  CHECK(chi < 330.5);
  CHECK(chi > 187);
}

TEST_CASE("normal") {
  Generator generator(2);
  const std::vector<double> xs = values_of(normal({kCount}, 1, 2, generator));
  const Moments m = moments_of(xs);
  CHECK(std::abs(m.mean - 1) < 0.025);
  CHECK(std::abs(m.variance - 4) < 0.08);
  CHECK(std::abs(m.fourth - 3) < 0.08);
  CHECK(kolmogorov(xs, [](double x) { return 0.5 * std::erfc(-(x - 1) / 2 / std::sqrt(2.0)); }) < 1.95);
  CHECK(std::all_of(xs.begin(), xs.end(), [](double x) { return std::isfinite(x); }));
}

TEST_CASE("bernoulli and dropout") {
  Generator generator(3);
  const double share = moments_of(values_of(bernoulli({kCount}, 0.3f, generator))).mean;
  CHECK(std::abs(share - 0.3) < 0.006);
  const std::vector<double> kept = values_of(dropout(ones({kCount}), 0.25f, generator));
  CHECK(std::abs(moments_of(kept).mean - 1) < 0.008);
  CHECK(
      std::all_of(kept.begin(), kept.end(), [](double x) { return x == 0 || std::abs(x - 4.0 / 3) < 1e-6; }));
  CHECK_THROWS_AS(dropout(ones({2}), 1.5f, generator), Error);
  CHECK_THROWS_AS(uniform({2}, 1, 0, generator), Error);
}

TEST_CASE("streams, steps and seeds are independent") {
  Generator generator(4), other(5);
  const std::vector<double> a = values_of(uniform({kCount}, 0, 1, generator)),
                            b = values_of(uniform({kCount}, 0, 1, generator)),
                            c = values_of(uniform({kCount}, 0, 1, other));
  Program({}, {generator.advance()}).submit();
  generator.restart_streams();
  const std::vector<double> later = values_of(uniform({kCount}, 0, 1, generator));
  for (const auto* x : {&b, &c, &later}) CHECK(std::abs(correlation(a, *x)) < 0.0135);
  const std::vector<double> shifted(a.begin() + 1, a.end()), rest(a.begin(), a.end() - 1);
  CHECK(std::abs(correlation(shifted, rest)) < 0.0135);
  generator.seed(4);
  generator.restart_streams();
  CHECK(values_of(uniform({kCount}, 0, 1, generator)) == a);
}

TEST_CASE("a replayed program draws anew, and dropout's gradient has the forward's mask") {
  Generator generator(6);
  const Tensor x = ones({64}), y = dropout(x, 0.5f, generator);
  const Tensor dx = gradients(sum(y), std::vector{x}).front();
  Program program({y, dx}, {generator.advance()});
  program.submit();
  const Array first = program.read(0), gradient = program.read(1);
  CHECK(same_bytes(first, gradient));
  program.submit();
  CHECK_FALSE(same_bytes(first, program.read(0)));
  CHECK(same_bytes(program.read(1), program.read(0)));
}

TEST_SUITE_END();
