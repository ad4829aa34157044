// Layers and losses of sequences: lengths, states, and what is refused. tests/models_test.cpp compares them
// with PyTorch's.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "engine/graph/program.h"
#include "nn/nn.h"
#include "tests/check_error.h"

using namespace stithy;

namespace {
Array ramp(const Shape& shape) {
  Array x(shape, DType::f32);
  for (int64_t i = 0; i < x.numel(); ++i) x.set(i, std::sin(static_cast<double>(i) * 0.7));
  return x;
}
std::vector<Array> run(const std::vector<Tensor>& fetches) {
  Program program(fetches);
  program.submit();
  std::vector<Array> values;
  for (size_t i = 0; i < fetches.size(); ++i) values.push_back(program.read(i));
  return values;
}
void check_close(const Array& a, const Array& b) {
  REQUIRE(a.shape() == b.shape());
  for (int64_t i = 0; i < a.numel(); ++i) CHECK(a.at(i) == doctest::Approx(b.at(i)).epsilon(1e-5));
}
}  // namespace

TEST_SUITE("sequence") {
  TEST_CASE("a padded sequence is as one that ends there, in both directions") {
    nn::Lstm lstm(4, 3, {.layers = 2, .bidirectional = true, .batch_first = true});
    const Tensor x = ramp({2, 5, 4}), lengths = Array({2}, std::vector<int32_t>{5, 3});
    const auto [padded, state] = lstm.forward(x, {}, lengths);
    const auto [alone, alone_state] = lstm.forward(slice(slice(x, 0, 1, 2), 1, 0, 3), {});
    const std::vector<Array> v =
        run({slice(slice(padded, 0, 1, 2), 1, 0, 3), alone, slice(state.h, 1, 1, 2), alone_state.h,
             slice(state.c, 1, 1, 2), alone_state.c, slice(slice(padded, 0, 1, 2), 1, 3, 5)});
    for (size_t i = 0; i < 6; i += 2) check_close(v[i], v[i + 1]);
    CHECK(v[6].numel() == 12);
    for (int64_t i = 0; i < v[6].numel(); ++i) CHECK(v[6].at(i) == 0);
  }

  TEST_CASE("a sequence goes on from the state of its first part") {
    nn::Gru gru(4, 3, {.layers = 2});
    const Tensor x = ramp({6, 2, 4});
    const auto [whole, last] = gru.forward(x, {});
    const auto [first, middle] = gru.forward(slice(x, 0, 0, 4), {});
    const auto [second, end] = gru.forward(slice(x, 0, 4, 6), middle);
    CHECK(!end.c.defined());
    const std::vector<Array> v = run({concat(std::vector{first, second}, 0), whole, end.h, last.h});
    check_close(v[0], v[1]);
    check_close(v[2], v[3]);
  }

  TEST_CASE("dropout is between layers, and only in training") {
    nn::Lstm lstm(4, 3, {.layers = 2, .dropout = 0.5f});
    nn::Lstm single(4, 3, {.dropout = 0.5f});
    const Tensor x = ramp({3, 2, 4});
    const auto draws = [](const Tensor& y) {  // what two streams give differs
      return [y](const Tensor& again) {
        const std::vector<Array> v = run({y, again});
        for (int64_t i = 0; i < v[0].numel(); ++i)
          if (v[0].at(i) != v[1].at(i)) return true;
        return false;
      };
    };
    CHECK(draws(lstm(x))(lstm(x)));
    CHECK(!draws(single(x))(single(x)));
    lstm.eval();
    CHECK(!draws(lstm(x))(lstm(x)));
  }

  TEST_CASE("CTC: the mean is of each label, and impossible targets can count for nothing") {
    const Tensor x = log_softmax(ramp({4, 3, 3}));
    const Tensor targets = Array({3, 3}, std::vector<int32_t>{1, 2, 0, 1, 1, 1, 2, 0, 0});
    const Tensor steps = Array({3}, std::vector<int32_t>{4, 4, 3}),
                 labels = Array({3}, std::vector<int32_t>{2, 3, 1});
    const Tensor each = nn::Ctc{.reduction = nn::Reduction::none}(x, targets, steps, labels);
    const Tensor loss = nn::Ctc{.zero_infinity = true}(x, targets, steps, labels);
    const std::vector<Array> v =
        run({each, loss, gradients(loss, std::vector{x})[0], gradients(sum(each), std::vector{x})[0]});
    CHECK(std::isinf(v[0].at(1)));  // three equal labels need five steps
    CHECK(v[1].item() == doctest::Approx((v[0].at(0) / 2 + v[0].at(2)) / 3));
    for (int64_t i = 0; i < v[2].numel(); ++i) {
      CHECK(std::isfinite(v[2].at(i)));
      const int64_t n = i / 3 % 3;
      if (n == 1) CHECK(v[2].at(i) == 0);
      CHECK(std::isnan(v[3].at(i)) == (n == 1));
    }
    check_error("blank 3 is none of the 3 classes", [&] { ctc_loss(x, targets, steps, labels, 3); });
    check_error("lengths have the shape [4] instead of [3]",
                [&] { ctc_loss(x, targets, steps, Array({4}, DType::i32)); });
    check_error("do not fit", [&] { ctc_loss(x, Array({2, 3}, DType::i32), steps, labels); });
  }

  TEST_CASE("the row of an embedding's padding index is zero and gets no gradient") {
    nn::Embedding embedding(4, 3, 1);
    const Tensor y = embedding(Array({2, 3}, std::vector<int32_t>{0, 1, 2, 1, 1, 3}));
    const std::vector<Array> v =
        run({y, gradients(sum(square(y) + y), std::vector{embedding.weight.tensor()})[0]});
    for (int64_t i = 0; i < 12; ++i) CHECK((v[1].at(i) == 0) == (i / 3 == 1));
    for (const int64_t row : {1, 3, 4})
      for (int64_t c = 0; c < 3; ++c) CHECK(v[0].at(row * 3 + c) == 0);
    CHECK(embedding.describe() == "Embedding(4, 3, padding 1)");
    check_error("the padding index 4 is none of the 4 rows", [] { nn::Embedding(4, 3, 4); });
  }

  TEST_CASE("means and maxima over time see the steps within their lengths alone") {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const Tensor x = Array({3, 3, 2}, {1, -5, 4, -2, 9, 9,  //
                                       1, 2, 3, 10, -4, 30, nan, nan, nan, nan, nan, nan});
    const Tensor lengths = Array({3}, std::vector<int32_t>{2, 3, 0});
    const Tensor average = nn::mean_over_time(x, lengths), largest = nn::max_over_time(x, lengths);
    const Tensor whole = slice(x, 0, 0, 2);
    const std::vector<Array> v =
        run({average, largest, nn::mean_over_time(whole), nn::max_over_time(whole),
             gradients(sum(average), std::vector{x})[0], gradients(sum(largest), std::vector{x})[0]});
    check_close(v[0], Array({3, 2}, {2.5f, -3.5f, 0, 14, 0, 0}));
    check_close(v[1], Array({3, 2}, {4, -2, 3, 30, 0, 0}));
    check_close(v[2], Array({2, 2}, {14.0f / 3, 2.0f / 3, 0, 14}));
    check_close(v[3], Array({2, 2}, {9, 9, 3, 30}));
    const float third = 1.0f / 3;
    check_close(v[4], Array({3, 3, 2}, {0.5f, 0.5f, 0.5f, 0.5f, 0, 0, third, third, third, third, third,
                                        third, 0, 0, 0, 0, 0, 0}));
    check_close(v[5], Array({3, 3, 2}, {0, 0, 1, 1, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}));
    check_error("is not [n, t, channels]", [&] { nn::mean_over_time(ramp({3, 4})); });
    check_error("lengths are i32 [3], got i32 [2]", [&] { nn::max_over_time(x, Array({2}, DType::i32)); });
  }

  TEST_CASE("mistakes are named") {
    CHECK(nn::Lstm(4, 3, {.layers = 2, .bidirectional = true}).describe() ==
          "LSTM(4, 3, 2 layers, bidirectional)");
    check_error("sizes must be at least 1", [] { nn::Gru(0, 3); });
    check_error("dropout 1 is not in [0, 1)", [] { nn::Gru(2, 3, {.dropout = 1}); });
    check_error("its cell is tanh or relu", [] { nn::Rnn(2, 3, {}, Cell::gru); });
    nn::Lstm lstm(4, 3);
    check_error("the input's shape is [3, 2, 5], not [t, n, 4]", [&] { lstm(ramp({3, 2, 5})); });
    check_error("an initial state has the shape [2, 2, 3] instead of [1, 2, 3]", [&] {
      lstm.forward(ramp({3, 2, 4}), {ramp({2, 2, 3}), {}});
    });
    check_error("lengths have the shape [3] instead of [2]", [&] {
      lstm.forward(ramp({3, 2, 4}), {}, Array({3}, DType::i32));
    });
    check_error("c0 is for the LSTM alone", [] {
      recurrent(Cell::tanh, ramp({3, 2, 4}), ramp({4, 4}), {}, {}, ramp({2, 4}));
    });
    check_error("a weight of shape [8, 4] is not [4 hidden, hidden]", [] {
      recurrent(Cell::lstm, ramp({3, 2, 8}), ramp({8, 4}));
    });
    check_error("its last axis must be 12", [] { recurrent(Cell::gru, ramp({3, 2, 8}), ramp({12, 4})); });
  }
}
