#include "nn/models/recommender.h"

#include <array>

#include "nn/models/blocks.h"

namespace stithy::nn {
namespace {

Embedding factors_of(int64_t count, int64_t factors) {
  Embedding embedding(count, factors);
  embedding.weight.set(init::normal({count, factors}, 0, 0.1));
  return embedding;
}

Embedding biases_of(int64_t count) {
  Embedding embedding(count, 1);
  embedding.weight.set(init::constant({count, 1}, 0));
  return embedding;
}

}  // namespace

MatrixFactorization::MatrixFactorization(const RecommenderOptions& options) : mean_(options.mean) {
  check_sizes("MatrixFactorization", {options.users, options.items, options.factors});
  user_factors = child("user_factors", factors_of(options.users, options.factors));
  item_factors = child("item_factors", factors_of(options.items, options.factors));
  user_bias = child("user_bias", biases_of(options.users));
  item_bias = child("item_bias", biases_of(options.items));
  dropout_ = child("dropout", Dropout(options.dropout));
}

Tensor MatrixFactorization::ratings(const Tensor& user, const Tensor& item) {
  const Tensor product = sum(dropout_(user_factors(user)) * item_factors(item), {-1});
  return product + squeeze(user_bias(user) + item_bias(item), -1) + mean_;
}

NeuralRecommender::NeuralRecommender(const RecommenderOptions& options, const std::vector<int64_t>& widths)
    : mean_(options.mean) {
  check_sizes("NeuralRecommender", {options.users, options.items, options.factors});
  user_factors = child("user_factors", factors_of(options.users, options.factors));
  item_factors = child("item_factors", factors_of(options.items, options.factors));
  user_features = child("user_features", factors_of(options.users, options.factors));
  item_features = child("item_features", factors_of(options.items, options.factors));
  Sequential layers;
  int64_t width = 2 * options.factors;
  for (const int64_t next : widths) {
    layers.add(Linear(width, next)).add(Relu());
    width = next;
  }
  hidden = child("hidden", std::move(layers));
  output = child("output", Linear(options.factors + width, 1));
  dropout_ = child("dropout", Dropout(options.dropout));
}

Tensor NeuralRecommender::ratings(const Tensor& user, const Tensor& item) {
  const Tensor product = user_factors(user) * item_factors(item);
  const std::array both{user_features(user), item_features(item)};
  const std::array all{dropout_(product), hidden(dropout_(concat(both, -1)))};
  return squeeze(output(concat(all, -1)), -1) + mean_;
}

}  // namespace stithy::nn
