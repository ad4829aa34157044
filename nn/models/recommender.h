// What a user would rate an item: user and item i32 [n] -> f32 [n].
#pragma once

#include <vector>

#include "nn/layers.h"

namespace stithy::nn {

struct RecommenderOptions {
  int64_t users = 1, items = 1;
  int64_t factors = 16;
  float mean = 0;     // of all ratings, which stays as it is
  float dropout = 0;  // of the factors, in training
};

class Recommender : public Module {
 public:
  virtual Tensor ratings(const Tensor& user, const Tensor& item) = 0;
};

// Matrix factorisation with biases: mean + b[user] + b[item] + p[user] . q[item] (Koren, Bell and Volinsky
// 2009, "Matrix Factorization Techniques for Recommender Systems"). Factors start normal with a deviation of
// 0.1, biases at zero.
class MatrixFactorization : public Recommender {
 public:
  // Throws Error for sizes below 1.
  explicit MatrixFactorization(const RecommenderOptions& options);
  Tensor ratings(const Tensor& user, const Tensor& item) override;
  std::string describe() const override { return "MatrixFactorization"; }
  Child<Embedding> user_factors, item_factors, user_bias, item_bias;

 private:
  Child<Dropout> dropout_;
  float mean_;
};

// Neural matrix factorisation (He et al. 2017, "Neural Collaborative Filtering"), for ratings: the product of
// one pair of factors, element by element, stands beside what hidden layers of falling width make of another
// pair, and a linear layer makes the rating of both.
class NeuralRecommender : public Recommender {
 public:
  // `hidden` are the widths of the layers.
  explicit NeuralRecommender(const RecommenderOptions& options,
                             const std::vector<int64_t>& hidden = {32, 16});
  Tensor ratings(const Tensor& user, const Tensor& item) override;
  std::string describe() const override { return "NeuralRecommender"; }
  Child<Embedding> user_factors, item_factors, user_features, item_features;
  Child<Sequential> hidden;
  Child<Linear> output;

 private:
  Child<Dropout> dropout_;
  float mean_;
};

}  // namespace stithy::nn
