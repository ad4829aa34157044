// Models of sequences against PyTorch, by what tests/golden/make_text_models_golden.py wrote; and what they
// do beyond that.
#include <doctest/doctest.h>

#include <cmath>

#include "nn/models/models.h"
#include "nn/nn.h"
#include "nn/safetensors.h"
#include "tests/check_error.h"
#include "tests/golden_models.h"
#include "tests/temporary_folder.h"

using namespace stithy;
using testing::fill, testing::numbers, testing::Run, testing::Tolerance, testing::values, testing::weighted;

namespace {

template <class Model, class RunModel>
void check(const std::string& family, const std::string& name, Model& model, RunModel run,
           const Tolerance& tolerance = {1e-5, 3e-5}) {
  const auto run_module = [&](nn::Module& module, const Array& x) {
    return run(dynamic_cast<Model&>(module), x);
  };
  CHECK(testing::check_model(family, name, model, tolerance, run_module) == "");
}

Array lengths(std::vector<int32_t> values) {
  return Array({static_cast<int64_t>(values.size())}, std::span<const int32_t>(values));
}

// GPT-2's layer, whose weight stands the other way.
struct Conv1d : nn::Projection {
  Conv1d(int64_t in, int64_t out) : Projection("Conv1D", in, out, true, Layout::in_out) {}
};
struct Adaptable : nn::Module {
  nn::Child<nn::Linear> first = child("first", nn::Linear(9, 13));
  nn::Child<Conv1d> second = child("second", Conv1d(13, 7));
  nn::Child<nn::Linear> last = child("last", nn::Linear(7, 5));
  Tensor forward(const Tensor& x) override { return last(stithy::tanh(second(stithy::tanh(first(x))))); }
};

std::map<std::string, Array> weights_of(const nn::Module& model) {
  std::map<std::string, Array> out;
  for (const auto& [name, variable] : model.named_parameters()) out.emplace(name, variable.value());
  return out;
}

double largest_difference(const Array& a, const Array& b) {
  double most = 0;
  for (int64_t i = 0; i < a.numel(); ++i) most = std::max(most, std::abs(a.at(i) - b.at(i)));
  return most;
}

}  // namespace

TEST_SUITE_BEGIN("text_models");

TEST_CASE("LoRA computes what PyTorch does") {
  Adaptable model;
  CHECK(nn::add_lora(model, {.rank = 2, .alpha = 6, .pattern = "*st"}) ==
        std::vector<std::string>{"first", "last"});
  Adaptable other;
  CHECK(nn::add_lora(other, {.rank = 2, .alpha = 6, .pattern = "first"}).size() == 1);
  CHECK(nn::add_lora(other, {.rank = 2, .alpha = 6, .pattern = "second"}).size() == 1);
  check("lora", "lora", other, [](Adaptable& m, const Array& x) { return weighted(m(Tensor(x))); });
}

TEST_CASE("LoRA starts as no change, trains the adapters alone, and merges into the weights") {
  const TemporaryFolder folder;
  nn::manual_seed(1);
  Adaptable model;
  const Array x = values("x", {8, 9});
  model.eval();
  const Array before = model(Tensor(x)).eval();
  const auto frozen = weights_of(model);
  CHECK(nn::add_lora(model, {.rank = 3, .alpha = 6, .dropout = 0.1f}).size() == 3);
  model.eval();
  CHECK(same_bytes(model(Tensor(x)).eval(), before));

  nn::Trainer trainer(model, nn::Mse{}, nn::Adam({.lr = 0.02f}));
  CHECK(trainer.optimizer().trained().size() == 6);
  for (const auto& [name, variable] : trainer.optimizer().trained())
    CHECK_MESSAGE(name.find(".lora_") != std::string::npos, name);
  const std::vector<Array> batch{x, values("y", {8, 5})};
  const double first = trainer.evaluate(batch).metrics.loss;
  for (int i = 0; i < 60; ++i) trainer.step(batch);
  CHECK(trainer.evaluate(batch).metrics.loss < 0.7 * first);
  const auto after = weights_of(model);
  for (const auto& [name, value] : frozen) CHECK_MESSAGE(same_bytes(after.at(name), value), name);

  // In training the dropout makes a difference, in evaluation none.
  model.train();
  CHECK_FALSE(same_bytes(model(Tensor(x)).eval(), model(Tensor(x)).eval()));
  model.eval();
  const Array tuned = model(Tensor(x)).eval();
  CHECK(largest_difference(tuned, before) > 0.05);

  nn::save_lora(folder / "adapter.safetensors", model);
  const TensorFile file = read_safetensors(folder / "adapter.safetensors");
  CHECK(file.tensors.size() == 6);
  CHECK(file.tensors.at("base_model.model.second.lora_B.weight").shape() == Shape{7, 3});
  nn::merge_lora(model);
  CHECK(model.named_parameters().size() == frozen.size());
  CHECK(largest_difference(model(Tensor(x)).eval(), tuned) < 1e-6);
  check_error("has no adapters", [&] { nn::merge_lora(model); });

  // The adapter alone makes of the old weights what training did.
  Adaptable again;
  for (const auto& [name, variable] : again.named_parameters()) Variable(variable).set(frozen.at(name));
  nn::add_lora(again, {.rank = 3, .alpha = 6});
  nn::load_lora(folder / "adapter.safetensors", again);
  again.eval();
  CHECK(same_bytes(again(Tensor(x)).eval(), tuned));
  Adaptable louder;
  nn::add_lora(louder, {.rank = 3, .alpha = 12});
  check_error("was trained with alpha / rank = 2, here it is 4",
              [&] { nn::load_lora(folder / "adapter.safetensors", louder); });
  Adaptable less;
  nn::add_lora(less, {.rank = 3, .alpha = 6, .pattern = "last"});
  check_error("has base_model.model.first.lora_A.weight, for which this model has no adapter",
              [&] { nn::load_lora(folder / "adapter.safetensors", less); });
}

TEST_CASE("LoRA refuses what does not fit, and changes nothing then") {
  Adaptable model;
  check_error("no layer of Module is named \"attn\"", [&] { nn::add_lora(model, {.pattern = "attn"}); });
  check_error("rank of an adapter must be at least 1, got 0", [&] { nn::add_lora(model, {.rank = 0}); });
  check_error("must be in [0, 1), got 1", [&] { nn::add_lora(model, {.dropout = 1}); });
  CHECK(model.trainable_parameters().size() == 6);
  nn::add_lora(model, {.pattern = "last"});
  check_error("last has an adapter already", [&] { nn::add_lora(model); });
  CHECK(model.named_parameters().size() == 8);
}

TEST_CASE("sequence to sequence with attention") {
  const auto run = [](nn::Seq2Seq& model, const Array&) {
    return weighted(
        model.forward(numbers("source", {3, 6}, 11), lengths({6, 4, 1}), numbers("target", {3, 4}, 13))
            .logits);
  };
  nn::Seq2Seq model({.source_vocabulary = 11, .target_vocabulary = 13, .embedding = 5, .hidden = 7});
  check("seq2seq", "seq2seq", model, run);
  nn::Seq2Seq deep(
      {.source_vocabulary = 11, .target_vocabulary = 13, .embedding = 5, .hidden = 7, .layers = 2});
  check("seq2seq", "seq2seq deep", deep, run);
  check_error("Seq2Seq: sizes must be at least 1", [] { nn::Seq2Seq({.hidden = 0}); });
  check_error("the padding index 9 is none of the 5 rows",
              [] { nn::Seq2Seq({.source_vocabulary = 5, .padding = 9}); });
}

namespace {
// Sources of letters 3 to 7 whose targets are the same backwards, then the end (2), padded by 0.
struct Backwards {
  Array source, lengths, input, target;
};
Backwards backwards(int64_t count, int64_t most) {
  Backwards b{Array({count, most}, DType::i32), Array({count}, DType::i32),
              Array({count, most + 1}, DType::i32), Array({count, most + 1}, DType::i32)};
  Philox random(7);
  for (int64_t i = 0; i < count; ++i) {
    const auto length = 1 + static_cast<int64_t>(random.below(static_cast<uint64_t>(most)));
    b.lengths.set(i, static_cast<double>(length));
    b.input.set(i * (most + 1), 1);
    for (int64_t k = 0; k < most + 1; ++k) b.target.set(i * (most + 1) + k, kIgnoreIndex);
    for (int64_t k = 0; k < length; ++k) {
      const auto letter = static_cast<double>(3 + random.below(5));
      b.source.set(i * most + k, letter);
      b.target.set(i * (most + 1) + length - 1 - k, letter);
      b.input.set(i * (most + 1) + length - k, letter);
    }
    b.target.set(i * (most + 1) + length, 2);
  }
  return b;
}

// Trains until the model turns sequences around; its translations are complete, and so are their weights.
template <class Model, class Logits>
void check_learns_backwards(Model& model, int steps, float lr, Logits logits) {
  const Backwards data = backwards(16, 4);
  nn::Trainer trainer(
      model,
      [&](std::span<const Tensor> batch) {
        const Tensor y = logits(batch[0], batch[1], batch[2]);
        return nn::StepOutputs{.loss = nn::CrossEntropy{{.ignore_index = kIgnoreIndex}}(y, batch[3])};
      },
      nn::Adam({.lr = lr}));
  for (int i = 0; i < steps; ++i) trainer.step({data.source, data.lengths, data.input, data.target});
  CHECK(trainer.metrics().loss < 0.1);
  const auto translations = model.translate(data.source, data.lengths, {.most = 6});
  CHECK(model.training());
  int right = 0;
  for (size_t i = 0; i < translations.size(); ++i) {
    const auto& [tokens, weights] = translations[i];
    const int64_t length = static_cast<int64_t>(data.lengths.at(static_cast<int64_t>(i)));
    bool same = static_cast<int64_t>(tokens.size()) == length;
    for (size_t k = 0; same && k < tokens.size(); ++k)
      same = tokens[k] == data.target.at(static_cast<int64_t>(i * 5 + k));
    right += same;
    if (same) CHECK(weights.shape() == Shape{length + 1, length});
    for (int64_t row = 0; row < weights.shape()[0]; ++row) {
      double total = 0;
      for (int64_t k = 0; k < length; ++k) total += weights.at(row * length + k);
      CHECK(total == doctest::Approx(1).epsilon(1e-5));
    }
  }
  CHECK(right >= 15);
}
}  // namespace

TEST_CASE("sequence to sequence learns to turn words around, and decodes what it has learnt") {
  nn::manual_seed(2);
  nn::Seq2Seq model({.source_vocabulary = 8, .target_vocabulary = 8, .embedding = 16, .hidden = 24});
  check_learns_backwards(model, 120, 0.02f,
                         [&](const Tensor& source, const Tensor& lengths, const Tensor& target) {
                           return model.forward(source, lengths, target).logits;
                         });
  const Array source({1, 2}, std::span<const int32_t>(std::array<int32_t, 2>{3, 4}));
  CHECK(model.translate(source, lengths({2}), {.most = 1})[0].tokens.size() <= 1);
  check_error("a length of 3 is not from 1 to 2", [&] { model.translate(source, lengths({3})); });
  check_error("a length of 0 is not from 1 to 2", [&] { model.translate(source, lengths({0})); });
  check_error("not i32 [n, s] with i32 [n]", [&] { model.translate(source, lengths({1, 1})); });
  check_error("decoding makes at least 1 token", [&] { model.translate(source, lengths({1}), {.most = 0}); });
}

TEST_CASE("translator") {
  const auto run = [](nn::Translator& model, const Array&) {
    return weighted(
        model.forward(numbers("source", {3, 6}, 11), lengths({6, 4, 1}), numbers("target", {3, 4}, 13)));
  };
  nn::TranslatorOptions options{.source_vocabulary = 11,
                                .target_vocabulary = 13,
                                .size = 8,
                                .heads = 2,
                                .encoder_layers = 2,
                                .decoder_layers = 2,
                                .hidden = 12,
                                .dropout = 0};
  nn::Translator model(options);
  check("translator", "translator", model, run);
  options.shared_embeddings = true;
  check_error("vocabularies of 11 and 13 tokens cannot share", [&] { nn::Translator{options}; });
  options.source_vocabulary = 13;
  options.norm_first = true;
  nn::Translator shared(options);
  check("translator", "translator shared", shared, run);
}

TEST_CASE("a translator learns to turn words around, and decodes what it has learnt") {
  nn::manual_seed(3);
  nn::Translator model({.source_vocabulary = 8,
                        .target_vocabulary = 8,
                        .size = 32,
                        .heads = 2,
                        .encoder_layers = 1,
                        .decoder_layers = 2,
                        .hidden = 64,
                        .dropout = 0,
                        .norm_first = true,
                        .shared_embeddings = true});
  check_learns_backwards(model, 150, 0.005f,
                         [&](const Tensor& source, const Tensor& lengths, const Tensor& target) {
                           return model.forward(source, lengths, target);
                         });
}

TEST_CASE("a trace notes what each layer of attention looks at") {
  nn::TransformerEncoderLayer layer(8, 2, {.hidden = 12, .dropout = 0});
  const Array x = values("x", {3, 4, 8});
  const nn::AttentionTrace trace;
  const Tensor y = layer.forward(x, nn::Attend{.causal = true, .lengths = lengths({4, 2, 1})});
  REQUIRE(trace.calls().size() == 1);
  CHECK(trace.calls()[0].path == "self_attn");
  const Array weights = trace.calls()[0].weights.eval();
  CHECK(weights.shape() == Shape{3, 2, 4, 4});
  const std::array<int64_t, 3> seen{4, 2, 1};
  for (int64_t i = 0; i < weights.numel(); i += 4) {
    const int64_t query = i / 4 % 4, limit = std::min(query + 1, seen[static_cast<size_t>(i / 32)]);
    double total = 0;
    for (int64_t key = 0; key < 4; ++key) {
      total += weights.at(i + key);
      CHECK((weights.at(i + key) > 0) == (key < limit));
    }
    CHECK(total == doctest::Approx(1).epsilon(1e-6));
  }
}

TEST_CASE("BERT") {
  nn::BertModel base;
  CHECK(testing::check_names("bert", "bert base", base) == "");
  const nn::BertInputs inputs{
      .ids = numbers("ids", {3, 6}, 17), .lengths = lengths({6, 4, 1}), .types = numbers("types", {3, 6}, 2)};
  const nn::BertOptions options{.vocabulary = 17,
                                .positions = 9,
                                .size = 8,
                                .layers = 2,
                                .heads = 2,
                                .hidden = 12,
                                .dropout = 0,
                                .attention_dropout = 0};
  nn::BertForMaskedLM masked(options);
  check("bert", "masked", masked,
        [&](nn::BertForMaskedLM& m, const Array&) { return weighted(m.forward(inputs)); });
  nn::BertForSequenceClassification classes(options, 3);
  check("bert", "classes", classes,
        [&](nn::BertForSequenceClassification& m, const Array&) { return weighted(m.forward(inputs)); });
  nn::BertForQuestionAnswering answers(options);
  check("bert", "answers", answers, [&](nn::BertForQuestionAnswering& m, const Array&) {
    const auto [start, end] = m.forward(inputs);
    return weighted(concat(std::vector{start, end}, 1));
  });

  // Without types all are 0, and without lengths all tokens are seen.
  masked.eval();
  const Array zeros({3, 6}, DType::i32);
  CHECK(
      same_bytes(masked(inputs.ids).eval(),
                 masked.forward({.ids = inputs.ids, .lengths = lengths({6, 6, 6}), .types = zeros}).eval()));
  check_error("[3, 10], not [n, t] with t up to 9", [&] { masked(numbers("ids", {3, 10}, 17)); });
  check_error("BertModel: 3 heads do not divide the size 8", [&] {
    nn::BertOptions odd = options;
    odd.heads = 3;
    nn::BertModel{odd};
  });
  check_error("has no pooler", [&] { masked.bert->pooled(input("x", {3, 6, 8})); });

  // A classifier on what a masked language model has learnt shares its parameters.
  const nn::BertForSequenceClassification tuned(*masked.bert, 3);
  CHECK(tuned.named_parameters().size() == masked.bert->named_parameters().size() + 4);
  CHECK(tuned.bert->word_embeddings() == masked.bert->word_embeddings());
  const nn::BertForMaskedLM back(*tuned.bert);
  CHECK(back.named_parameters().size() == masked.named_parameters().size());
}

TEST_CASE("BERT's weights as others name them") {
  const TemporaryFolder folder;
  const nn::BertOptions options{
      .vocabulary = 17, .positions = 9, .size = 8, .layers = 1, .heads = 2, .hidden = 12};
  const nn::BertForMaskedLM model(options);
  fill(model);
  // As TensorFlow did, and as files of that time have it; the heads' model holds a plain one.
  TensorFile old;
  for (const auto& [name, variable] : model.named_parameters()) {
    std::string renamed = name;
    if (const size_t at = name.find("LayerNorm."); at != std::string::npos)
      renamed = name.substr(0, at + 10) + (name.ends_with("weight") ? "gamma" : "beta");
    old.tensors.emplace(renamed, variable.value());
  }
  write_safetensors(folder / "old.safetensors", old);
  const nn::BertForMaskedLM again(options);
  nn::load_weights(folder / "old.safetensors", again);
  const auto expected = weights_of(model);
  for (const auto& [name, value] : weights_of(again))
    CHECK_MESSAGE(same_bytes(value, expected.at(name)), name);
  const nn::BertModel plain(options, false);
  nn::load_weights(folder / "old.safetensors", plain);
  for (const auto& [name, value] : weights_of(plain))
    CHECK_MESSAGE(same_bytes(value, expected.at("bert." + name)), name);
}

TEST_CASE("masking hides tokens as BERT's authors did, by the seed alone") {
  constexpr int64_t kRows = 400, kColumns = 50;
  Array ids({kRows, kColumns}, DType::i32);
  for (int64_t i = 0; i < ids.numel(); ++i)
    ids.set(i, i % kColumns == 0 ? 1 : i % kColumns > 40 ? 0 : static_cast<double>(4 + i % 96));
  const MaskingOptions options{.vocabulary = 100, .mask = 3, .special = {0, 1, 2}};
  Array hidden = ids;
  Philox random(5, 2);
  const Array targets = mask_tokens(hidden, options, random);
  int64_t chosen = 0, masked = 0, kept = 0, others = 0;
  for (int64_t i = 0; i < ids.numel(); ++i) {
    if (targets.at(i) == kIgnoreIndex) {
      CHECK(hidden.at(i) == ids.at(i));
      continue;
    }
    CHECK(targets.at(i) == ids.at(i));
    CHECK(ids.at(i) > 3);
    ++chosen;
    masked += hidden.at(i) == 3;
    kept += hidden.at(i) == ids.at(i);
    others += hidden.at(i) != 3 && hidden.at(i) != ids.at(i);
    CHECK(hidden.at(i) >= 3);
  }
  const auto close = [](double share, double expected) { return std::abs(share - expected) < 0.03; };
  const auto of_chosen = [&](int64_t count) {
    return static_cast<double>(count) / static_cast<double>(chosen);
  };
  CHECK(close(static_cast<double>(chosen) / (kRows * 40), 0.15));
  CHECK(close(of_chosen(masked), 0.8));
  CHECK(close(of_chosen(kept), 0.1));
  CHECK(close(of_chosen(others), 0.1));

  const auto again = [&](uint64_t seed) {
    Array copy = ids;
    Philox same(seed, 2);
    return std::pair{mask_tokens(copy, options, same), copy};
  };
  CHECK(same_bytes(again(5).first, targets));
  CHECK(same_bytes(again(5).second, hidden));
  CHECK_FALSE(same_bytes(again(6).first, targets));

  // Of a short text one token is hidden in any case, of special ones none.
  Array few({2, 3}, std::span<const int32_t>(std::array<int32_t, 6>{1, 9, 2, 1, 2, 0}));
  const Array one =
      mask_tokens(few, {.vocabulary = 100, .mask = 3, .special = {0, 1, 2}, .chosen = 1e-9}, random);
  CHECK(one.at(1) == 9);
  for (const int64_t i : {0, 2, 3, 4, 5}) CHECK(one.at(i) == kIgnoreIndex);

  check_error("the mask 100 is not in a vocabulary of 100",
              [&] { mask_tokens(few, {.vocabulary = 100, .mask = 100}, random); });
  check_error("the id 9 is not in a vocabulary of 5", [&] {
    mask_tokens(few = Array({1, 1}, std::span<const int32_t>(std::array<int32_t, 1>{9})),
                {.vocabulary = 5, .mask = 3}, random);
  });
  check_error("all tokens of the vocabulary are special",
              [&] { mask_tokens(few, {.vocabulary = 1, .mask = 0}, random); });
  check_error("are not in [0, 1]",
              [&] { mask_tokens(few, {.vocabulary = 9, .mask = 3, .masked = 0.95}, random); });
  Array floats({1, 1}, DType::f32);
  check_error("f32 [1, 1], not i32 [n, t]",
              [&] { mask_tokens(floats, {.vocabulary = 9, .mask = 3}, random); });
}

TEST_CASE("LLaMA") {
  const auto run = [](nn::Llama& model, const Array&) {
    return weighted(model(Tensor(numbers("ids", {3, 6}, 17))));
  };
  nn::LlamaOptions options{.vocabulary = 17, .size = 8, .layers = 2, .hidden = 12, .heads = 2};
  nn::Llama model(options);
  check("llama", "llama", model, run);
  nn::Llama grouped({.vocabulary = 17,
                     .size = 16,
                     .layers = 2,
                     .hidden = 20,
                     .heads = 4,
                     .kv_heads = 2,
                     .window = 3,
                     .tied = true,
                     .rope_base = 500});
  check("llama", "llama grouped", grouped, run);
  options.heads = 8;
  check_error("8 heads do not divide the size 8 into even parts", [&] { nn::Llama{options}; });
  options.heads = 4;
  options.kv_heads = 3;
  check_error("3 kv_heads do not divide 4 heads", [&] { nn::Llama{options}; });
}

TEST_CASE("GPT-2 computes what PyTorch does") {
  const auto run = [](nn::Gpt& model, const Array&) {
    return weighted(model(Tensor(numbers("ids", {3, 6}, 17))));
  };
  nn::Gpt model({.vocabulary = 17, .context = 8, .layers = 2, .heads = 2, .width = 8});
  check("gpt", "gpt", model, run);
  CHECK(nn::Gpt(nn::GptOptions{.vocabulary = 5, .context = 4, .layers = 1, .heads = 1, .width = 4})
            .loss(Tensor(Array({1, 3}, DType::i32)), Tensor(Array({1, 3}, DType::i32)))
            .shape() == Shape{});
  check_error("3 heads do not divide the width 8", [] { nn::Gpt({.heads = 3, .width = 8}); });
}

TEST_CASE("GPT-2's four sizes have the names and shapes of Hugging Face's weights") {
  // Only the smallest is made: 124,439,808 parameters, as Hugging Face's GPT2LMHeadModel has.
  nn::Gpt model(nn::GptOptions::small());
  CHECK(testing::check_names("gpt", "gpt2", model) == "");
  const auto count = [](const nn::GptOptions& o) {
    return o.vocabulary * o.width + o.context * o.width + o.layers * (12 * o.width * o.width + 13 * o.width) +
           2 * o.width;
  };
  CHECK(model.parameter_count() == count(nn::GptOptions::small()));
  CHECK(count(nn::GptOptions::small()) == 124439808);
  CHECK(count(nn::GptOptions::medium()) == 354823168);
  CHECK(count(nn::GptOptions::large()) == 774030080);
  CHECK(count(nn::GptOptions::xl()) == 1557611200);
}

TEST_CASE("weights of a GPT-2 without its head, as Hugging Face hands them out, and back") {
  const TemporaryFolder folder;
  const nn::GptOptions options{.vocabulary = 5, .context = 4, .layers = 1, .heads = 1, .width = 4};
  nn::Gpt model(options), other(options);
  fill(model);
  TensorFile bare;
  for (const auto& [name, value] : weights_of(model))
    bare.tensors.emplace(name.substr(std::string("transformer.").size()), value);
  bare.tensors.emplace("h.0.attn.bias", Array({1, 1, 4, 4}, DType::f32));  // its mask, which is no weight
  write_safetensors(folder / "bare.safetensors", bare);
  nn::load_weights(folder / "bare.safetensors", other);
  for (const auto& [name, value] : weights_of(model))
    CHECK(largest_difference(value, weights_of(other).at(name)) == 0);
}

TEST_SUITE_END();
