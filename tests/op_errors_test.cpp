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
