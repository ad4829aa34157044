// Tunes a language model to a new kind of text by low-rank adaptation (Hu et al. 2021): small matrices beside
// the weights are trained, the weights themselves stay as they are, byte by byte. Without options a small GPT
// learns plain sentences first; the new text tells the same things the other way round: "a small boat the old
// sailor paints". --data takes another new text, a file, and --weights what GPT-2 has learnt: a folder with
// Hugging Face's model.safetensors, vocab.json and merges.txt.
#include <algorithm>
#include <array>
#include <cmath>

#include "nn/generate.h"
#include "nn/models/gpt.h"
#include "nn/nn.h"
#include "nn/run/session.h"
#include "nn/text/text_files.h"
#include "nn/text/words.h"
#include "nn/torch_file.h"

using namespace stithy;

// Sentences of who does what to what, and where; `inverted` puts what is done to in front and the verb last.
std::string sentences(int64_t count, bool inverted, uint64_t seed) {
  const std::array adjectives{"old",  "small", "red",   "tall",  "quiet", "young", "bright",
                              "cold", "round", "heavy", "clean", "green", "proud", "grey"};
  const std::array people{"sailor", "baker",  "doctor", "child",  "painter", "farmer",
                          "queen",  "singer", "hunter", "tailor", "soldier", "nurse"};
  const std::array things{"boat",  "house",  "apple", "book",  "lamp",  "chair",
                          "bread", "carpet", "clock", "river", "stone", "garden"};
  const std::array verbs{"sees",  "paints", "carries", "forgets", "wants",   "finds", "keeps",
                         "loses", "draws",  "visits",  "buys",    "praises", "sells", "cleans"};
  const std::array places{"in the harbour", "at the market", "on the hill",    "by the sea",
                          "in the village", "at the gate",   "near the tower", "under the bridge"};
  Philox random(seed, inverted);
  const auto one_of = [&](const auto& words) -> std::string { return words[random.below(words.size())]; };
  const auto noun = [&](const auto& words) {
    return one_of(std::array{"the ", "a "}) + one_of(adjectives) + " " + one_of(words);
  };
  std::string text;
  for (int64_t i = 0; i < count; ++i) {
    const std::string who = noun(people), what = noun(things), does = one_of(verbs), where = one_of(places);
    text +=
        inverted ? where + " " + what + " " + who + " " + does : who + " " + does + " " + what + " " + where;
    text += " .\n";
  }
  return text;
}

// The size of the model that a file of GPT-2's holds. Its heads have 64 elements each.
nn::GptOptions options_of(const std::string& file) {
  const TensorFile weights = read_tensor_file(file);
  const auto shape_of = [&](const std::string& name) {
    for (const char* prefix : {"", "transformer."})
      if (const auto found = weights.tensors.find(prefix + name);
          found != weights.tensors.end() && found->second.shape().rank() == 2)
        return found->second.shape();
    throw Error(file, "has no " + name, "it should be GPT-2's model.safetensors");
  };
  const Shape words = shape_of("wte.weight");
  nn::GptOptions options{.vocabulary = words[0], .context = shape_of("wpe.weight")[0], .width = words[1]};
  options.layers = std::count_if(weights.tensors.begin(), weights.tensors.end(), [](const auto& tensor) {
    return tensor.first.ends_with(".attn.c_attn.weight");
  });
  options.heads = options.width / 64;
  return options;
}

std::map<std::string, Array> values_of(const nn::Module& model) {
  std::map<std::string, Array> values;
  for (const auto& [name, variable] : model.named_parameters()) values.emplace(name, variable.value());
  return values;
}

int main(int argc, char** argv) {
  std::string weights, pattern = "transformer.h.*";
  int64_t rank = 8, window = 32;
  double alpha = 16, dropout = 0;

  nn::Session session("finetune_lora", "tunes a language model to a new text by low-rank adaptation",
                      {.epochs = 3, .batch = 32, .lr = 4e-3});
  session.arguments().add("--weights", &weights, "GPT-2's weights, vocabulary and merges", "FOLDER");
  session.arguments().add("--rank", &rank, "of the adapters", {1, 4096});
  session.arguments().add("--alpha", &alpha, "what the adapters add counts alpha / rank", {0, 1e6});
  session.arguments().add("--dropout", &dropout, "of what goes into the adapters", {0, 0.99});
  session.arguments().add("--pattern", &pattern, "of the names of the layers that get one");
  session.arguments().add("--window", &window, "tokens that are read at once", {2, 1024});

  return session.run(argc, argv, [&] {
    constexpr double kPretraining = 3, kTuning = 2;  // shares of the epochs
    constexpr int64_t kPlain = 2400, kInverted = 1200, kGenerated = 36;
    const RunOptions& options = session.options();
    const std::string plain = sentences(kPlain, false, options.seed);
    const std::string tuned =
        options.data.empty() ? sentences(kInverted, true, options.seed) : read_text(options.data);
    const TokenizerPtr tokenizer = weights.empty()
                                       ? WordTokenizer::train(std::array{plain, tuned}, {.separators = ""})
                                       : load_tokenizer(weights);
    const auto loaders = [&](const std::string& text) {
      std::vector<int32_t> tokens = tokenizer->encode(text, {.parse_special = false});
      const auto kept = static_cast<std::ptrdiff_t>(tokens.size() * 9 / 10);
      const auto windows = [&](std::vector<int32_t> part) {
        return std::make_shared<TokenWindows>(std::move(part),
                                              WindowOptions{.length = window, .stride = window / 2});
      };
      const auto training = windows({tokens.begin(), tokens.begin() + kept});
      const auto validation = windows({tokens.begin() + kept, tokens.end()});
      return std::pair{std::make_unique<DataLoader>(
                           training, LoaderOptions{.batch = std::min(options.batch, training->size()),
                                                   .seed = options.seed}),
                       std::make_unique<DataLoader>(
                           validation, LoaderOptions{.batch = std::min(options.batch, validation->size()),
                                                     .shuffle = false,
                                                     .last = LastBatch::pad})};
    };
    const auto [train, validation] = loaders(tuned);

    const std::string file = weights + "/model.safetensors";
    nn::Gpt model(weights.empty() ? nn::GptOptions{.vocabulary = tokenizer->size(),
                                                   .context = window,
                                                   .layers = 2,
                                                   .heads = 4,
                                                   .width = 64}
                                  : options_of(file));
    const auto step = [&](std::span<const Tensor> batch) {
      return nn::StepOutputs{.loss = model.loss(batch[0], batch[1])};
    };
    const auto trainer_for = [&](double rate, int64_t steps) {
      return std::make_unique<nn::Trainer>(
          model, step, nn::AdamW({.lr = static_cast<float>(options.lr * rate)}),
          nn::TrainerOptions{.schedule = nn::schedule::linear_warmup(10, nn::schedule::cosine(steps, 0.1)),
                             .clip_norm = 1});
    };
    if (weights.empty()) {
      const auto [learnt, checked] = loaders(plain);
      const auto trainer = trainer_for(1, session.total_steps(*learnt, 1, kPretraining));
      session.fit(*trainer, *learnt, {.validation = checked.get()}, {"pretrain", kPretraining});
      if (session.folder()) nn::save_weights(*session.folder() / "base.safetensors", model);
    } else {
      nn::load_weights(file, model);
    }

    const std::vector<int32_t> all = tokenizer->encode(tuned, {.parse_special = false});
    const std::span<const int32_t> prompt = std::span(all).first(std::min<size_t>(all.size(), 3));
    const auto text = [&] {
      std::vector<int32_t> tokens(prompt.begin(), prompt.end());
      for (const int32_t token :
           nn::TextGenerator(model, window)
               .generate(prompt, {.tokens = kGenerated, .temperature = 0.8f, .seed = 1}))
        tokens.push_back(token);
      return tokenizer->decode(tokens);
    };
    const int64_t most = options.fast_dev_run ? 1 : 0;
    const std::string text_before = text();
    const auto frozen = values_of(model);
    const int64_t parameters = model.parameter_count();
    const auto layers = nn::add_lora(model, {.rank = rank,
                                             .alpha = static_cast<float>(alpha),
                                             .dropout = static_cast<float>(dropout),
                                             .pattern = pattern});
    const int64_t added = model.parameter_count() - parameters;
    const auto tuner = trainer_for(1, session.total_steps(*train, 1, kTuning));
    const double loss_before = nn::evaluate(*tuner, *validation, {}, most).at("loss");
    session.fit(*tuner, *train, {.validation = validation.get()}, {"lora", kTuning});
    const double loss_after = nn::evaluate(*tuner, *validation, {}, most).at("loss");

    const auto after = values_of(model);
    const int64_t changed = std::count_if(frozen.begin(), frozen.end(), [&](const auto& weight) {
      return !same_bytes(weight.second, after.at(weight.first));
    });
    if (changed > 0)
      throw Error("finetune_lora", cat(changed, " of ", frozen.size(), " frozen weights have changed"));
    session.print(cat(layers.size(), " layers have adapters of ", added, " parameters, ", parameters, " in ",
                      frozen.size(), " weights are frozen and byte-identical"));
    if (session.folder()) nn::save_lora(*session.folder() / "adapter.safetensors", model);
    nn::merge_lora(model);
    session.report().samples = {{"before", text_before}, {"after", text()}};
    for (const auto& [when, written] : session.report().samples) session.print(when + ": " + written);
    session.finish({{"val_loss_before", loss_before},
                    {"val_loss", loss_after},
                    {"trained_share", static_cast<double>(added) / static_cast<double>(parameters)}});
  });
}
