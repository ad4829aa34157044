// Pretrains a small BERT (Devlin et al. 2018) on texts without labels, by finding out words that are masked,
// then tunes it with few labelled ones to tell praise from blame; the same network from scratch, with the
// same labelled texts and as many steps, shows what that is worth. Without options the texts are of a made-up
// language, in which words of praise stand together, and so do words of blame: they can be told apart without
// labels. --data takes a folder of reviews (nn/data/reviews.h says how they lie there).
#include <algorithm>
#include <array>

#include "nn/data/reviews.h"
#include "nn/models/bert.h"
#include "nn/nn.h"
#include "nn/run/session.h"
#include "nn/text/words.h"

using namespace stithy;

// Sentences that praise or blame, in words of syllables; "not" turns what follows it around. Verbs, which few
// words are, stand in the longer ones alone.
std::vector<Review> write_sentences(int64_t count, bool longer, uint64_t seed) {
  constexpr size_t kNouns = 40, kAdjectives = 40, kVerbs = 3;
  Philox spelling(seed, 3), random(seed, 4 + longer);
  std::vector<std::string> words;
  const std::string consonants = "bdfgklmnprstvz", vowels = "aeiou";
  while (words.size() < kNouns + 2 * (kAdjectives + kVerbs)) {
    std::string word;
    for (int syllable = 0; syllable < 3; ++syllable) {
      word += consonants[spelling.below(consonants.size())];
      word += vowels[spelling.below(vowels.size())];
    }
    if (std::find(words.begin(), words.end(), word) == words.end()) words.push_back(word);
  }
  const auto one_of = [&](size_t begin, size_t size) { return words[begin + random.below(size)]; };
  std::vector<Review> out;
  for (int64_t i = 0; i < count; ++i) {
    const bool praise = random.below(2) == 1;
    const auto noun = [&] { return one_of(0, kNouns); };
    const auto adjective = [&](bool kind) { return one_of(kNouns + kind * kAdjectives, kAdjectives); };
    const auto verb = [&] { return one_of(kNouns + 2 * kAdjectives + praise * kVerbs, kVerbs); };
    const std::string first = adjective(praise), second = adjective(praise), thing = noun();
    switch (random.below(longer ? 2 : 3) + 3 * longer) {
      case 0: out.push_back({"the " + thing + " is " + first + " and " + second, praise}); break;
      case 1:
        out.push_back({"this " + first + " " + thing + " has a " + second + " " + noun(), praise});
        break;
      case 2: out.push_back({"a " + thing + " not " + adjective(!praise) + " but " + first, praise}); break;
      case 3:
        out.push_back({"we " + verb() + " the " + first + " and " + second + " " + thing, praise});
        break;
      default: out.push_back({"this " + first + " " + thing + " was " + second + " so we " + verb(), praise});
    }
  }
  return out;
}

// Two classes, of the mean of a text's states.
struct Classifier : nn::Module {
  explicit Classifier(const nn::BertModel& model)
      : bert(child("bert", model)), classifier(child("classifier", nn::Linear(model.options().size, 2))) {}
  Tensor forward(const Tensor& ids, const Tensor& lengths) {
    const Tensor states = bert->forward({.ids = ids, .lengths = lengths});
    const Tensor within = cast(less(arange(ids.dim(1)), reshape(lengths, {-1, 1})), DType::f32);
    const Tensor total = sum(states * unsqueeze(within, 2), {1});
    return classifier(total / reshape(cast(lengths, DType::f32), {-1, 1}));
  }
  nn::Child<nn::BertModel> bert;
  nn::Child<nn::Linear> classifier;
};

struct Data {
  TokenizerPtr tokenizer;
  DatasetPtr train, labelled, test;  // "words" i32 [longest], "length" i32 [], "label" i32 []
};
// `more` are texts without labels, beside those of the reviews.
Data prepare(const std::vector<Review>& reviews, const std::vector<Review>& more, int64_t labelled,
             int64_t longest, uint64_t seed) {
  const auto count = static_cast<int64_t>(reviews.size()), tested = count / 4;
  if (count - tested < labelled || tested < 1)
    throw Error("bert_mlm", cat(count, " texts are too few, of which ", labelled, " have labels"));
  std::vector<Review> all;
  for (const int64_t i : permutation(count, seed, 0)) all.push_back(reviews[static_cast<size_t>(i)]);
  all.insert(all.end(), more.begin(), more.end());
  std::vector<std::string> learnt;
  for (size_t i = static_cast<size_t>(tested); i < all.size(); ++i) learnt.push_back(all[i].text);
  Data data;
  data.tokenizer = WordTokenizer::train(learnt, {.vocabulary = 10000, .special = {"[CLS]", "[MASK]"}});
  std::vector<std::vector<int32_t>> words;
  Array labels({static_cast<int64_t>(all.size())}, DType::i32);
  for (const Review& review : all) {
    labels.set(static_cast<int64_t>(words.size()), review.positive);
    words.push_back(data.tokenizer->encode(review.text, {.parse_special = false}));
    words.back().insert(words.back().begin(), data.tokenizer->id("[CLS]"));
  }
  const PaddedSequences padded = pad_sequences(words, {.length = longest});
  const auto whole = std::make_shared<InMemoryDataset>(std::vector<InMemoryDataset::Source>{
      {"words", padded.ids}, {"length", padded.lengths}, {"label", labels, kIgnoreIndex}});
  // Those with labels come as often as makes an epoch.
  const auto part = [&](int64_t begin, int64_t end, int64_t times = 1) {
    std::vector<int64_t> items;
    for (int64_t i = 0; i < (end - begin) * times; ++i) items.push_back(begin + i % (end - begin));
    return subset(whole, items);
  };
  data.test = part(0, tested);
  data.train = part(tested, whole->size());
  data.labelled = part(tested, tested + labelled, (4000 + labelled - 1) / labelled);
  return data;
}

int main(int argc, char** argv) {
  constexpr int64_t kLabelled = 2000, kWritten = 5000;
  constexpr double kPretraining = 8, kTuning = 1;  // shares of the epochs
  int64_t labelled = 40, longest = 12, size = 64, layers = 2;
  double range = 0.1;

  nn::Session session("bert_mlm", "pretrains a small BERT on masked words, and tunes it with few labels",
                      {.epochs = 1, .batch = 64, .lr = 3e-3});
  session.arguments().add("--labelled", &labelled, "texts whose labels are used", {2, 1e6});
  session.arguments().add("--longest", &longest, "words of a text that are read", {2, 510});
  session.arguments().add("--size", &size, "of the states, which 4 heads share", {4, 4096});
  session.arguments().add("--layers", &layers, "of the network", {1, 48});
  session.arguments().add("--initializer-range", &range, "deviation of the first weights", {1e-6, 10});

  return session.run(argc, argv, [&] {
    const RunOptions& options = session.options();
    const bool own = options.data.empty();
    const Data data =
        prepare(own ? write_sentences(kLabelled, false, options.seed) : read_reviews(options.data),
                own ? write_sentences(kWritten, true, options.seed) : std::vector<Review>{}, labelled,
                longest, options.seed);
    const MaskingOptions masking{.vocabulary = data.tokenizer->size(),
                                 .mask = data.tokenizer->id("[MASK]"),
                                 .special = {0, 1, data.tokenizer->id("[CLS]")}};
    DataLoader texts(data.train, {.batch = std::min(options.batch, data.train->size()),
                                  .seed = options.seed,
                                  .transform = [&](Batch& batch, Philox& random) {
                                    batch.columns[2] = mask_tokens(batch.columns[0], masking, random);
                                  }});
    DataLoader train(data.labelled,
                     {.batch = std::min(options.batch, data.labelled->size()), .seed = options.seed});
    DataLoader test(
        data.test,
        {.batch = std::min<int64_t>(250, data.test->size()), .shuffle = false, .last = LastBatch::pad});

    const nn::BertOptions shape{.vocabulary = data.tokenizer->size(),
                                .positions = longest,
                                .size = size,
                                .layers = layers,
                                .heads = 4,
                                .hidden = 4 * size,
                                .dropout = 0,  // so small a network learns the slower with it
                                .attention_dropout = 0,
                                .initializer_range = static_cast<float>(range)};
    const nn::BertModel pretrained(shape, false), fresh(shape, false);
    const auto trainer_for = [&](nn::Module& model, const nn::StepFunction& step, DataLoader& loader,
                                 const nn::Stage& stage, double rate) {
      return std::make_unique<nn::Trainer>(
          model, step, nn::AdamW({.lr = static_cast<float>(options.lr * rate)}),
          nn::TrainerOptions{.schedule = nn::schedule::linear_warmup(
                                 20, nn::schedule::cosine(session.total_steps(loader, 1, stage.share), 0.05)),
                             .clip_norm = 1});
    };

    nn::BertForMaskedLM reader(pretrained);
    const auto find_out = [&](std::span<const Tensor> batch) {
      const Tensor logits = reader.forward(nn::BertInputs{.ids = batch[0], .lengths = batch[1]});
      return nn::StepOutputs{.loss = nn::CrossEntropy{}(logits, batch[2]),
                             .metrics = {{"accuracy", nn::accuracy(logits, batch[2], kIgnoreIndex)}}};
    };
    const nn::Stage pretraining{"pretrain", kPretraining};
    session.fit(*trainer_for(reader, find_out, texts, pretraining, 1), texts, {}, pretraining);
    if (session.folder()) nn::save_weights(*session.folder() / "bert.safetensors", pretrained);

    const auto learn = [&](Classifier& model, const std::string& name) {
      const auto classify = [&](std::span<const Tensor> batch) {
        const Tensor logits = model.forward(batch[0], batch[1]);
        return nn::StepOutputs{.loss = nn::CrossEntropy{}(logits, batch[2]),
                               .output = logits,
                               .metrics = {{"accuracy", nn::accuracy(logits, batch[2], kIgnoreIndex)}}};
      };
      const nn::Stage stage{name, kTuning};
      auto trainer = trainer_for(model, classify, train, stage, 0.5);
      session.fit(*trainer, train, {}, stage);
      return nn::evaluate(*trainer, test, {}, options.fast_dev_run ? 1 : 0);
    };
    Classifier tuned(pretrained), scratch(fresh);
    const nn::MeanMetrics after = learn(tuned, "tuning"), alone = learn(scratch, "scratch");
    session.report().tables.push_back({"test",
                                       {"", "loss", "accuracy"},
                                       {{"pretrained", cat(after.at("loss")), cat(after.at("accuracy"))},
                                        {"from scratch", cat(alone.at("loss")), cat(alone.at("accuracy"))}}});
    session.finish({{"val_loss", after.at("loss")},
                    {"accuracy", after.at("accuracy")},
                    {"accuracy_scratch", alone.at("accuracy")}});
  });
}
