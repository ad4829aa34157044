// A small GPT-2 learns to add: it reads "27+58=" and writes the sum, digit by digit, the last one first. Sums
// of the test were in no part of training. With --data it learns a text instead, character by character, and
// goes on writing: nanoGPT's small configuration for CPUs on Shakespeare is
//   char_gpt --data input.txt --layers 4 --heads 4 --width 128 --context 64 --batch 12 --steps 2000
#include "nn/models/gpt.h"
#include "samples/characters.h"

using namespace stithy;

int main(int argc, char** argv) {
  CharacterRun run;
  int64_t layers = 3, heads = 4, width = 96;
  double dropout = 0;
  nn::Session session("char_gpt", "learns to add numbers, or to write a text, with a small GPT-2",
                      {.epochs = 0, .steps = 1200, .batch = 64, .lr = 2e-3});
  run.add_to(session.arguments());
  session.arguments()
      .add("--layers", &layers, "blocks", {1, 1000})
      .add("--heads", &heads, "heads of attention, which divide the width", {1, 1000})
      .add("--width", &width, "numbers that a character becomes", {1, 1e5})
      .add("--dropout", &dropout, "part of what is left out in training", {0, 0.99});
  return session.run(argc, argv, [&] {
    run_characters(session, run,
                   {.lr = static_cast<float>(session.options().lr), .beta2 = 0.99f, .weight_decay = 0.1f},
                   [&](int64_t vocabulary, int64_t context) {
                     return nn::Gpt({.vocabulary = vocabulary,
                                     .context = context,
                                     .layers = layers,
                                     .heads = heads,
                                     .width = width,
                                     .dropout = static_cast<float>(dropout)});
                   });
  });
}
