// LSTMs learn to add: they read "27+58=" and write the sum, digit by digit, the last one first. Sums of the
// test were in no part of training. With --data they learn a text instead, character by character, and go on
// writing (Karpathy 2015, "The Unreasonable Effectiveness of Recurrent Neural Networks").
#include "nn/models/lstm_language_model.h"
#include "samples/characters.h"

using namespace stithy;

int main(int argc, char** argv) {
  CharacterRun run;
  int64_t layers = 2, width = 128;
  double dropout = 0;
  nn::Session session("char_lstm", "learns to add numbers, or to write a text, with LSTMs",
                      {.epochs = 0, .steps = 2000, .batch = 64, .lr = 5e-3});
  run.add_to(session.arguments());
  session.arguments()
      .add("--layers", &layers, "LSTMs, one after another", {1, 100})
      .add("--width", &width, "units of each, and numbers that a character becomes", {1, 1e5})
      .add("--dropout", &dropout, "part of what is left out in training", {0, 0.99});
  return session.run(argc, argv, [&] {
    run_characters(session, run, {.lr = static_cast<float>(session.options().lr), .weight_decay = 0},
                   [&](int64_t vocabulary, int64_t) {
                     return nn::LstmLanguageModel({.vocabulary = vocabulary,
                                                   .embedding = width,
                                                   .hidden = width,
                                                   .layers = layers,
                                                   .dropout = static_cast<float>(dropout)});
                   });
  });
}
