// Invents names, letter by letter, by an LSTM that has read a list of them. Without options the list is made
// by rules on the spot; --data takes a file with a name a line. The loss, in nats a letter, stands beside
// that of the best model which looks back one letter only.
#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "nn/data/names.h"
#include "nn/models/lstm_language_model.h"
#include "nn/nn.h"
#include "nn/run/picture.h"
#include "nn/run/session.h"
#include "nn/text/text_files.h"
#include "nn/text/words.h"

using namespace stithy;

constexpr int32_t kEdge = 0;  // before and after a name

using Names = std::vector<std::vector<int32_t>>;

// Columns: the edge and the letters, and what follows each of them.
DatasetPtr dataset_of(const Names& names, int64_t longest) {
  SequenceDataset::Source x{.name = "x", .sequences = {}, .padding = kEdge, .mask = false};
  SequenceDataset::Source y{.name = "y", .sequences = {}, .padding = kIgnoreIndex, .mask = false};
  for (const std::vector<int32_t>& name : names) {
    x.sequences.push_back(name);
    x.sequences.back().insert(x.sequences.back().begin(), kEdge);
    y.sequences.push_back(name);
    y.sequences.back().push_back(kEdge);
  }
  return std::make_shared<SequenceDataset>(std::vector{x, y}, std::vector<InMemoryDataset::Source>{},
                                           SequenceOptions{.lengths = {longest + 1}});
}

// Calls see(letter, the one after it) for all names, their edges included.
void each_pair(const Names& names, const std::function<void(size_t, size_t)>& see) {
  for (const std::vector<int32_t>& name : names) {
    int32_t before = kEdge;
    for (const int32_t letter : name)
      see(static_cast<size_t>(before), static_cast<size_t>(letter)), before = letter;
    see(static_cast<size_t>(before), kEdge);
  }
}

// The mean over the tested letters of -log p(letter | the one before), p being counted among those learnt;
// one is added to each count, so that nothing is impossible.
double bigram_loss(const Names& learnt, const Names& tested, size_t letters) {
  std::vector<double> counts(letters * letters, 1), totals(letters, static_cast<double>(letters));
  each_pair(learnt, [&](size_t a, size_t b) { ++counts[a * letters + b], ++totals[a]; });
  Mean loss;
  each_pair(tested, [&](size_t a, size_t b) { loss.add(-std::log(counts[a * letters + b] / totals[a])); });
  return loss.value();
}

// softmax of row `row` of logits [..., letters].
std::vector<double> probabilities(const Array& logits, int64_t row) {
  const int64_t letters = logits.shape().back();
  std::vector<double> p;
  double total = 0;
  for (int64_t k = 0; k < letters; ++k) total += p.emplace_back(std::exp(logits.at(row * letters + k)));
  for (double& value : p) value /= total;
  return p;
}

// What the model expects (rows) after each letter of a name (columns).
Array expectations(nn::Trainer& trainer, const Tokenizer& tokenizer, const std::vector<int32_t>& name,
                   int64_t longest) {
  constexpr int64_t kCell = 16;
  const auto columns = static_cast<int64_t>(name.size()) + 1;
  const int64_t rows = tokenizer.size();
  Array x({1, longest + 1}, DType::i32), p({rows, columns}, DType::f32);
  for (int64_t t = 0; t + 1 < columns; ++t) x.set(t + 1, name[static_cast<size_t>(t)]);
  const Array logits = trainer.predict(x);
  for (int64_t t = 0; t < columns; ++t) {
    const std::vector<double> column = probabilities(logits, t);
    for (int64_t k = 0; k < rows; ++k) p.set(k * columns + t, column[static_cast<size_t>(k)]);
  }
  const Array heat = enlarged(heat_map(p, 0.0f, 1.0f), kCell);
  Array picture({(rows + 1) * kCell, (columns + 1) * kCell, 3}, DType::u8);
  for (int64_t y = 0; y < rows * kCell; ++y)
    std::copy_n(heat.values<uint8_t>().data() + y * columns * kCell * 3, columns * kCell * 3,
                picture.values<uint8_t>().data() + ((y + kCell) * (columns + 1) + 1) * kCell * 3);
  const auto letter = [&](int32_t id) { return id == kEdge ? std::string(".") : tokenizer.token(id); };
  for (int64_t k = 0; k < rows; ++k)
    draw_text(picture, 4, (k + 1) * kCell + 4, letter(static_cast<int32_t>(k)));
  for (int64_t t = 1; t < columns; ++t)
    draw_text(picture, (t + 1) * kCell + 4, 4, letter(name[static_cast<size_t>(t - 1)]));
  return picture;
}

int main(int argc, char** argv) {
  constexpr int64_t kInvented = 10000, kDrawn = 200, kPrinted = 30;
  constexpr size_t kPictures = 4;
  int64_t size = 16, hidden = 96, layers = 1;
  double temperature = 1;
  nn::Session session("names", "invents names, letter by letter", {.epochs = 5, .batch = 64, .lr = 5e-3});
  session.arguments().add("--size", &size, "of a letter's vector", {1, 4096});
  session.arguments().add("--hidden", &hidden, "of the LSTM's state", {1, 4096});
  session.arguments().add("--layers", &layers, "of LSTMs", {1, 100});
  session.arguments().add("--temperature", &temperature, "below 1 likelier names, above 1 bolder ones",
                          {0.01, 100});

  return session.run(argc, argv, [&] {
    const RunOptions& options = session.options();
    std::vector<std::string> list =
        options.data.empty() ? invent_names(kInvented, options.seed) : read_lines(options.data);
    // A name that comes twice must not be learnt and tested.
    std::set<std::string> known(list.begin(), list.end());
    known.erase("");
    list.assign(known.begin(), known.end());
    if (list.size() < 100) throw Error("names", cat(list.size(), " names are too few to learn from"));
    const TokenizerPtr tokenizer = CharacterTokenizer::train(list, {.special = {"<edge>"}});
    Names learnt, tested;
    int64_t longest = 0;
    const std::vector<int64_t> order = permutation(static_cast<int64_t>(list.size()), options.seed, 0);
    for (size_t i = 0; i < order.size(); ++i) {
      Names& part = i < order.size() / 10 ? tested : learnt;
      part.push_back(tokenizer->encode(list[static_cast<size_t>(order[i])], {.parse_special = false}));
      longest = std::max(longest, static_cast<int64_t>(part.back().size()));
    }
    DataLoader train(dataset_of(learnt, longest), {.batch = options.batch, .seed = options.seed});
    DataLoader test(dataset_of(tested, longest), {.batch = 256, .shuffle = false, .last = LastBatch::pad});

    nn::LstmLanguageModel model(
        {.vocabulary = tokenizer->size(), .embedding = size, .hidden = hidden, .layers = layers});
    nn::Trainer trainer(
        model, nn::CrossEntropy{}, nn::AdamW({.lr = static_cast<float>(options.lr)}),
        {.schedule = nn::schedule::linear_warmup(20, nn::schedule::cosine(session.total_steps(train), 0.01)),
         .clip_norm = 1});
    session.fit(trainer, train, {.validation = &test});

    // Batches have different numbers of letters: the mean is over letters, as the bigrams' is.
    Mean loss;
    nn::evaluate(trainer, test, [&](const Batch& batch, const Array& logits) {
      for (int64_t place = 0; place < batch.columns[1].numel(); ++place)
        if (const double letter = batch.columns[1].at(place); letter != kIgnoreIndex)
          loss.add(-std::log(probabilities(logits, place)[static_cast<size_t>(letter)]));
    });
    const double bigrams = bigram_loss(learnt, tested, static_cast<size_t>(tokenizer->size()));

    nn::TextGenerator generator(model);
    int64_t novel = 0;
    std::string line;
    for (int64_t i = 0; i < kDrawn; ++i) {
      const std::string name = tokenizer->decode(
          generator.generate(std::array{kEdge}, {.tokens = longest,
                                                 .temperature = static_cast<float>(temperature),
                                                 .end = kEdge,
                                                 .seed = options.seed + static_cast<uint64_t>(i)}));
      if (!known.contains(name) && ++novel <= kPrinted) line += name + " ";
    }
    session.print("new names: " + line);
    session.report().samples.emplace_back("new names, which the list does not have", line);
    std::vector<Array> pictures;
    for (size_t i = 0; i < std::min(kPictures, tested.size()); ++i)
      pictures.push_back(expectations(trainer, *tokenizer, tested[i], longest));
    session.figure(
        "expectations", contact_sheet(pictures, static_cast<int64_t>(kPictures), 1, 8),
        "Names that it has not seen: after each letter (columns), how probable each next one (rows) "
        "is; the dot is the end.");
    session.finish({{"val_loss", loss.value()},
                    {"bigram_loss", bigrams},
                    {"new_share", static_cast<double>(novel) / static_cast<double>(kDrawn)}});
  });
}
