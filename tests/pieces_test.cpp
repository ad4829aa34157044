#include "engine/graph/pieces.h"

#include <doctest/doctest.h>

#include <cmath>
#include <map>
#include <set>
#include <vector>

#include "engine/core/error.h"
#include "engine/graph/autograd.h"
#include "engine/graph/hazard.h"
#include "engine/graph/op.h"
#include "engine/graph/plan.h"
#include "engine/graph/program.h"
#include "engine/ops.h"
#include "tests/harness.h"

using namespace stithy;

namespace {

vk::DeviceInfo device_with_range(uint64_t bytes) {
  vk::DeviceInfo device = testing::modest_device();
  device.max_storage_buffer_range = bytes;
  device.storage_alignment = 16;
  return device;
}

// No binding beyond the range, every one where the device allows it, no barrier missing.
void check_plan(const Plan& plan, const vk::DeviceInfo& device) {
  for (const PlannedDispatch& dispatch : plan.dispatches)
    for (const Span& span : dispatch.spans) {
      CHECK(span.bytes <= device.max_storage_buffer_range);
      CHECK(span.offset % device.storage_alignment == 0);
      CHECK(span.offset + span.bytes <= plan.buffers[static_cast<size_t>(span.buffer)].bytes);
    }
  CHECK(find_hazards(plan).empty());
}

}  // namespace

TEST_SUITE("pieces") {
  TEST_CASE("an elementwise op covers its output once, in pieces") {
    const vk::DeviceInfo device = device_with_range(64 << 10);
    for (const Shape& shape : {Shape{100000}, Shape{7, 331, 40}, Shape{1, 50257, 3}, Shape{300, 1000}}) {
      CAPTURE(cat(shape));
      const Tensor x = input("x", shape), y = exp(x);
      const Plan plan = make_plan({y}, {}, {}, device);
      check_plan(plan, device);
      REQUIRE(plan.dispatches.size() > 1);
      const Span whole = plan.fetch_spans[0];
      uint64_t end = whole.offset;
      for (const PlannedDispatch& dispatch : plan.dispatches) {
        const Span& written = dispatch.spans[1];
        CHECK(written.buffer == whole.buffer);
        CHECK(written.offset == end);
        end += written.bytes;
      }
      CHECK(end >= whole.offset + static_cast<uint64_t>(shape.numel()) * 4);
      CHECK(end < whole.offset + static_cast<uint64_t>(shape.numel()) * 4 + 16);
    }
  }

  TEST_CASE("a small view of a large tensor binds what it sees") {
    const vk::DeviceInfo device = device_with_range(64 << 10);
    const Tensor x = input("x", {1000, 100}), y = exp(slice(x, 0, 500, 600));
    const Plan plan = make_plan({y}, {}, {}, device);
    check_plan(plan, device);
    CHECK(plan.dispatches.size() == 1);
    CHECK(plan.dispatches[0].spans[0].bytes < 40000 + device.storage_alignment);
  }

  TEST_CASE("rows beyond the range, and ops that cannot be cut, are refused by name") {
    const vk::DeviceInfo device = device_with_range(64 << 10);
    const Tensor x = input("x", {3, 20000});
    CHECK_THROWS_WITH_AS(make_plan({softmax(x, -1)}, {}, {}, device),
                         doctest::Contains("softmax: tensor f32 [3, 20000] has 234.4 KiB"), Error);
    CHECK_THROWS_WITH_AS(make_plan({cumsum(x, 1)}, {}, {}, device), doctest::Contains("cumsum: "), Error);
    CHECK_THROWS_WITH_AS(make_plan({contiguous(transpose(x))}, {}, {}, device),
                         doctest::Contains("contiguous: "), Error);
    vk::DeviceInfo tight = device;
    tight.max_allocation = 100000;
    CHECK_THROWS_WITH_AS(make_plan({exp(x)}, {}, {}, tight), doctest::Contains("allocates 97.7 KiB at once"),
                         Error);
  }

  TEST_CASE("a language model's losses and embeddings, forward and backward, are never refused") {
    vk::DeviceInfo device = device_with_range(64 << 10);
    device.storage_alignment = 16;
    const Tensor logits = input("logits", {200, 1003}), targets = input("t", {200}, DType::i32);
    const Tensor weights = input("weights", {1003}), table = input("table", {1003, 50});
    for (const bool weighted : {false, true}) {
      CrossEntropyOptions options;
      if (weighted) options.class_weights = weights;
      for (const auto reduction : {CrossEntropyOptions::Reduction::mean, CrossEntropyOptions::Reduction::sum,
                                   CrossEntropyOptions::Reduction::none}) {
        options.reduction = reduction;
        const Tensor loss = sum(cross_entropy(logits, targets, options));
        const Plan plan = make_plan(gradients(loss, std::vector{logits}), {}, {}, device);
        check_plan(plan, device);
        CHECK(!plan.pieces.empty());
      }
    }
    const Plan plan =
        make_plan(gradients(sum(square(embedding(table, targets))), std::vector{table}), {}, {}, device);
    check_plan(plan, device);
    CHECK(!plan.pieces.empty());
  }

  // 147 MiB a tensor, where CPU drivers bind 128 MiB: one step of descent against double precision, all of
  // it.
  TEST_CASE("GPT-2's embedding and its tied head train") {
    constexpr int64_t kWords = 50257, kWidth = 768, kTokens = 6;
    const std::vector<int32_t> words{50256, 0, 17, 50256, 31000, 44739},
        targets{0, 17, 50256, 31000, 44739, 5};
    Array initial({kWords, kWidth}, DType::f32);
    uint32_t state = 1;
    for (float& value : initial.values<float>()) {
      state = state * 1664525 + 1013904223;
      value = static_cast<float>(static_cast<int32_t>(state)) * 0x1p-34f;
    }
    const Variable weight("weight", initial);
    const auto indices = [](const std::vector<int32_t>& i) { return Tensor(Array({kTokens}, std::span(i))); };
    const Tensor h = embedding(weight, indices(words));
    const Tensor loss = cross_entropy(matmul(h, transpose(weight)), indices(targets));
    const Tensor dw = gradients(loss, std::vector{weight.tensor()})[0];
    Program step({loss}, {assign(weight, weight.tensor() - dw)});
    step.submit();
    const double device_loss = step.read(0).item();
    const Array after = weight.value();

    const std::span<const float> w = initial.values<float>(), got = after.values<float>();
    const auto row = [&](int64_t word) { return w.subspan(static_cast<size_t>(word * kWidth), kWidth); };
    std::vector<double> p(static_cast<size_t>(kTokens * kWords)), dh(static_cast<size_t>(kTokens * kWidth));
    double want_loss = 0;
    for (int64_t t = 0; t < kTokens; ++t) {
      const auto x = row(words[static_cast<size_t>(t)]);
      double* const q = &p[static_cast<size_t>(t * kWords)];
      double total = 0;
      for (int64_t v = 0; v < kWords; ++v) {
        const auto y = row(v);
        double dot = 0;
        for (size_t i = 0; i < x.size(); ++i) dot += double{x[i]} * double{y[i]};
        q[v] = dot;
        total += std::exp(dot);
      }
      const auto target = targets[static_cast<size_t>(t)];
      want_loss += (std::log(total) - q[target]) / kTokens;
      for (int64_t v = 0; v < kWords; ++v) {
        q[v] = (std::exp(q[v]) / total - (v == target)) / kTokens;
        for (size_t i = 0; i < x.size(); ++i)
          dh[static_cast<size_t>(t) * kWidth + i] += q[v] * double{row(v)[i]};
      }
    }
    CHECK(device_loss == doctest::Approx(want_loss).epsilon(1e-6));
    double worst = 0;
    std::vector<double> dw_row(kWidth);
    for (int64_t v = 0; v < kWords; ++v) {
      std::ranges::fill(dw_row, 0);
      for (size_t t = 0; t < kTokens; ++t) {
        const auto x = row(words[t]);
        for (size_t i = 0; i < kWidth; ++i) {
          dw_row[i] += p[t * kWords + static_cast<size_t>(v)] * double{x[i]};
          if (words[t] == v) dw_row[i] += dh[t * kWidth + i];
        }
      }
      for (size_t i = 0; i < kWidth; ++i) {
        const size_t at = static_cast<size_t>(v) * kWidth + i;
        worst = std::max(worst, std::abs(double{got[at]} - (double{w[at]} - dw_row[i])));
      }
    }
    // The head's gradient sums 50257 terms in single precision, up to 0.02 on the way: 2e-9 each, as a random
    // walk.
    CHECK(worst < 1e-6);
  }

  // Every op's graphs, forward and backward, for a device of tiny bindings: right plans, or a refusal by
  // name.
  TEST_CASE("rows on tiny bindings") {
    for (const uint64_t bytes : {256u, 1024u, 4096u}) {
      const vk::DeviceInfo device = device_with_range(bytes);
      size_t planned = 0, cut = 0;
      std::set<std::string> refused;
      for (const testing::Row& row : testing::rows()) {
        CAPTURE(row.op);
        for (const testing::Case& test : row.cases) {
          CAPTURE(test.name);
          try {
            for (const Plan& plan : testing::plans_of({row.op, {test}}, device)) {
              check_plan(plan, device);
              ++planned;
              cut += !plan.pieces.empty();
            }
          } catch (const Error& error) {
            refused.insert(error.where());
            const bool by_name = error.message().find("maxStorageBufferRange") != std::string::npos;
            CHECK_MESSAGE(by_name, error.what());
          }
        }
      }
      CHECK(planned > 100);
      CHECK(cut > 10);
      std::string names;
      for (const std::string& name : refused) names += " " + name;
      MESSAGE("bindings of " << bytes << ": " << planned << " plans, " << cut << " cut; refused:" << names);
    }
  }
}
