#include "nn/generate.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <utility>

#include "engine/core/error.h"
#include "engine/graph/program.h"
#include "engine/ops.h"

namespace stithy::nn {
namespace {

constexpr const char* kWhere = "generate";

Array numbers(const Shape& shape, std::span<const int32_t> values) { return Array(shape, values); }

void check(const GenerateOptions& options) {
  const auto refuse = [](const char* what, auto value, const char* hint) {
    throw Error(kWhere, cat(what, " of ", value), hint);
  };
  if (options.tokens < 0) refuse("a number of tokens", options.tokens, "give at least 0");
  if (!(options.temperature >= 0)) refuse("a temperature", options.temperature, "give at least 0");
  if (options.top_k < 0) refuse("top_k", options.top_k, "give at least 0, which is all");
  if (!(options.top_p > 0 && options.top_p <= 1)) refuse("top_p", options.top_p, "give more than 0, up to 1");
  if (!(options.repetition_penalty > 0))
    refuse("a repetition penalty", options.repetition_penalty, "give more than 0; 1 is none");
  if (options.beams < 1) refuse("a number of beams", options.beams, "give at least 1");
}

std::vector<float> penalised(std::span<const float> logits, std::span<const int32_t> tokens, float penalty) {
  std::vector<float> out(logits.begin(), logits.end());
  if (penalty == 1) return out;
  std::vector<int32_t> seen(tokens.begin(), tokens.end());
  std::ranges::sort(seen);
  seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
  for (const int32_t token : seen) {
    float& logit = out[static_cast<size_t>(token)];
    logit = logit > 0 ? logit / penalty : logit * penalty;
  }
  return out;
}

// Tokens by falling logits; NaN and -infinity, which cannot be drawn, are left out.
std::vector<int32_t> ranked(std::span<const float> logits, int64_t most) {
  std::vector<int32_t> order;
  for (size_t i = 0; i < logits.size(); ++i)
    if (logits[i] > -std::numeric_limits<float>::infinity()) order.push_back(static_cast<int32_t>(i));
  if (order.empty()) throw Error(kWhere, "no logit is finite", "STITHY_DEBUG=nan tells where that began");
  const auto count = static_cast<ptrdiff_t>(
      most > 0 ? std::min<size_t>(order.size(), static_cast<size_t>(most)) : order.size());
  const auto before = [&](int32_t a, int32_t b) {
    const float x = logits[static_cast<size_t>(a)], y = logits[static_cast<size_t>(b)];
    return x > y || (x == y && a < b);
  };
  std::partial_sort(order.begin(), order.begin() + count, order.end(), before);
  order.resize(static_cast<size_t>(count));
  return order;
}

}  // namespace

DecodeCache::DecodeCache(int64_t batch, int64_t capacity) : batch_(batch), capacity_(capacity) {
  if (batch < 1 || capacity < 1)
    throw Error("DecodeCache", cat(batch, " sequences of ", capacity, " tokens: both must be at least 1"));
  position_ = Variable("position", Array(Shape{}, DType::i32));
}

const Variable& DecodeCache::state(const std::string& name, const Shape& shape, int batch_axis) {
  for (const State& state : states_)
    if (state.name == name) return state.variable;
  states_.push_back({name, Variable(name, Array(shape, DType::f32)), batch_axis});
  return states_.back().variable;
}

Tensor DecodeCache::attend(const std::string& layer, const Tensor& q, const Tensor& k, const Tensor& v,
                           int64_t window) {
  const int64_t t = q.dim(2);
  const auto keep = [&](const char* what, const Tensor& x) {
    const Variable kept = state(layer + what, {batch_, x.dim(1), capacity_, x.dim(3)});
    return assign_slice(kept, x, 2, position_);
  };
  const Tensor keys = keep(".keys", k), values = keep(".values", v);
  const Tensor place = unsqueeze(arange(capacity_), 0);
  const Tensor own = unsqueeze(arange(t), 1) + reshape(position_, {1, 1});
  Tensor seen = less_equal(place, own);
  if (window > 0)
    seen = logical_and(
        seen, greater(place, own - Tensor(Array({1, 1}, std::vector{static_cast<int32_t>(window)}))));
  return attention(q, keys, values, {}, reshape(seen, {1, 1, t, capacity_}));
}

void DecodeCache::keep(std::vector<Tensor> updates) {
  updates_.insert(updates_.end(), updates.begin(), updates.end());
}

std::vector<Tensor> DecodeCache::advance(int64_t t) {
  const Tensor seen = position_.tensor() + Tensor(Array(Shape{}, std::vector{static_cast<int32_t>(t)}));
  std::vector<Tensor> updates = std::exchange(updates_, {});
  updates.push_back(assign(position_, seen));
  return updates;
}

std::vector<Tensor> DecodeCache::reorder(const Tensor& order) const {
  std::vector<Tensor> updates;
  for (const State& state : states_) {
    const Tensor rows = transpose(state.variable.tensor(), 0, state.batch_axis);
    const Tensor table = reshape(contiguous(rows), {batch_, -1});
    updates.push_back(assign(state.variable,
                             transpose(reshape(embedding(table, order), rows.shape()), 0, state.batch_axis)));
  }
  return updates;
}

void DecodeCache::clear() {
  position_.set(Array(Shape{}, DType::i32));
  for (State& state : states_) state.variable.set(Array(state.variable.shape(), DType::f32));
}

int32_t next_token(std::span<const float> logits, std::span<const int32_t> tokens,
                   const GenerateOptions& options, Philox& random) {
  check(options);
  const std::vector<float> scores = penalised(logits, tokens, options.repetition_penalty);
  if (options.temperature == 0) return ranked(scores, 1).front();
  // All are ranked where their probabilities are summed up.
  const std::vector<int32_t> order = ranked(scores, options.top_k);
  std::vector<double> weights;
  for (const int32_t token : order)
    weights.push_back(std::exp(
        (static_cast<double>(scores[static_cast<size_t>(token)]) - scores[static_cast<size_t>(order[0])]) /
        options.temperature));
  double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  if (options.top_p < 1) {
    double reached = 0;
    size_t count = 0;
    while (count < weights.size() && reached < options.top_p * total) reached += weights[count++];
    weights.resize(std::max<size_t>(count, 1));
    total = std::accumulate(weights.begin(), weights.end(), 0.0);
  }
  double left = random.uniform() * total;
  for (size_t i = 0; i < weights.size(); ++i) {
    left -= weights[i];
    if (left < 0) return order[i];
  }
  return order[weights.size() - 1];
}

// The programs that `batch` sequences go through.
struct TextGenerator::Decoder {
  LanguageModel& model;
  DecodeCache cache;
  struct Step {
    Tensor tokens;
    Program program;
  };
  std::map<int64_t, Step> steps;  // by how many tokens they take in
  Tensor order;
  std::optional<Program> reorder;

  Decoder(LanguageModel& m, int64_t batch, int64_t context) : model(m), cache(batch, context) {}

  // The logits after `tokens`, t of each sequence.
  Array run(std::span<const int32_t> tokens) {
    const int64_t t = static_cast<int64_t>(tokens.size()) / cache.batch();
    auto found = steps.find(t);
    if (found == steps.end()) {
      const Tensor ids = input("tokens", {cache.batch(), t}, DType::i32);
      const Tensor logits = model.decode(ids, cache);
      found = steps.emplace(t, Step{ids, Program({logits}, cache.advance(t))}).first;
    }
    const Array values = numbers({cache.batch(), t}, tokens);
    found->second.program.submit(std::vector<Feed>{{found->second.tokens, &values}});
    return found->second.program.read(0);
  }

  // Begins anew with `text`, the same in each sequence. It goes in by powers of two: few programs for any
  // length.
  Array begin(std::span<const int32_t> text) {
    cache.clear();
    Array logits;
    while (!text.empty()) {
      const size_t t = std::min<size_t>(std::bit_floor(text.size()), 256);
      std::vector<int32_t> tokens;
      for (int64_t i = 0; i < cache.batch(); ++i)
        tokens.insert(tokens.end(), text.begin(), text.begin() + static_cast<ptrdiff_t>(t));
      logits = run(tokens);
      text = text.subspan(t);
    }
    return logits;
  }

  void take(std::span<const int32_t> rows) {
    if (!reorder) {
      order = input("order", {cache.batch()}, DType::i32);
      reorder.emplace(std::vector<Tensor>{}, cache.reorder(order));
    }
    const Array values = numbers({cache.batch()}, rows);
    reorder->submit(std::vector<Feed>{{order, &values}});
  }
};

TextGenerator::TextGenerator(LanguageModel& model, int64_t context) : model_(model), context_(context) {
  if (context < 0) throw Error(kWhere, cat("a context of ", context, " tokens"), "give at least 2");
  constexpr int64_t kMost = 1024;
  if (context_ == 0) context_ = model.context() > 0 ? std::min(model.context(), kMost) : kMost;
  if (context_ < 2 || (model.context() > 0 && context_ > model.context()))
    throw Error(
        kWhere, cat("a context of ", context_, " tokens"),
        cat("give at least 2", model.context() > 0 ? cat(", up to the model's ", model.context()) : ""));
}
TextGenerator::~TextGenerator() = default;

TextGenerator::Decoder& TextGenerator::decoder(int64_t batch) {
  for (const auto& decoder : decoders_)
    if (decoder->cache.batch() == batch) return *decoder;
  decoders_.push_back(std::make_unique<Decoder>(model_, batch, context_));
  return *decoders_.back();
}

std::vector<int32_t> TextGenerator::generate(std::span<const int32_t> prompt,
                                             const GenerateOptions& options) {
  check(options);
  if (prompt.empty()) throw Error(kWhere, "the prompt is empty", "give at least one token to go on from");
  for (const int32_t token : prompt)
    if (token < 0 || token >= model_.vocabulary())
      throw Error(kWhere, cat("token ", token, " is not one of the vocabulary's ", model_.vocabulary()));
  if (options.tokens == 0) return {};
  return options.beams > 1 ? beam_search(prompt, options) : sample(prompt, options);
}

std::vector<int32_t> TextGenerator::sample(std::span<const int32_t> prompt, const GenerateOptions& options) {
  Decoder& one = decoder(1);
  Philox random(options.seed);
  std::vector<int32_t> text(prompt.begin(), prompt.end()), made;
  // Where the text is longer than the context, its last part.
  const auto restart = [&](size_t most) {
    const size_t count = std::min(text.size(), most);
    const Array logits = one.begin(std::span(text).last(count));
    return std::pair{logits, static_cast<int64_t>(count)};
  };
  auto [logits, seen] = restart(static_cast<size_t>(context_ - 1));
  for (;;) {
    const int32_t token = next_token(logits.values<float>(), text, options, random);
    if (token == options.end) break;
    text.push_back(token);
    made.push_back(token);
    if (options.on_token && !options.on_token(token)) break;
    if (static_cast<int64_t>(made.size()) == options.tokens) break;
    if (seen == context_) {
      std::tie(logits, seen) = restart(static_cast<size_t>(std::max<int64_t>(context_ / 2, 1)));
    } else {
      logits = one.run(std::span(&token, 1));
      ++seen;
    }
  }
  return made;
}

std::vector<int32_t> TextGenerator::beam_search(std::span<const int32_t> prompt,
                                                const GenerateOptions& options) {
  if (static_cast<int64_t>(prompt.size()) + options.tokens > context_)
    throw Error(
        kWhere,
        cat(prompt.size(), " tokens and ", options.tokens, " more are beyond the context of ", context_),
        "beam search needs all of them; ask for fewer");
  struct Beam {
    std::vector<int32_t> tokens;
    double score = 0;  // log of its probability
    int32_t from = 0;
  };
  const auto width = static_cast<size_t>(options.beams);
  const int64_t vocabulary = model_.vocabulary();
  const auto worth = [&](double score, size_t length) {
    return score / std::pow(static_cast<double>(std::max<size_t>(length, 1)), options.length_penalty);
  };
  Decoder& all = decoder(options.beams);
  Array logits = all.begin(prompt);
  std::vector<Beam> beams(1);
  std::vector<int32_t> best;
  double best_worth = -std::numeric_limits<double>::infinity();
  const auto ended = [&](const std::vector<int32_t>& tokens, double score, size_t length) {
    if (worth(score, length) > best_worth) {
      best_worth = worth(score, length);
      best = tokens;
    }
  };
  for (int64_t made = 0; made < options.tokens; ++made) {
    std::vector<Beam> next;
    for (size_t b = 0; b < beams.size(); ++b) {
      const std::span<const float> row = logits.values<float>().subspan(b * static_cast<size_t>(vocabulary),
                                                                        static_cast<size_t>(vocabulary));
      std::vector<int32_t> text(prompt.begin(), prompt.end());
      text.insert(text.end(), beams[b].tokens.begin(), beams[b].tokens.end());
      const std::vector<float> scores = penalised(row, text, options.repetition_penalty);
      const std::vector<int32_t> order = ranked(scores, static_cast<int64_t>(width) + 1);
      double total = 0;
      const double largest = scores[static_cast<size_t>(order[0])];
      for (const float x : scores) total += std::exp(x - largest);
      for (const int32_t token : order) {
        const double score = beams[b].score + scores[static_cast<size_t>(token)] - largest - std::log(total);
        if (token == options.end) {
          ended(beams[b].tokens, score, beams[b].tokens.size() + 1);
          continue;
        }
        Beam beam{beams[b].tokens, score, static_cast<int32_t>(b)};
        beam.tokens.push_back(token);
        next.push_back(std::move(beam));
      }
    }
    std::ranges::stable_sort(next, [](const Beam& a, const Beam& b) { return a.score > b.score; });
    if (next.size() > width) next.resize(width);
    beams = std::move(next);
    // No beam can become better than what has ended where scores only fall and lengths cannot make up for it.
    if (beams.empty() || (options.length_penalty <= 0 && worth(beams[0].score, 1) < best_worth)) break;
    if (made + 1 == options.tokens) break;
    std::vector<int32_t> rows(width), last(width);
    for (size_t b = 0; b < width; ++b) {
      const Beam& beam = beams[std::min(b, beams.size() - 1)];
      rows[b] = beam.from;
      last[b] = beam.tokens.back();
    }
    all.take(rows);
    logits = all.run(last);
  }
  for (const Beam& beam : beams) ended(beam.tokens, beam.score, beam.tokens.size());
  return best;
}

}  // namespace stithy::nn
