// Tells praise from blame by three models: the mean of the words' vectors, which knows no order, an LSTM, and
// convolutions over neighbouring words. Without options it reads reviews that are written by rules on the
// spot;
// --data takes a folder of real ones (nn/data/reviews.h says how they lie there).
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "nn/data/reviews.h"
#include "nn/models/text_classifier.h"
#include "nn/nn.h"
#include "nn/run/picture.h"
#include "nn/run/session.h"
#include "nn/text/words.h"

using namespace stithy;

double probability(double logit) { return 1 / (1 + std::exp(-logit)); }

// Columns: the words' numbers, how many they are, and 1 for praise.
DatasetPtr dataset_of(std::span<const Review> reviews, const Tokenizer& tokenizer, int64_t longest) {
  SequenceDataset::Source words{.name = "words", .sequences = {}, .mask = false};
  Array lengths({static_cast<int64_t>(reviews.size())}, DType::i32), labels(lengths.shape(), DType::f32);
  for (size_t i = 0; i < reviews.size(); ++i) {
    words.sequences.push_back(tokenizer.encode(reviews[i].text, {.parse_special = false}));
    const auto index = static_cast<int64_t>(i);
    lengths.set(index, static_cast<double>(std::min<size_t>(words.sequences.back().size(), longest)));
    labels.set(index, reviews[i].positive);
  }
  return std::make_shared<SequenceDataset>(
      std::vector{words}, std::vector<InMemoryDataset::Source>{{"length", lengths}, {"label", labels}},
      SequenceOptions{.lengths = {longest}});
}

struct Verdicts {
  std::vector<double> logits;  // of each review of the test set
  ConfusionMatrix confusion{2};
  double loss = 0;  // of the validation data
};

// Words in the colour of the verdict as it stands after each of them, from red (blame) to green (praise).
Array reading(nn::TextClassifier& model, const Tokenizer& tokenizer, std::span<const Review> reviews,
              int64_t longest) {
  constexpr int64_t kWidth = 900, kScale = 2, kLine = 2 * kTextHeight * kScale;
  std::vector<Array> lines;
  for (const Review& review : reviews) {
    std::vector<int32_t> ids = tokenizer.encode(review.text, {.parse_special = false});
    if (ids.empty() || static_cast<int64_t>(ids.size()) > longest) continue;
    const auto count = static_cast<int64_t>(ids.size());
    Array steps({count}, DType::i32);
    std::iota(steps.values<int32_t>().begin(), steps.values<int32_t>().end(), 1);
    const Tensor same = expand(Tensor(Array({1, count}, ids)), {count, count});
    const Array logits = model.logits(contiguous(same), Tensor(steps)).eval();
    lines.emplace_back(Shape{kLine, kWidth, 3}, DType::u8);
    int64_t x = 0;
    for (int64_t i = 0; i < count; ++i) {
      const std::string& word = tokenizer.token(ids[static_cast<size_t>(i)]);
      const int64_t width = static_cast<int64_t>(word.size()) * kTextWidth * kScale;
      if (x + width > kWidth) lines.emplace_back(Shape{kLine, kWidth, 3}, DType::u8), x = 0;
      const double p = probability(logits.at(i));
      const auto part = [](double share) { return static_cast<uint8_t>(255 * std::clamp(share, 0.2, 1.0)); };
      draw_text(lines.back(), x, 0, word, {part(2 - 2 * p), part(2 * p), 60}, kScale);
      x += width + kTextWidth * kScale;
    }
    lines.emplace_back(Shape{kLine / 2, kWidth, 3}, DType::u8);
  }
  const std::array page{contact_sheet(lines, 1, 1, 0, kBlack)};
  return contact_sheet(page, 1, 1, 2 * kScale * kScale, kBlack);
}

int main(int argc, char** argv) {
  constexpr size_t kWritten = 6000, kShown = 8;
  int64_t words = 10000, least = 1, longest = 48, size = 32;
  double dropout = 0.5;
  nn::Session session("sentiment", "tells praise from blame in reviews",
                      {.epochs = 8, .batch = 50, .lr = 2e-3});
  session.arguments().add("--words", &words, "words that are known, the most frequent ones", {3, 1e6});
  session.arguments().add("--least", &least, "how often a word must occur to be known", {1, 1e6});
  session.arguments().add("--longest", &longest, "words of a review that are read", {1, 10000});
  session.arguments().add("--size", &size, "of a word's vector, and of the models", {1, 10000});
  session.arguments().add("--dropout", &dropout, "of words' vectors and of features", {0, 0.99});

  return session.run(argc, argv, [&] {
    const RunOptions& options = session.options();
    std::vector<Review> all =
        options.data.empty() ? write_reviews(kWritten, options.seed) : read_reviews(options.data);
    const std::vector<int64_t> order = permutation(static_cast<int64_t>(all.size()), options.seed, 0);
    std::vector<Review> mixed;
    for (const int64_t i : order) mixed.push_back(all[static_cast<size_t>(i)]);
    const std::span<const Review> reviews = mixed;
    const size_t tenth = reviews.size() / 10;
    if (tenth < 10) throw Error("sentiment", cat(reviews.size(), " reviews are too few to learn from"));
    const auto tested = reviews.first(tenth), validated = reviews.subspan(tenth, tenth);
    const auto learnt = reviews.subspan(2 * tenth);
    std::vector<std::string> texts;
    for (const Review& review : learnt) texts.push_back(review.text);
    const TokenizerPtr tokenizer = WordTokenizer::train(texts, {.vocabulary = words, .least = least});

    DataLoader train(dataset_of(learnt, *tokenizer, longest), {.batch = options.batch, .seed = options.seed});
    const auto in_order = [&](std::span<const Review> part) {
      return std::make_unique<DataLoader>(
          dataset_of(part, *tokenizer, longest),
          LoaderOptions{.batch = 100, .shuffle = false, .last = LastBatch::keep});
    };
    const auto validation = in_order(validated), test = in_order(tested);

    const auto learn = [&](const std::string& name, nn::TextClassifier& model) {
      const auto step = [&](std::span<const Tensor> batch) {
        const Tensor logits = squeeze(model.logits(batch[0], batch[1]), 1);
        const Tensor right = greater(logits * (batch[2] - 0.5f), full({}, 0));
        return nn::StepOutputs{.loss = nn::BceWithLogits{}(logits, batch[2]),
                               .output = logits,
                               .metrics = {{"accuracy", mean(cast(right, DType::f32))}}};
      };
      nn::Trainer trainer(model, step, nn::AdamW({.lr = static_cast<float>(options.lr)}), {.clip_norm = 1});
      session.fit(trainer, train, {.validation = validation.get(), .patience = 3, .restore_best = true},
                  {.name = name});
      Verdicts verdicts;
      verdicts.loss = nn::evaluate(trainer, *validation).at("loss");
      nn::evaluate(trainer, *test, [&](const Batch& batch, const Array& logits) {
        for (int64_t i = 0; i < batch.count; ++i) {
          verdicts.logits.push_back(logits.at(i));
          const std::array guess{static_cast<int32_t>(logits.at(i) > 0)},
              truth{static_cast<int32_t>(batch.columns[2].at(i))};
          verdicts.confusion.add(guess, truth);
        }
      });
      model.eval();
      return verdicts;
    };
    const nn::TextClassifierOptions sizes{
        .vocabulary = tokenizer->size(), .size = size, .dropout = static_cast<float>(dropout)};
    nn::MeanTextClassifier mean_model(sizes);
    nn::LstmTextClassifier lstm(sizes, size);
    nn::TextCnn cnn(sizes, size);
    const std::array<nn::TextClassifier*, 3> models{&mean_model, &lstm, &cnn};
    const std::array<std::string, 3> names{"mean", "lstm", "cnn"};
    std::array<Verdicts, 3> verdicts;
    stithy::Metrics accuracies;
    Chart roc{"receiver operating characteristic", "false positive rate", {}};
    for (size_t m = 0; m < models.size(); ++m) {
      verdicts[m] = learn(names[m], *models[m]);
      accuracies.emplace_back("accuracy_" + names[m], verdicts[m].confusion.accuracy());
      RocCurve curve;
      for (size_t i = 0; i < verdicts[m].logits.size(); ++i)
        curve.add(verdicts[m].logits[i], tested[i].positive);
      roc.lines.push_back({names[m], curve.points()});
    }
    const auto best_one = std::ranges::min_element(verdicts, {}, &Verdicts::loss);
    const Verdicts& best = *best_one;
    session.figure(
        "reading", reading(lstm, *tokenizer, tested.first(std::min(tenth, kShown)), longest),
        "Reviews of the test set as the LSTM reads them: after each word, the verdict so far, from "
        "red (blame) to green (praise).");

    // Rare words have large weights by chance.
    const Array weights = mean_model.word_weights();
    std::vector<int32_t> frequent(static_cast<size_t>(std::min<int64_t>(1500, tokenizer->size()) - 2));
    std::iota(frequent.begin(), frequent.end(), 2);
    std::ranges::sort(frequent, std::greater{}, [&](int32_t id) { return weights.at(id); });
    ReportTable table{"The words that weigh most with the mean", {"praise", "", "blame", ""}, {}};
    for (size_t i = 0; i < std::min<size_t>(15, frequent.size() / 2); ++i) {
      const int32_t good = frequent[i], bad = frequent[frequent.size() - 1 - i];
      table.rows.push_back({tokenizer->token(good), format_number(weights.at(good), 3), tokenizer->token(bad),
                            format_number(weights.at(bad), 3)});
      if (i < 5) session.print(cat("praise  ", tokenizer->token(good), "   blame  ", tokenizer->token(bad)));
    }
    session.report().tables.push_back(table);
    session.report().charts.push_back(roc);
    session.report().confusion = best.confusion;
    session.report().class_names = {"blame", "praise"};
    for (size_t i = 0, shown = 0; i < tenth && shown < kShown; ++i)
      if ((best.logits[i] > 0) != tested[i].positive && ++shown)
        session.report().samples.emplace_back(cat("misread as ", best.logits[i] > 0 ? "praise" : "blame",
                                                  " (", format_number(probability(best.logits[i]), 2), ")"),
                                              tested[i].text);
    stithy::Metrics result{{"val_loss", best.loss},
                           {"accuracy", best.confusion.accuracy()},
                           {"recall", best.confusion.recall(1)}};
    result.insert(result.end(), accuracies.begin(), accuracies.end());
    session.finish(result);
  });
}
