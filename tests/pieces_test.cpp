#include "engine/graph/pieces.h"

#include <doctest/doctest.h>

#include <map>
#include <set>
#include <vector>

#include "engine/core/error.h"
#include "engine/graph/autograd.h"
#include "engine/graph/hazard.h"
#include "engine/graph/op.h"
#include "engine/graph/plan.h"
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
