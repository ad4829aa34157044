// Recommends what users have not rated yet, from what they and others have, by matrix factorisation and by a
// neural network, measured against means. Without options the ratings are drawn on the spot; --data takes a
// file of users, items and ratings (MovieLens, Harper and Konstan 2015; nn/data/ratings.h says how it may
// look).
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <set>

#include "nn/data/ratings.h"
#include "nn/models/recommender.h"
#include "nn/nn.h"
#include "nn/run/picture.h"
#include "nn/run/session.h"

using namespace stithy;

// Ratings by the overall mean and each user's and item's mean difference to it, drawn towards zero where
// there are few ratings (Koren 2010, "Factor in the Neighbors", section 2.1).
struct Means {
  double all = 0;
  std::vector<double> user, item;
  Means(const std::vector<Array>& ratings, size_t users, size_t items) : user(users), item(items) {
    constexpr double kFew = 10;
    const int64_t count = ratings[2].numel();
    const auto index = [&](size_t column, int64_t i) { return static_cast<size_t>(ratings[column].at(i)); };
    for (int64_t i = 0; i < count; ++i) all += ratings[2].at(i) / static_cast<double>(count);
    std::vector<double> ratings_of_item(items, kFew), ratings_of_user(users, kFew);
    for (int64_t i = 0; i < count; ++i)
      item[index(1, i)] += ratings[2].at(i) - all, ++ratings_of_item[index(1, i)];
    for (size_t i = 0; i < items; ++i) item[i] /= ratings_of_item[i];
    for (int64_t i = 0; i < count; ++i)
      user[index(0, i)] += ratings[2].at(i) - all - item[index(1, i)], ++ratings_of_user[index(0, i)];
    for (size_t u = 0; u < users; ++u) user[u] /= ratings_of_user[u];
  }
  double rating(int64_t u, int64_t i) const {
    return all + user[static_cast<size_t>(u)] + item[static_cast<size_t>(i)];
  }
};

// The cosines between the rows of factors [items, k].
std::vector<std::vector<double>> cosines(const Array& factors) {
  const int64_t items = factors.shape()[0], k = factors.shape()[1];
  const auto product = [&](int64_t a, int64_t b) {
    double sum = 0;
    for (int64_t c = 0; c < k; ++c) sum += factors.at(a * k + c) * factors.at(b * k + c);
    return sum;
  };
  std::vector<std::vector<double>> result(static_cast<size_t>(items));
  for (int64_t a = 0; a < items; ++a)
    for (int64_t b = 0; b < items; ++b)
      result[static_cast<size_t>(a)].push_back(product(a, b) /
                                               std::sqrt(product(a, a) * product(b, b) + 1e-12));
  return result;
}

// Each item is followed by the one most like it of those that are left.
std::vector<size_t> chain(const std::vector<std::vector<double>>& alike) {
  std::vector<size_t> order{0}, left(alike.size() - 1);
  std::iota(left.begin(), left.end(), 1);
  while (!left.empty()) {
    const auto next = std::ranges::max_element(left, {}, [&](size_t i) { return alike[order.back()][i]; });
    order.push_back(*next);
    left.erase(next);
  }
  return order;
}

int main(int argc, char** argv) {
  constexpr int64_t kMostPictured = 300;
  constexpr size_t kUsers = 4, kListed = 5;
  int64_t factors = 8;
  double decay = 0.3;
  nn::Session session("recommend", "recommends what users have not rated yet",
                      {.epochs = 20, .batch = 200, .lr = 5e-3});
  session.arguments().add("--factors", &factors, "of each user and item", {1, 4096});
  session.arguments().add("--decay", &decay, "weight decay", {0, 100});

  return session.run(argc, argv, [&] {
    const RunOptions& options = session.options();
    const Ratings ratings =
        options.data.empty() ? draw_ratings({.seed = options.seed}) : read_ratings(options.data);
    if (ratings.rating.numel() < 1000)
      throw Error("recommend", cat(ratings.rating.numel(), " ratings are too few to learn from"));
    const std::vector<DatasetPtr> parts =
        split(ratings_dataset(ratings), std::array{0.8, 0.1, 0.1}, options.seed);
    DataLoader train(parts[0], {.batch = options.batch, .seed = options.seed});
    const LoaderOptions in_order{.batch = 500, .shuffle = false, .last = LastBatch::keep};
    DataLoader validation(parts[1], in_order), test(parts[2], in_order);
    const std::vector<Array> learnt = fetch_all(*parts[0]), tested = fetch_all(*parts[2]);
    const Means means(learnt, ratings.users.size(), ratings.items.size());
    const auto [least, most] = std::ranges::minmax(learnt[2].values<float>());
    Array by_means(tested[2].shape(), DType::f32);
    for (int64_t i = 0; i < by_means.numel(); ++i)
      by_means.set(i, std::clamp<double>(means.rating(static_cast<int64_t>(tested[0].at(i)),
                                                      static_cast<int64_t>(tested[1].at(i))),
                                         least, most));
    RegressionError means_error;
    means_error.add(by_means, tested[2]);

    double best_loss = 0;
    const auto learn = [&](const std::string& name, nn::Recommender& model) {
      const auto step = [&](std::span<const Tensor> batch) {
        const Tensor rated = model.ratings(batch[0], batch[1]);
        return nn::StepOutputs{.loss = nn::Mse{}(rated, batch[2]), .output = clamp(rated, least, most)};
      };
      nn::Trainer trainer(
          model, step,
          nn::AdamW({.lr = static_cast<float>(options.lr), .weight_decay = static_cast<float>(decay)}));
      session.fit(trainer, train, {.validation = &validation, .patience = 3, .restore_best = true},
                  {.name = name});
      const double loss = nn::evaluate(trainer, validation).at("loss");
      best_loss = best_loss == 0 ? loss : std::min(best_loss, loss);
      RegressionError error;
      nn::evaluate(trainer, test,
                   [&](const Batch& batch, const Array& output) { error.add(output, batch.columns[2]); });
      model.eval();
      return error.rmse();
    };
    const nn::RecommenderOptions sizes{.users = static_cast<int64_t>(ratings.users.size()),
                                       .items = static_cast<int64_t>(ratings.items.size()),
                                       .factors = factors,
                                       .mean = static_cast<float>(means.all)};
    nn::MatrixFactorization factorization(sizes);
    nn::NeuralRecommender neural(sizes);
    const double rmse_factors = learn("factors", factorization), rmse_neural = learn("neural", neural);

    // What to recommend to the first users: the best of what each has not rated.
    ReportTable table{"Recommendations", {"user", "liked", "recommended", "foreseen rating"}, {}};
    const auto items = static_cast<int64_t>(ratings.items.size());
    for (size_t u = 0; u < std::min(kUsers, ratings.users.size()); ++u) {
      const Array foreseen =
          factorization
              .ratings(Array({items}, std::vector<int32_t>(ratings.items.size(), static_cast<int32_t>(u))),
                       arange(items))
              .eval();
      std::vector<std::pair<double, std::string>> liked, fresh;
      std::set<int64_t> rated;
      for (int64_t i = 0; i < ratings.rating.numel(); ++i)
        if (static_cast<size_t>(ratings.user.at(i)) == u) {
          const auto item = static_cast<int64_t>(ratings.item.at(i));
          rated.insert(item);
          liked.emplace_back(-ratings.rating.at(i), ratings.items[static_cast<size_t>(item)]);
        }
      for (int64_t i = 0; i < items; ++i)
        if (!rated.contains(i)) fresh.emplace_back(-foreseen.at(i), ratings.items[static_cast<size_t>(i)]);
      std::ranges::sort(liked);
      std::ranges::sort(fresh);
      for (size_t k = 0; k < std::min({kListed, liked.size(), fresh.size()}); ++k)
        table.rows.push_back({k == 0 ? ratings.users[u] : "", liked[k].second, fresh[k].second,
                              format_number(-fresh[k].first, 3)});
    }
    session.report().tables.push_back(table);
    const Array vectors = factorization.item_factors->weight.value();
    const std::vector<std::vector<double>> alike = cosines(vectors.rows(0, std::min(items, kMostPictured)));
    const std::vector<size_t> order = chain(alike);
    const auto side = static_cast<int64_t>(order.size());
    Array picture({side, side}, DType::f32);
    for (int64_t i = 0; i < picture.numel(); ++i)
      picture.set(i, alike[order[static_cast<size_t>(i / side)]][order[static_cast<size_t>(i % side)]]);
    session.figure(
        "alike", enlarged(heat_map(picture, -1.0f, 1.0f), std::max<int64_t>(1, 600 / side)),
        "How alike items are by their factors, each with each: yellow where one who likes the one likes "
        "the other, blue where not. Alike ones stand together.");
    session.finish({{"val_loss", best_loss},
                    {"rmse_means", means_error.rmse()},
                    {"rmse_factors", rmse_factors},
                    {"rmse_neural", rmse_neural}});
  });
}
