// What char_gpt and char_lstm share: a model of characters learns sums, or a text that --data names.
#pragma once

#include <algorithm>
#include <cstdio>
#include <string>

#include "nn/generate.h"
#include "nn/nn.h"
#include "nn/run/session.h"
#include "nn/text/character_task.h"

namespace stithy {

struct CharacterRun {
  int64_t digits = 2;      // of the numbers
  int64_t context = 64;    // characters of a text that are seen at once
  int64_t validate = 250;  // steps
  int64_t length = 400;    // characters that are generated in the end
  double temperature = 0.8;

  void add_to(Arguments& arguments) {
    arguments.add("--digits", &digits, "digits of the numbers that are added, without --data", {1, 4})
        .add("--context", &context, "characters of a text that are seen at once", {2, 1 << 16})
        .add("--validate", &validate, "steps from one validation to the next", {1, 1e9})
        .add("--length", &length, "characters that are generated in the end", {1, 1e6})
        .add("--temperature", &temperature, "of what is generated", {0, 100});
  }
};

// make(vocabulary, context) gives a model that is a nn::Module and a nn::LanguageModel.
template <class Make>
void run_characters(nn::Session& session, const CharacterRun& run, const nn::AdamWOptions& adam,
                    const Make& make) {
  const RunOptions& options = session.options();
  const bool sums = options.data.empty();
  const CharacterTask task =
      sums ? addition_task(run.digits, options.seed) : text_task(options.data, run.context);
  DataLoader train(task.train, {.batch = options.batch, .seed = options.seed});
  DataLoader validation(task.validation, {.batch = 250, .shuffle = false, .last = LastBatch::pad});
  DataLoader test(task.test, {.batch = 250, .shuffle = false, .last = LastBatch::pad});
  const int64_t context = task.train->columns()[0].shape[0];

  auto model = make(task.tokenizer->size(), context);
  const auto step = [&](std::span<const Tensor> batch) {
    const Tensor logits = model(batch[0]);
    nn::StepOutputs out{.loss = nn::CrossEntropy{}(logits, batch[1]),
                        .metrics = {{"accuracy", nn::accuracy(logits, batch[1])}}};
    if (sums) out.metrics.emplace_back("exact_match", nn::exact_match(logits, batch[1]));
    return out;
  };
  const int64_t steps = session.total_steps(train);
  nn::AdamW optimizer(adam);
  optimizer.group_vectors({.weight_decay = 0.0f});
  nn::Trainer trainer(model, step, optimizer,
                      {.schedule = nn::schedule::linear_warmup(std::min<int64_t>(100, steps / 10),
                                                               nn::schedule::cosine(steps, 0.1)),
                       .clip_norm = 1});

  nn::TextGenerator generator(model);
  // Sums that are in no part of training, as they are done, or the text as it goes on.
  const auto show = [&](int64_t length, bool all) {
    if (!sums) {
      const auto stream = [&](int32_t token) {
        if (all)
          std::fputs(task.tokenizer->decode(std::span(&token, 1)).c_str(), stdout), std::fflush(stdout);
        return true;
      };
      const auto made = generator.generate(task.tokenizer->encode(task.prompt),
                                           {.tokens = length,
                                            .temperature = static_cast<float>(run.temperature),
                                            .seed = options.seed,
                                            .on_token = stream});
      return task.prompt + task.tokenizer->decode(made);
    }
    std::string lines;
    for (const auto& [prompt, sum] : addition_examples(run.digits, options.seed, all ? 10 : 1)) {
      const auto made =
          generator.generate(task.tokenizer->encode(prompt), {.tokens = run.digits + 1, .temperature = 0});
      std::string answer = task.tokenizer->decode(made);
      lines += cat(lines.empty() ? "" : "\n", prompt, std::string(answer.rbegin(), answer.rend()),
                   answer == sum ? "" : cat("  (", std::string(sum.rbegin(), sum.rend()), ")"));
    }
    return lines;
  };
  session.fit(trainer, train,
              {.validate_steps = run.validate,
               .validation = &validation,
               .monitor = "loss",
               .on_epoch = [&](const nn::EpochReport&) { session.print(cat("  ", show(60, false))); }});

  const nn::MeanMetrics means = nn::evaluate(trainer, test, {}, options.fast_dev_run ? 1 : 0);
  const std::string shown = show(options.fast_dev_run ? 10 : run.length, true);
  session.print(sums ? shown : "");  // a text was printed as it was made
  session.report().samples.emplace_back(sums ? "Sums that were in no part of training" : "What it writes",
                                        shown);
  Metrics result{{"val_loss", means.at("loss")}, {"accuracy", means.at("accuracy")}};
  if (sums) result.insert(result.begin(), {"exact_match", means.at("exact_match")});
  session.finish(result);
}

}  // namespace stithy
