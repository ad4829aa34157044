#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include "engine/core/array.h"
#include "engine/core/error.h"
#include "engine/core/rng.h"

using namespace stithy;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// The value of the bits of a small float format, from the definition in IEEE 754.
double value_of(uint32_t bits, int exponent_bits, int mantissa_bits) {
  const uint32_t mantissa = bits & ((1u << mantissa_bits) - 1);
  const int exponent = static_cast<int>(bits >> mantissa_bits) & ((1 << exponent_bits) - 1);
  const double sign = bits >> (exponent_bits + mantissa_bits) ? -1 : 1;
  const int bias = (1 << (exponent_bits - 1)) - 1;
  if (exponent == (1 << exponent_bits) - 1)
    return mantissa ? std::numeric_limits<double>::quiet_NaN() : sign * static_cast<double>(kInfinity);
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias - mantissa_bits);
  return sign * std::ldexp(mantissa + (1u << mantissa_bits), exponent - bias - mantissa_bits);
}

// Rounding between every two neighbours of a 16-bit format: just below the middle, the middle (to even), and
// just above.
void check_rounding(int exponent_bits, int mantissa_bits, uint16_t (*round)(float)) {
  const uint32_t infinity = ((1u << exponent_bits) - 1) << mantissa_bits;
  int wrong = 0;
  for (uint32_t bits = 0; bits < infinity; ++bits) {
    const double low = value_of(bits, exponent_bits, mantissa_bits);
    // The largest value rounds up to infinity half a unit further on, as if the exponent went on.
    const double high = bits + 1 == infinity ? std::ldexp(1.0, 1 << (exponent_bits - 1))
                                             : value_of(bits + 1, exponent_bits, mantissa_bits);
    const float middle = static_cast<float>((low + high) / 2);
    if (static_cast<double>(middle) != (low + high) / 2) continue;  // not an f32: bf16's smallest subnormals
    const float below = std::nextafter(middle, 0.0f), above = std::nextafter(middle, kInfinity);
    const uint32_t even = bits & 1 ? bits + 1 : bits;
    for (const uint32_t sign : {0u, 0x8000u}) {
      const float s = sign ? -1.0f : 1.0f;
      wrong += round(s * middle) != (even | sign);
      wrong += round(s * below) != (bits | sign);
      wrong += round(s * above) != ((bits + 1) | sign);
    }
  }
  CHECK(wrong == 0);
}

}  // namespace

TEST_SUITE_BEGIN("core");

TEST_CASE("errors name where, what and the way out") {
  const Error plain("softmax", "axis 3 is out of range for shape [7, 113]");
  CHECK(std::string(plain.what()) == "softmax: axis 3 is out of range for shape [7, 113]");
  const Error hinted("read", "no such file", "check the path");
  CHECK(std::string(hinted.what()) == "read: no such file\nHINT: check the path");
  CHECK(hinted.hint() == "check the path");
  const OutOfMemory memory("program", 3 << 20, 1536);
  CHECK(std::string(memory.what()) == "program: needs 3.0 MiB of device memory, but 1.5 KiB can be had");
  CHECK(memory.needed() == 3 << 20);
  CHECK(memory.available() == 1536);
  CHECK(format_bytes(0) == "0 B");
  CHECK(format_bytes(1023) == "1023 B");
  CHECK(format_bytes(~uint64_t{0}) == "16.0 EiB");
  CHECK(cat("a", 1, 2.5, Shape{3}) == "a12.5[3]");
}

TEST_CASE("shape: access, editing and size") {
  Shape shape{2, 3, 5};
  CHECK(shape.rank() == 3);
  CHECK(shape.numel() == 30);
  CHECK(Shape{}.numel() == 1);
  CHECK(Shape{4, 0}.numel() == 0);
  CHECK(shape.back() == 5);
  shape.insert(1, 7);
  CHECK(shape == Shape{2, 7, 3, 5});
  shape.insert(0, 9);
  CHECK(shape == Shape{9, 2, 7, 3, 5});
  shape.erase(0);
  shape.erase(3);
  CHECK(shape == Shape{2, 7, 3});
  CHECK(shape.contains(7));
  CHECK_FALSE(shape.contains(9));
  CHECK(Shape{1} != Shape{1, 1});
  CHECK(Shape::filled(3, 4) == Shape{4, 4, 4});
  CHECK(cat(Shape{7, 113}) == "[7, 113]");
  CHECK(cat(Shape{}) == "[]");
  CHECK_THROWS_AS((Shape{1, 2, 3, 4, 5, 6, 7}), Error);
  CHECK_THROWS_AS(Shape::filled(6, 1).push_back(1), Error);
}

TEST_CASE("shape: a size that does not fit throws, unless an entry is 0") {
  const int64_t big = int64_t{1} << 32;
  CHECK_THROWS_AS((Shape{big, big}).numel(), Error);
  CHECK((Shape{big, big, 0}).numel() == 0);
  CHECK((Shape{big, big / 4, 1}).numel() == int64_t{1} << 62);
  CHECK_THROWS_AS((Shape{2, -1}).numel(), Error);
}

TEST_CASE("strides and contiguity") {
  CHECK(contiguous_strides({2, 3, 5}) == Shape{15, 5, 1});
  CHECK(contiguous_strides({}) == Shape{});
  CHECK(is_contiguous({2, 3}, {3, 1}));
  CHECK_FALSE(is_contiguous({2, 3}, {1, 2}));
  CHECK_FALSE(is_contiguous({2, 3}, {6, 2}));
  CHECK(is_contiguous({1, 3}, {77, 1}));
  CHECK(is_contiguous({3, 1}, {1, 77}));
  CHECK(is_contiguous({0, 3}, {5, 5}));
  CHECK_FALSE(is_contiguous({3}, {0}));
}

TEST_CASE("broadcast is NumPy's rule") {
  CHECK(broadcast("add", {2, 3}, {2, 3}) == Shape{2, 3});
  CHECK(broadcast("add", {2, 3}, {3}) == Shape{2, 3});
  CHECK(broadcast("add", {2, 1}, {1, 3}) == Shape{2, 3});
  CHECK(broadcast("add", {}, {4}) == Shape{4});
  CHECK(broadcast("add", {1}, {0}) == Shape{0});
  CHECK(broadcast("add", {5, 1, 7}, {4, 1}) == Shape{5, 4, 7});
  CHECK_THROWS_WITH_AS(broadcast("add", {2, 3}, {4}),
                       "add: shapes [2, 3] and [4] do not broadcast: 3 against 4 in dimension 1\n"
                       "HINT: sizes must be equal or 1, counted from the last dimension",
                       Error);
  CHECK_THROWS_AS(broadcast("add", {2}, {0}), Error);
}

TEST_CASE("axes") {
  CHECK(normalize_axis("sum", -1, {2, 3}) == 1);
  CHECK(normalize_axis("sum", 0, {2, 3}) == 0);
  CHECK_THROWS_WITH_AS(normalize_axis("sum", 2, {2, 3}), "sum: axis 2 is out of range for shape [2, 3]",
                       Error);
  CHECK_THROWS_AS(normalize_axis("sum", -3, {2, 3}), Error);
  CHECK_THROWS_AS(normalize_axis("sum", 0, {}), Error);
  CHECK(normalize_axes("sum", {}, {2, 3}) == Shape{0, 1});
  CHECK(normalize_axes("sum", {-1, 0}, {2, 3, 4}) == Shape{0, 2});
  CHECK_THROWS_WITH_AS(normalize_axes("sum", {1, -1}, {2, 3}), "sum: axis -1 is named twice in [1, -1]",
                       Error);
}

TEST_CASE("dtypes") {
  CHECK(size_of(DType::f32) == 4);
  CHECK(size_of(DType::bf16) == 2);
  CHECK(size_of(DType::boolean) == 1);
  CHECK(name_of(DType::bf16) == "bf16");
  CHECK(cat(DType::boolean) == "bool");
  CHECK(dtype_of<int32_t>() == DType::i32);
}

TEST_CASE("f16: every value, there and back") {
  int wrong = 0;
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float value = f16_to_f32(static_cast<uint16_t>(bits));
    const double expected = value_of(bits, 5, 10);
    if (std::isnan(expected)) {
      wrong += !std::isnan(value) || !std::isnan(f16_to_f32(f32_to_f16(value)));
      continue;
    }
    wrong += static_cast<double>(value) != expected || std::signbit(value) != std::signbit(expected);
    wrong += f32_to_f16(value) != bits;
  }
  CHECK(wrong == 0);
}

TEST_CASE("f16: rounding to nearest even") {
  check_rounding(5, 10, f32_to_f16);
  CHECK(f32_to_f16(kInfinity) == 0x7c00);
  CHECK(f32_to_f16(-kInfinity) == 0xfc00);
  CHECK(f32_to_f16(65519.996f) == 0x7bff);
  CHECK(f32_to_f16(65520.0f) == 0x7c00);
  CHECK(f32_to_f16(0x1p-25f) == 0);
  CHECK(f32_to_f16(-0x1.000002p-25f) == 0x8001);
  CHECK(f32_to_f16(std::numeric_limits<float>::denorm_min()) == 0);
  CHECK((f32_to_f16(kNaN) & 0x7fff) > 0x7c00);
  CHECK((f32_to_f16(std::bit_cast<float>(0x7f800001u)) & 0x7fff) > 0x7c00);
}

TEST_CASE("bf16: every value, there and back, and rounding to nearest even") {
  int wrong = 0;
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float value = bf16_to_f32(static_cast<uint16_t>(bits));
    const double expected = value_of(bits, 8, 7);
    if (std::isnan(expected))
      wrong += !std::isnan(value) || !std::isnan(bf16_to_f32(f32_to_bf16(value)));
    else
      wrong += static_cast<double>(value) != expected || f32_to_bf16(value) != bits;
  }
  CHECK(wrong == 0);
  check_rounding(8, 7, f32_to_bf16);
  CHECK(f32_to_bf16(std::numeric_limits<float>::max()) == 0x7f80);
  // A NaN whose upper half alone would read as infinity.
  CHECK((f32_to_bf16(std::bit_cast<float>(0x7f800001u)) & 0x7fff) > 0x7f80);
}

TEST_CASE("array: construction, access and conversion") {
  Array a({2, 3}, {1, 2, 3, 4, 5, 6});
  CHECK(a.numel() == 6);
  CHECK(a.bytes().size() == 24);
  CHECK(a.at(4) == 5);
  a.set(4, -2.75);
  CHECK(a.values<float>()[4] == -2.75f);
  CHECK_THROWS_AS(Array({2, 2}, {1, 2, 3}), Error);
  CHECK_THROWS_AS(a.values<int32_t>(), Error);
  CHECK_THROWS_AS(a.item(), Error);
  CHECK(Array::scalar(3).item() == 3);
  CHECK(Array({3}, DType::i32).at(2) == 0);

  const Array i = a.to(DType::i32);
  CHECK(i.dtype() == DType::i32);
  CHECK(i.at(4) == -2);
  const Array b = a.to(DType::boolean);
  CHECK(b.at(0) == 1);
  CHECK(Array({1}, {0.25f}).to(DType::boolean).at(0) == 1);
  CHECK(Array({1}, {-0.0f}).to(DType::boolean).at(0) == 0);
  const Array narrow = Array({5}, {300, -1, kNaN, kInfinity, 254.9f}).to(DType::u8);
  CHECK(narrow.at(0) == 255);
  CHECK(narrow.at(1) == 0);
  CHECK(narrow.at(2) == 0);
  CHECK(narrow.at(3) == 255);
  CHECK(narrow.at(4) == 254);
  CHECK(Array({1}, {3e9f}).to(DType::i32).at(0) == 2147483647.0);
  CHECK(Array({1}, {1.0f / 3}).to(DType::f16).at(0) == doctest::Approx(1.0 / 3).epsilon(1e-3));
}

TEST_CASE("array: shapes, rows and equality") {
  const Array a({3, 2}, {1, 2, 3, 4, 5, 6});
  CHECK(a.reshaped({2, 3}).at(5) == 6);
  CHECK_THROWS_AS(a.reshaped({4}), Error);
  const Array middle = a.rows(1, 2);
  CHECK(middle.shape() == Shape{1, 2});
  CHECK(middle.at(0) == 3);
  CHECK(a.rows(1, 1).numel() == 0);
  CHECK_THROWS_AS(a.rows(2, 4), Error);
  CHECK_THROWS_AS(a.rows(2, 1), Error);
  CHECK_THROWS_AS(a.rows(-1, 1), Error);
  CHECK_THROWS_AS(Array::scalar(1).rows(0, 0), Error);
  CHECK(same_bytes(a, a));
  CHECK_FALSE(same_bytes(a, a.reshaped({6})));
  CHECK_FALSE(same_bytes(Array({1}, {0.0f}), Array({1}, {-0.0f})));
  CHECK_FALSE(same_bytes(Array({1}, DType::f32), Array({1}, DType::i32)));
}

TEST_CASE("array: a size that memory cannot count throws") {
  CHECK_THROWS_AS(Array(Shape{int64_t{1} << 31, int64_t{1} << 31}, DType::f32), Error);
}

// The known answers of the Random123 distribution (kat_vectors, philox4x32 10).
TEST_CASE("philox: known answers") {
  using Words = std::array<uint32_t, 4>;
  CHECK(philox({0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  constexpr uint32_t ones = 0xffffffff;
  CHECK(philox({ones, ones, ones, ones}, {ones, ones}) ==
        Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("philox: streams are functions of seed and stream") {
  Philox a(1, 2), b(1, 2), c(1, 3), d(2, 2);
  int same_c = 0, same_d = 0;
  for (int i = 0; i < 100; ++i) {
    const uint32_t bits = a.bits();
    CHECK(bits == b.bits());
    same_c += bits == c.bits();
    same_d += bits == d.bits();
  }
  CHECK(same_c == 0);
  CHECK(same_d == 0);
  CHECK(Philox(0).bits() == 0x6627e8d5);
}

TEST_CASE("philox: moments") {
  Philox random(7);
  constexpr int n = 200000;
  double sum = 0, squares = 0, normal_sum = 0, normal_squares = 0, normal_fourth = 0, low = 1, high = 0;
  for (int i = 0; i < n; ++i) {
    const double u = random.uniform(), z = random.normal();
    low = std::min(low, u), high = std::max(high, u);
    sum += u, squares += u * u;
    normal_sum += z, normal_squares += z * z, normal_fourth += z * z * z * z;
  }
  // Within five standard deviations of the mean of n draws.
  const double five = 5 / std::sqrt(n);
  CHECK(low >= 0);
  CHECK(high < 1);
  CHECK(std::abs(sum / n - 0.5) < five * std::sqrt(1.0 / 12));
  CHECK(std::abs(squares / n - 1.0 / 3) < five * std::sqrt(4.0 / 45));
  CHECK(std::abs(normal_sum / n) < five);
  CHECK(std::abs(normal_squares / n - 1) < five * std::sqrt(2.0));
  CHECK(std::abs(normal_fourth / n - 3) < five * std::sqrt(96.0));
}

TEST_CASE("philox: below() is without bias") {
  Philox random(11);
  // Chi-square with 6 degrees of freedom: 35.3 is passed once in 250,000.
  std::array<int, 7> counts{};
  constexpr int n = 70000;
  for (int i = 0; i < n; ++i) ++counts[random.below(7)];
  double chi = 0;
  for (int count : counts) chi += (count - n / 7.0) * (count - n / 7.0) / (n / 7.0);
  CHECK(chi < 35.3);
  // 3 * 2^62: without rejection every third value would come twice as often as the others.
  const uint64_t bound = uint64_t{3} << 62;
  int thirds = 0;
  for (int i = 0; i < 30000; ++i) {
    const uint64_t value = random.below(bound);
    CHECK_FALSE(value >= bound);
    thirds += value % 3 == 0;
  }
  CHECK(std::abs(thirds - 10000) < 5 * std::sqrt(30000 * 2.0 / 9));
  CHECK(random.below(1) == 0);
}

TEST_SUITE_END();
