// Generation: what a cache gives is what the whole text gives, how tokens are chosen, and beam search against
// all texts there are.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "engine/graph/program.h"
#include "nn/models/models.h"
#include "nn/nn.h"
#include "tests/check_error.h"

using namespace stithy;

namespace {

using Tokens = std::vector<int32_t>;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// A model whose weights are large enough that it has an opinion.
nn::Gpt small_gpt(int64_t context = 24) {
  nn::manual_seed(5);
  nn::Gpt model({.vocabulary = 7, .context = context, .layers = 2, .heads = 2, .width = 8, .dropout = 0.1f});
  for (auto& [name, variable] : model.named_parameters())
    if (variable.shape().rank() == 2) variable.set(nn::init::normal(variable.shape(), 0, 0.5));
  return model;
}
nn::LstmLanguageModel small_lstm() {
  nn::manual_seed(6);
  nn::LstmLanguageModel model({.vocabulary = 7, .embedding = 5, .hidden = 8, .layers = 2, .dropout = 0.1f});
  for (auto& [name, variable] : model.named_parameters())
    if (variable.shape().rank() == 2) variable.set(nn::init::normal(variable.shape(), 0, 0.5));
  return model;
}

nn::Llama small_llama() {
  nn::manual_seed(7);
  return nn::Llama({.vocabulary = 7,
                    .size = 8,
                    .layers = 2,
                    .hidden = 12,
                    .heads = 4,
                    .kv_heads = 2,
                    .window = 5,
                    .initializer_range = 0.5f});
}

// Logits after the last token, by the model's forward().
std::vector<float> logits_after(nn::Module& model, const Tokens& text) {
  const nn::EvaluationMode evaluation(model);
  const Tensor ids = Array({1, static_cast<int64_t>(text.size())}, std::span<const int32_t>(text));
  Program program({model(ids)});
  program.submit();
  const Array all = program.read(0);
  std::vector<float> last;
  const int64_t vocabulary = all.shape().back(), begin = all.numel() - vocabulary;
  for (int64_t i = 0; i < vocabulary; ++i) last.push_back(static_cast<float>(all.at(begin + i)));
  return last;
}
Tokens greedy(nn::Module& model, Tokens text, int64_t count) {
  Philox unused(0);
  Tokens made;
  for (int64_t i = 0; i < count; ++i) {
    made.push_back(nn::next_token(logits_after(model, text), text, {.temperature = 0}, unused));
    text.push_back(made.back());
  }
  return made;
}
double log_probability(nn::Module& model, Tokens text, const Tokens& more) {
  double sum = 0;
  for (const int32_t token : more) {
    const std::vector<float> logits = logits_after(model, text);
    double total = 0;
    for (const float x : logits) total += std::exp(static_cast<double>(x));
    sum += logits[static_cast<size_t>(token)] - std::log(total);
    text.push_back(token);
  }
  return sum;
}

}  // namespace

TEST_SUITE("generate") {
  TEST_CASE("a recorded step with a cache goes on as the whole text does") {
    const Tokens prompt{3, 1, 4, 1, 5, 2, 6};  // taken in as 4, 2 and 1
    nn::Gpt gpt = small_gpt();
    CHECK(nn::TextGenerator(gpt).generate(prompt, {.tokens = 12, .temperature = 0}) ==
          greedy(gpt, prompt, 12));
    CHECK(gpt.training());
    nn::LstmLanguageModel lstm = small_lstm();
    CHECK(nn::TextGenerator(lstm).generate(prompt, {.tokens = 12, .temperature = 0}) ==
          greedy(lstm, prompt, 12));
    nn::Llama llama = small_llama();
    CHECK(nn::TextGenerator(llama, 24).generate(prompt, {.tokens = 12, .temperature = 0}) ==
          greedy(llama, prompt, 12));
  }

  TEST_CASE("what was generated before leaves nothing behind") {
    nn::Gpt model = small_gpt();
    nn::TextGenerator generator(model);
    const Tokens first = generator.generate(Tokens{3, 1}, {.tokens = 9, .temperature = 0});
    generator.generate(Tokens{6, 6, 2}, {.tokens = 5, .temperature = 0});
    CHECK(generator.generate(Tokens{3, 1}, {.tokens = 9, .temperature = 0}) == first);
    const nn::GenerateOptions drawn{.tokens = 12, .seed = 3};
    CHECK(generator.generate(Tokens{3, 1}, drawn) == generator.generate(Tokens{3, 1}, drawn));
    nn::GenerateOptions other = drawn;
    other.seed = 4;
    CHECK(generator.generate(Tokens{3, 1}, drawn) != generator.generate(Tokens{3, 1}, other));
  }

  TEST_CASE("a text that outgrows the context goes on from its last half") {
    nn::Gpt model = small_gpt(8);
    const Tokens made = nn::TextGenerator(model).generate(Tokens{3, 1, 4}, {.tokens = 7, .temperature = 0});
    Tokens text{3, 1, 4}, expected = greedy(model, text, 6);  // 3 + 5 tokens fill the context
    text.insert(text.end(), expected.begin(), expected.end());
    const Tokens next = greedy(model, Tokens(text.end() - 4, text.end()), 1);
    expected.push_back(next[0]);
    CHECK(made == expected);
  }

  TEST_CASE("the likeliest token, and those that are cut off") {
    Philox random(1);
    const std::vector<float> logits{1, 3, -kInfinity, 2, 3};
    CHECK(nn::next_token(logits, {}, {.temperature = 0}, random) == 1);
    std::array<int, 5> counts{}, two{}, nucleus{};
    for (int i = 0; i < 4000; ++i) {
      ++counts[static_cast<size_t>(nn::next_token(logits, {}, {}, random))];
      ++two[static_cast<size_t>(nn::next_token(logits, {}, {.top_k = 2}, random))];
      // e^3 / (2 e^3 + e^2 + e) is 0.4: two reach 0.8.
      ++nucleus[static_cast<size_t>(nn::next_token(logits, {}, {.top_p = 0.75f}, random))];
    }
    CHECK(counts[2] == 0);
    const double total = 2 * std::exp(3) + std::exp(2) + std::exp(1);
    CHECK(counts[1] / 4000.0 == doctest::Approx(std::exp(3) / total).epsilon(0.1));
    CHECK(counts[0] / 4000.0 == doctest::Approx(std::exp(1) / total).epsilon(0.25));
    CHECK(two[1] + two[4] == 4000);
    CHECK(two[1] > 1800);
    CHECK(nucleus[1] + nucleus[4] == 4000);
    // Cold makes it certain, heat makes all alike.
    int cold = 0, hot = 0;
    const std::vector<float> pair{1, 0};
    for (int i = 0; i < 1000; ++i) {
      cold += nn::next_token(pair, {}, {.temperature = 0.05f}, random);
      hot += nn::next_token(pair, {}, {.temperature = 100}, random);
    }
    CHECK(cold == 0);
    CHECK(hot > 420);
  }

  TEST_CASE("the repetition penalty") {
    Philox random(1);
    const std::vector<float> logits{2, 1.5f, -1, -1.2f};
    const Tokens seen{0, 0, 2};
    CHECK(nn::next_token(logits, seen, {.temperature = 0, .repetition_penalty = 1.5f}, random) == 1);
    CHECK(nn::next_token(logits, seen, {.temperature = 0, .repetition_penalty = 1.3f}, random) == 0);
    const std::vector<float> below{-kInfinity, -kInfinity, -1, -1.2f};
    CHECK(nn::next_token(below, seen, {.temperature = 0, .repetition_penalty = 1.3f}, random) == 3);
  }

  TEST_CASE("beams find the best text where the likeliest token misleads") {
    for (nn::LanguageModel* model :
         {static_cast<nn::LanguageModel*>(new nn::Gpt(small_gpt())),
          static_cast<nn::LanguageModel*>(new nn::LstmLanguageModel(small_lstm()))}) {
      const std::unique_ptr<nn::LanguageModel> owner(model);
      nn::Module& module = dynamic_cast<nn::Module&>(*model);
      nn::TextGenerator generator(*model, 16);
      const Tokens prompt{3, 1};
      // With as many beams as there are texts of two tokens none of three is missed.
      const Tokens made = generator.generate(prompt, {.tokens = 3, .beams = 49, .length_penalty = 0});
      Tokens best;
      double most = -1e9;
      for (int32_t i = 0; i < 343; ++i) {
        const Tokens text{i / 49, i / 7 % 7, i % 7};
        const double p = log_probability(module, prompt, {text[0]});
        if (p < most) continue;  // a text is not likelier than its beginning
        const double all = log_probability(module, prompt, text);
        if (all > most) most = all, best = text;
      }
      CHECK(made == best);
    }
  }

  TEST_CASE("the end, and being told") {
    nn::Gpt model = small_gpt();
    nn::TextGenerator generator(model);
    const Tokens all = generator.generate(Tokens{3, 1}, {.tokens = 12, .seed = 1});
    const int32_t end = all[5];
    const auto first = std::find(all.begin(), all.end(), end);
    CHECK(generator.generate(Tokens{3, 1}, {.tokens = 12, .end = end, .seed = 1}) ==
          Tokens(all.begin(), first));
    Tokens told;
    const auto listen = [&](int32_t token) {
      told.push_back(token);
      return told.size() < 3;
    };
    CHECK(generator.generate(Tokens{3, 1}, {.tokens = 12, .seed = 1, .on_token = listen}) == told);
    CHECK(told == Tokens(all.begin(), all.begin() + 3));
    CHECK(generator.generate(Tokens{3, 1}, {.tokens = 0}).empty());
  }

  TEST_CASE("what is refused") {
    nn::Gpt model = small_gpt();
    nn::TextGenerator generator(model);
    check_error("the prompt is empty", [&] { generator.generate(Tokens{}); });
    check_error("token 7 is not one of the vocabulary's 7", [&] { generator.generate(Tokens{7}); });
    check_error("a temperature of -1", [&] { generator.generate(Tokens{1}, {.temperature = -1}); });
    check_error("top_p of 0", [&] { generator.generate(Tokens{1}, {.top_p = 0}); });
    check_error("a number of beams of 0", [&] { generator.generate(Tokens{1}, {.beams = 0}); });
    check_error("beyond the context of 24",
                [&] { generator.generate(Tokens{1}, {.tokens = 24, .beams = 2}); });
    check_error("a context of 25 tokens", [&] { nn::TextGenerator(model, 25); });
    Philox random(0);
    check_error("no logit is finite", [&] {
      nn::next_token(std::vector{-kInfinity, std::nanf("")}, {}, {}, random);
    });
    check_error("25 tokens are more than the context of 24", [&] {
      model(Tensor(Array({1, 25}, DType::i32)));
    });
  }
}
