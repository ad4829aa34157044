// Translates by an encoder-decoder Transformer (Vaswani et al. 2017). Without options it learns to say
// English numbers in Dutch, where units come before tens; --data takes a file with a text and its translation
// between tabs on each line, such as Tatoeba's.
#include <algorithm>
#include <set>

#include "nn/data/number_words.h"
#include "nn/models/translator.h"
#include "nn/nn.h"
#include "nn/run/picture.h"
#include "nn/run/session.h"
#include "nn/sequence_metrics.h"
#include "nn/text/words.h"

using namespace stithy;

// Beside <pad> and <unk>, which have the numbers 0 and 1.
constexpr int32_t kBegin = 2, kEnd = 3;

using Sentences = std::vector<std::vector<int32_t>>;
struct Pairs {
  Sentences source, target;
  std::vector<std::string> truth;  // the targets' texts
};

// Columns: the source, what the decoder reads, what it shall say, and how many words the source has.
DatasetPtr dataset_of(const Pairs& pairs, int64_t length) {
  SequenceDataset::Source source{.name = "source", .sequences = pairs.source, .mask = false};
  SequenceDataset::Source read{.name = "read", .sequences = pairs.target, .mask = false};
  SequenceDataset::Source say{
      .name = "say", .sequences = pairs.target, .padding = kIgnoreIndex, .mask = false};
  Array lengths({static_cast<int64_t>(pairs.source.size())}, DType::i32);
  for (size_t i = 0; i < pairs.source.size(); ++i) {
    read.sequences[i].insert(read.sequences[i].begin(), kBegin);
    say.sequences[i].push_back(kEnd);
    lengths.set(static_cast<int64_t>(i), static_cast<double>(pairs.source[i].size()));
  }
  return std::make_shared<SequenceDataset>(std::vector{source, read, say},
                                           std::vector<InMemoryDataset::Source>{{"length", lengths}},
                                           SequenceOptions{.lengths = {length}});
}

// In small letters and without punctuation: what the tokenizer's words come from.
std::string plain(const Tokenizer& tokenizer, std::string_view text) {
  std::string result;
  tokenizer.spec().pre_tokenizer(tokenizer.spec().normalizer(text), [&](std::string_view word) {
    result += cat(result.empty() ? "" : " ", word);
  });
  return result;
}

// How much the model looked at each word of the source (columns) when it said each word (rows).
Array attention_map(const nn::Translation& said, std::span<const int32_t> source, const Tokenizer& from,
                    const Tokenizer& to) {
  constexpr int64_t kLetters = 10, kWide = (kLetters + 1) * kTextWidth, kHigh = 18;
  const int64_t rows = said.weights.shape()[0], columns = said.weights.shape()[1];
  Array values({rows * kHigh, columns * kWide}, DType::f32);
  for (int64_t i = 0; i < values.numel(); ++i)
    values.set(i, said.weights.at(i / (columns * kWide) / kHigh * columns + i % (columns * kWide) / kWide));
  const Array heat = heat_map(values, 0.0f, 1.0f);
  Array picture({(rows + 1) * kHigh, (columns + 1) * kWide, 3}, DType::u8);
  for (int64_t y = 0; y < rows * kHigh; ++y)
    std::copy_n(heat.values<uint8_t>().data() + y * columns * kWide * 3, columns * kWide * 3,
                picture.values<uint8_t>().data() + ((y + kHigh) * (columns + 1) + 1) * kWide * 3);
  const auto label = [&](int64_t column, int64_t row, const std::string& word) {
    draw_text(picture, column * kWide + 3, row * kHigh + 5, word.substr(0, kLetters));
  };
  for (int64_t c = 0; c < columns; ++c) label(c + 1, 0, from.token(source[static_cast<size_t>(c)]));
  for (int64_t r = 0; r < rows; ++r)
    label(0, r + 1,
          r < static_cast<int64_t>(said.tokens.size()) ? to.token(said.tokens[static_cast<size_t>(r)])
                                                       : "(end)");
  return picture;
}

int main(int argc, char** argv) {
  constexpr int64_t kDrawn = 20500;
  constexpr size_t kTest = 500, kBatch = 100, kMaps = 4, kShown = 10;
  int64_t words = 5000, longest = 12, size = 64, layers = 2;
  double dropout = 0.0;
  nn::Session session("translate", "translates by an encoder-decoder Transformer",
                      {.epochs = 2, .batch = 64, .lr = 2e-3});
  session.arguments().add("--words", &words, "of each language that are known, the most frequent ones",
                          {10, 1e6});
  session.arguments().add("--longest", &longest, "words of a text; pairs with more are left out", {2, 1000});
  session.arguments().add("--size", &size, "of the model, a multiple of 4", {4, 4096});
  session.arguments().add("--layers", &layers, "of the encoder, and of the decoder", {1, 100});
  session.arguments().add("--dropout", &dropout, "in training", {0, 0.99});

  return session.run(argc, argv, [&] {
    const RunOptions& options = session.options();
    const std::vector<TextPair> texts =
        options.data.empty() ? draw_number_words(kDrawn, options.seed) : read_pairs(options.data);
    if (texts.size() < 4 * kTest)
      throw Error("translate", cat(texts.size(), " pairs are too few to learn from"));
    const std::vector<int64_t> order = permutation(static_cast<int64_t>(texts.size()), options.seed, 0);
    std::vector<std::string> sources, targets;  // of the training data
    for (size_t i = kTest; i < order.size(); ++i) {
      const auto& [source, target] = texts[static_cast<size_t>(order[i])];
      sources.push_back(source), targets.push_back(target);
    }
    const WordOptions word_options{.vocabulary = words, .special = {"<begin>", "<end>"}};
    const TokenizerPtr from = WordTokenizer::train(sources, word_options),
                       to = WordTokenizer::train(targets, word_options);
    Pairs learnt, tested;
    std::set<std::vector<int32_t>> held_back;  // a text may have several translations
    for (size_t i = 0; i < order.size(); ++i) {
      const auto& [source, target] = texts[static_cast<size_t>(order[i])];
      std::vector<int32_t> a = from->encode(source, {.parse_special = false}),
                           b = to->encode(target, {.parse_special = false});
      const auto most = static_cast<int64_t>(std::max(a.size(), b.size()));
      if (a.empty() || b.empty() || most > longest || (i >= kTest && held_back.contains(a))) continue;
      if (i < kTest) held_back.insert(a);
      Pairs& part = i < kTest ? tested : learnt;
      part.source.push_back(std::move(a)), part.target.push_back(std::move(b));
      part.truth.push_back(plain(*to, target));
    }
    if (learnt.source.empty() || tested.source.empty())
      throw Error("translate", cat("no text has up to ", longest, " words"), "give a larger --longest");
    const int64_t length = longest + 1;  // with the end
    DataLoader train(dataset_of(learnt, length), {.batch = options.batch, .seed = options.seed});
    DataLoader test(dataset_of(tested, length),
                    {.batch = static_cast<int64_t>(kBatch), .shuffle = false, .last = LastBatch::keep});

    nn::Translator model({.source_vocabulary = from->size(),
                          .target_vocabulary = to->size(),
                          .size = size,
                          .heads = 4,
                          .encoder_layers = layers,
                          .decoder_layers = layers,
                          .hidden = 2 * size,
                          .dropout = static_cast<float>(dropout),
                          .norm_first = true});
    const auto step = [&](std::span<const Tensor> batch) {
      const Tensor logits = model.forward(batch[0], batch[3], batch[1]);
      return nn::StepOutputs{.loss = cross_entropy(logits, batch[2]),
                             .metrics = {{"accuracy", nn::accuracy(logits, batch[2])}}};
    };
    nn::Trainer trainer(
        model, step, nn::AdamW({.lr = static_cast<float>(options.lr)}),
        {.schedule = nn::schedule::linear_warmup(50, nn::schedule::cosine(session.total_steps(train), 0.01)),
         .clip_norm = 1});
    session.fit(trainer, train, {.validation = &test});

    SequenceErrors errors;
    Bleu bleu;
    std::vector<Array> maps;
    ReportTable table{"Translations of the test set", {"source", "said", "truth"}, {}};
    const double loss = nn::evaluate(trainer, test).at("loss");
    const size_t count = options.fast_dev_run ? std::min(kBatch, tested.source.size()) : tested.source.size();
    for (size_t begin = 0; begin < count; begin += kBatch) {
      const std::span<const std::vector<int32_t>> some =
          std::span(tested.source).subspan(begin, std::min(kBatch, count - begin));
      const PaddedSequences padded = pad_sequences(some, {.length = length});
      const std::vector<nn::Translation> all =
          model.translate(padded.ids, padded.lengths, {.begin = kBegin, .end = kEnd, .most = length + 1});
      for (size_t i = 0; i < all.size(); ++i) {
        const std::vector<std::string> truth{tested.truth[begin + i]};
        const std::string said = to->decode(all[i].tokens, false);
        errors.add(all[i].tokens, tested.target[begin + i]);
        bleu.add(said, truth);
        if (maps.size() < kMaps && some[i].size() > 4 && all[i].tokens.size() > 4)
          maps.push_back(attention_map(all[i], some[i], *from, *to));
        if (table.rows.size() < kShown) table.rows.push_back({from->decode(some[i], false), said, truth[0]});
      }
    }
    session.report().tables.push_back(table);
    if (!maps.empty())
      session.figure("attention", contact_sheet(maps, 1, 1, 8),
                     "How much the decoder's last layer looked at each word of the source (columns) for each "
                     "word that it said (rows), a mean over its heads.");
    session.finish({{"val_loss", loss}, {"exact_match", errors.exact_match()}, {"bleu", bleu.value()}});
  });
}
