// A user's mistake is reported where the op is built, naming the op, the shapes and the value.
#include <doctest/doctest.h>

#include <functional>

#include "engine/core/error.h"
#include "engine/ops.h"

using namespace stithy;

namespace {
void check_error(const std::string& where, const std::string& part, const std::function<void()>& mistake) {
  try {
    mistake();
    FAIL_CHECK(where << " did not object");
  } catch (const Error& error) {
    CHECK(error.where() == where);
    CHECK_MESSAGE(error.message().find(part) != std::string::npos, "message: " << error.message());
  }
}
}  // namespace

TEST_SUITE("op_errors") {
  const Tensor x = input("x", {2, 3}), y = input("y", {4, 3}), i = input("i", {2, 3}, DType::i32),
               b = input("b", {2, 3}, DType::boolean);

  TEST_CASE("pointwise") {
    check_error("add", "[2, 3] and [4, 3]", [&] { add(x, y); });
    check_error("mul", "f32 [2, 3] and i32 [2, 3]", [&] { mul(x, i); });
    check_error("exp", "takes f32, not i32", [&] { exp(i); });
    check_error("pow", "takes f32, not i32", [&] { pow(i, i); });
    check_error("logical_and", "takes bool, not f32", [&] { logical_and(b, x); });
    check_error("where", "takes bool, not f32", [&] { where(x, x, x); });
    check_error("where", "takes f32, not i32", [&] { where(b, x, i); });
    check_error("clamp", "low 1 is not at most high 0", [&] { clamp(x, 1, 0); });
    check_error("neg", "undefined", [&] { neg(Tensor()); });
  }
  TEST_CASE("views") {
    check_error("reshape", "[2, 3] of 6 elements cannot become [4, -1]", [&] { reshape(x, {4, -1}); });
    check_error("reshape", "cannot become [-2, -3]", [&] { reshape(x, {-2, -3}); });
    check_error("reshape", "cannot become", [&] { reshape(x, {-1, -1}); });
    check_error("permute", "axes [0, 0]", [&] { permute(x, {0, 0}); });
    check_error("transpose", "axis 2 is out of range", [&] { transpose(x, 0, 2); });
    check_error("expand", "[2, 3] does not broadcast to [3, 3]", [&] { expand(x, {3, 3}); });
    check_error("slice", "[1, 4) is out of range for axis 0", [&] { slice(x, 0, 1, 4); });
    check_error("slice", "step 0", [&] { slice(x, 0, 0, 2, 0); });
    check_error("squeeze", "not of size 1", [&] { squeeze(x, 0); });
    check_error("flatten", "start axis 1", [&] { flatten(x, 1, 0); });
    check_error("expand", "2^32 elements", [&] { full({65536, 65536}, 1); });
    check_error("arange", "-1", [&] { arange(-1); });
  }
  TEST_CASE("reductions") {
    check_error("sum", "axis 2 is out of range", [&] { sum(x, {2}); });
    check_error("mean", "named twice", [&] { mean(x, {0, -2}); });
    check_error("max", "axis 1 of [2, 0]", [&] { max(input("empty", {2, 0}), {1}); });
    check_error("argmax", "axis 5", [&] { argmax(x, 5); });
    check_error("var", "correction 1", [&] { var(input("one", {1})); });
    check_error("norm", "p = 0", [&] { norm(x, {}, false, 0); });
    check_error("sum_to", "[2, 3] is no broadcast of [4, 3]", [&] { sum_to(x, {4, 3}); });
    check_error("cumsum", "takes f32, not bool", [&] { cumsum(b, 0); });
  }
  TEST_CASE("convolution") {
    const Tensor image = input("image", {2, 4, 8, 9}), w = input("w", {6, 4, 3, 3});
    check_error("conv", "takes f32, not i32", [&] { conv(i, w); });
    check_error("conv", "x [2, 3] and weight [6, 4, 3, 3] do not fit", [&] { conv(x, w); });
    check_error("conv", "has 4 channels, the weight [6, 3, 3, 3] in 1 group takes 3", [&] {
      conv(image, input("v", {6, 3, 3, 3}));
    });
    check_error("conv", "are not 3 groups", [&] { conv(image, w, {.groups = 3}); });
    check_error("conv", "stride [2, 2, 2] has 3 entries for 2 spatial axes", [&] {
      conv(image, w, {.stride = {2, 2, 2}});
    });
    check_error("conv", "stride [0] must be at least 1", [&] { conv(image, w, {.stride = {0}}); });
    check_error("conv", "padding [-1] must be at least 0", [&] { conv(image, w, {.padding = {-1}}); });
    check_error("conv", "reaches over 9 elements does not fit axis 2",
                [&] { conv(image, w, {.dilation = {4}}); });
    check_error("conv", "`same` with stride [2]", [&] { conv(image, w, {.stride = {2}, .same = true}); });
    check_error("conv", "has no taps", [&] { conv(image, input("v", {6, 4, 0, 3})); });
    check_error("conv_transpose", "has 4 channels, the weight [6, 4, 3, 3] in 1 group takes 6",
                [&] { conv_transpose(image, w); });
    const Tensor v = input("v", {4, 6, 3, 3});
    check_error("conv_transpose", "output padding [2] must be below the stride [2]",
                [&] { conv_transpose(image, v, {.stride = {2}}, {2}); });
    check_error("conv_transpose", "nothing is left of axis 2",
                [&] { conv_transpose(image, v, {.padding = {6}}); });
    check_error("conv_transpose", "is for conv alone", [&] { conv_transpose(image, v, {.same = true}); });
  }
  TEST_CASE("joining") {
    check_error("concat", "nothing to join", [&] { concat({}, 0); });
    check_error("concat", "f32 [4, 3] does not join f32 [2, 3] along axis 1", [&] {
      concat(std::vector{x, y}, 1);
    });
    check_error("concat", "i32 [2, 3] does not join f32 [2, 3]", [&] { concat(std::vector{x, i}, 0); });
    check_error("stack", "not of one shape", [&] { stack(std::vector{x, y}, 0); });
    check_error("split", "add up to 4", [&] { split(x, std::vector<int64_t>{2, 2}, 1); });
    check_error("pad", "negative", [&] { pad(x, {0, -1}, {0, 0}); });
    check_error("pad", "for each axis", [&] { pad(x, {0}, {0}); });
  }
}
