// Activation checkpointing: what is computed anew in backward is the same, and is not kept.
#include <doctest/doctest.h>

#include <optional>

#include "engine/graph/program.h"
#include "nn/nn.h"

using namespace stithy;

namespace {

// Convolution, batch norm, dropout and what lies between them: running statistics and random numbers
// included.
struct Block : nn::Module {
  explicit Block(int64_t channels) {
    conv = child("conv", nn::Conv2d(channels, channels, {3}, {.padding = {1}}));
    norm = child("norm", nn::BatchNorm2d(channels));
    drop = child("drop", nn::Dropout(0.3f));
    mix = child("mix", nn::Conv2d(channels, channels, {1}));
  }
  Tensor forward(const Tensor& x) override { return x + mix(drop(gelu(norm(conv(x))))); }
  nn::Child<nn::Conv2d> conv, mix;
  nn::Child<nn::BatchNorm2d> norm;
  nn::Child<nn::Dropout> drop;
};

struct Net : nn::Module {
  Net() {
    for (int i = 0; i < 6; ++i) blocks.push_back(child(cat("block", i), Block(8)));
    head = child("head", nn::Linear(8, 3));
  }
  Tensor forward(const Tensor& x) override {
    Tensor y = x;
    for (const nn::Child<Block>& block : blocks) y = block(y);
    return head(mean(y, {2, 3}));
  }
  std::vector<nn::Child<Block>> blocks;
  nn::Child<nn::Linear> head;
};

struct Result {
  std::vector<Array> values;  // loss, gradients, buffers
  uint64_t arena_bytes = 0;
  double flops = 0;
};

Result step(const std::function<void(Net&)>& mark) {
  nn::manual_seed(5);
  default_generator().restart_streams();
  Net net;
  mark(net);
  const Array x = nn::init::normal({4, 8, 10, 12}, 0, 1);
  const Tensor loss = sum(square(net(x)));
  std::vector<Tensor> parameters, fetches{loss};
  for (const nn::NamedVariable& p : net.named_parameters()) parameters.push_back(p.variable);
  for (const Tensor& dx : gradients(loss, parameters)) fetches.push_back(dx);
  Program program(fetches, nn::take_updates());
  Result result{{}, program.plan().arena_bytes, program.plan().flops()};
  program.submit({});
  for (size_t i = 0; i < fetches.size(); ++i) result.values.push_back(program.read(i));
  for (const nn::NamedVariable& b : net.named_buffers()) result.values.push_back(b.variable.value());
  return result;
}

void check_same(const Result& a, const Result& b) {
  REQUIRE(a.values.size() == b.values.size());
  for (size_t i = 0; i < a.values.size(); ++i) {
    CAPTURE(i);
    CHECK(same_bytes(a.values[i], b.values[i]));
  }
}

TEST_SUITE("recompute") {
  TEST_CASE("gradients are the same bit for bit, and memory falls") {
    const Result kept = step([](Net&) {});
    const Result blocks = step([](Net& net) {
      for (const nn::Child<Block>& block : net.blocks) block->recompute();
    });
    check_same(kept, blocks);
    MESSAGE("arena ", kept.arena_bytes, " bytes, ", blocks.arena_bytes, " with recomputed blocks");
    CHECK(blocks.arena_bytes < 0.7 * static_cast<double>(kept.arena_bytes));
    CHECK(blocks.flops > 1.2 * kept.flops);
    CHECK(blocks.flops < 1.5 * kept.flops);
  }

  TEST_CASE("a marked module within a marked module, and the whole model marked") {
    const Result kept = step([](Net&) {});
    check_same(kept, step([](Net& net) {
                 net.blocks[1]->recompute();
                 net.blocks[1]->conv->recompute();
                 net.blocks[2]->norm->recompute();
               }));
    check_same(kept, step([](Net& net) { net.recompute(); }));
  }

  TEST_CASE("switched off again, nothing is computed twice") {
    const Result kept = step([](Net&) {}), off = step([](Net&net) {
                                             net.recompute();
                                             net.recompute(false);
                                           });
    CHECK(off.flops == kept.flops);
    CHECK(off.arena_bytes == kept.arena_bytes);
  }

  TEST_CASE("gradients of gradients go through what was computed anew") {
    const auto second = [](bool marked) {
      const Variable w("w", nn::init::normal({5, 5}, 0, 1, Philox(1, 2)));
      const Array x = nn::init::normal({3, 5}, 0, 1, Philox(1, 3));
      std::optional<RecomputeGuard> region;
      if (marked) region.emplace();
      const Tensor y = tanh(matmul(tanh(matmul(x, w)), w));
      region.reset();
      const Tensor dw = gradients(sum(y), std::vector<Tensor>{w})[0];
      return gradients(sum(square(dw)), std::vector<Tensor>{w})[0].eval();
    };
    CHECK(same_bytes(second(false), second(true)));
  }
}

}  // namespace
