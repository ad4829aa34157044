#include "nn/data/shape_scenes.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>
#include <numeric>

#include "engine/core/error.h"

namespace stithy {
namespace {

constexpr double kPi = std::numbers::pi;
constexpr int kSamples = 3;       // a pixel has so many times so many, for smooth edges
constexpr double kContrast = 90;  // in one channel at least, between a shape and the ground

// Whether (u, v), v downwards, is in the shape, which the unit circle holds.
bool inside(int32_t kind, double u, double v) {
  const double r = std::hypot(u, v), au = std::abs(u), av = std::abs(v);
  switch (kind) {
    case 0: return r <= 1;
    case 1: return r <= 1 && r >= 0.55;
    case 2: return std::max(au, av) <= 0.75;
    case 3: return std::max(au, av) <= 0.75 && std::max(au, av) >= 0.4;
    case 4: return v <= 0.5 && std::sqrt(3.0) * au - v <= 1;
    case 5: {
      // Five times the same corner, folded onto the one that points up.
      const double sector = 2 * kPi / 5, angle = std::abs(std::remainder(std::atan2(u, -v), sector));
      const double x = r * std::cos(angle), y = r * std::sin(angle);
      const double inner = 0.4, ix = inner * std::cos(sector / 2), iy = inner * std::sin(sector / 2);
      return (1 - x) * iy >= y * (1 - ix);
    }
    case 6: return (au <= 0.3 && av <= 0.95) || (av <= 0.3 && au <= 0.95);
    case 7: return au <= 0.95 && av <= 0.3;
    case 8: return av <= 0.85 && au <= 0.08 + 0.6 * av;
    case 9: return r <= 1 && v >= 0;
    case 10: {
      const double x = 1.25 * u, y = -1.25 * v + 0.15, a = x * x + y * y - 1;
      return a * a * a <= x * x * y * y * y;
    }
    default: return r <= 1 && std::hypot(u - 0.5, v) >= 0.75;
  }
}

struct Texture {
  std::array<double, 3> low, high;  // colours
  int kind;                         // plain, stripes, checks, blotches
  double cosine, sine, period;
  std::array<double, 64> lattice;  // of blotches

  // How much of `high` there is at a pixel, 0 to 1.
  double share(double x, double y) const {
    const double u = (cosine * x + sine * y) / period, v = (cosine * y - sine * x) / period;
    const auto wave = [](double t) { return t - std::floor(t) < 0.5 ? 1.0 : 0.0; };
    if (kind == 0) return 0.5;
    if (kind == 1) return wave(u);
    if (kind == 2) return wave(u) == wave(v) ? 1 : 0;
    const auto value = [&](double a, double b) {
      const auto wrapped = [](double t) { return static_cast<size_t>(t - 8 * std::floor(t / 8)) % 8; };
      return lattice[8 * wrapped(b) + wrapped(a)];
    };
    const double column = std::floor(u), row = std::floor(v), right = u - column, down = v - row;
    return (1 - down) * ((1 - right) * value(column, row) + right * value(column + 1, row)) +
           down * ((1 - right) * value(column, row + 1) + right * value(column + 1, row + 1));
  }
};

// Its mean colour is other than `unlike`.
Texture draw_texture(Philox& random, double size, const Texture* unlike) {
  Texture t;
  double contrast = 0;
  do {
    contrast = 0;
    for (size_t c = 0; c < 3; ++c) {
      const double mean = 30 + 195 * random.uniform(), spread = 30 * (2 * random.uniform() - 1);
      t.low[c] = mean - spread;
      t.high[c] = mean + spread;
      if (unlike) contrast = std::max(contrast, std::abs(mean - (unlike->low[c] + unlike->high[c]) / 2));
    }
  } while (unlike && contrast < kContrast);
  t.kind = static_cast<int>(random.below(4));
  const double angle = kPi * random.uniform();
  t.cosine = std::cos(angle);
  t.sine = std::sin(angle);
  t.period = size * (0.08 + 0.1 * random.uniform());
  for (double& value : t.lattice) value = random.uniform();
  return t;
}

}  // namespace

ShapeScenes::ShapeScenes(int64_t count, ShapeScenesOptions options)
    : count_(count), options_(std::move(options)) {
  ShapeScenesOptions& o = options_;
  if (o.kinds.empty()) {
    o.kinds.resize(kShapeNames.size());
    std::iota(o.kinds.begin(), o.kinds.end(), 0);
  }
  if (o.target == ShapeTarget::label) o.most = 1;
  if (count < 0) throw Error("shape scenes", cat("there cannot be ", count, " of them"));
  if (o.size < 8 || o.size > 4096) throw Error("shape scenes", cat("size ", o.size, " is not in 8 to 4096"));
  if (o.most < 1 || o.most > 100) throw Error("shape scenes", cat("most ", o.most, " is not in 1 to 100"));
  if (!(o.smallest > 0 && o.smallest <= o.largest && o.largest <= 0.5))
    throw Error("shape scenes", cat("radii from ", o.smallest, " to ", o.largest, " are not in 0 to 0.5"));
  if (!(o.noise >= 0 && o.noise <= 255))
    throw Error("shape scenes", cat("noise ", o.noise, " is not in 0 to 255"));
  for (const int32_t kind : o.kinds)
    if (kind < 0 || kind >= static_cast<int32_t>(kShapeNames.size()))
      throw Error("shape scenes", cat("shape ", kind, " is not in 0 to ", kShapeNames.size() - 1));
  columns_ = {{"image", {3, o.size, o.size}, DType::u8}};
  if (o.target == ShapeTarget::mask)
    columns_.push_back({"mask", {o.size, o.size}, DType::i32, kIgnoreIndex});
  else
    columns_.push_back({"label", {}, DType::i32, kIgnoreIndex});
}

void ShapeScenes::fetch(int64_t index, std::span<const std::span<std::byte>> out) const {
  if (index < 0 || index >= count_)
    throw Error("shape scenes", cat("item ", index, " is out of range for ", count_, " items"));
  const ShapeScenesOptions& o = options_;
  Philox random(o.seed, static_cast<uint64_t>(index));
  const auto between = [&](double low, double high) { return low + (high - low) * random.uniform(); };
  const double size = static_cast<double>(o.size);
  const int64_t pixels = o.size * o.size;

  const Texture ground = draw_texture(random, size, nullptr);
  std::vector<double> image(static_cast<size_t>(3 * pixels));
  const auto paint = [&](int64_t i, const Texture& texture, double alpha) {
    const double share = texture.share(static_cast<double>(i % o.size), static_cast<double>(i / o.size));
    for (size_t c = 0; c < 3; ++c) {
      double& value = image[c * static_cast<size_t>(pixels) + static_cast<size_t>(i)];
      value += alpha * (texture.low[c] + share * (texture.high[c] - texture.low[c]) - value);
    }
  };
  for (int64_t i = 0; i < pixels; ++i) paint(i, ground, 1);

  std::vector<int32_t> mask(static_cast<size_t>(pixels));
  int32_t label = 0;
  const int64_t shapes = 1 + static_cast<int64_t>(random.below(static_cast<uint64_t>(o.most)));
  for (int64_t s = 0; s < shapes; ++s) {
    label = static_cast<int32_t>(random.below(o.kinds.size()));
    const int32_t kind = o.kinds[static_cast<size_t>(label)];
    const Texture texture = draw_texture(random, size, &ground);
    const double radius = size * between(o.smallest, o.largest), stretch = std::exp(between(-0.15, 0.15));
    const double x0 = between(radius, size - radius), y0 = between(radius, size - radius);
    const double angle = 2 * kPi * random.uniform(), cosine = std::cos(angle), sine = std::sin(angle);
    for (int64_t i = 0; i < pixels; ++i) {
      int covered = 0;
      for (int sample = 0; sample < kSamples * kSamples; ++sample) {
        const auto offset = [](int k) { return (k + 0.5) / kSamples; };
        const double x = (static_cast<double>(i % o.size) + offset(sample % kSamples) - x0) / radius;
        const double y = (static_cast<double>(i / o.size) + offset(sample / kSamples) - y0) / radius;
        if (std::max(std::abs(x), std::abs(y)) > 1.5) break;
        covered += inside(kind, (cosine * x + sine * y) * stretch, (cosine * y - sine * x) / stretch);
      }
      if (covered == 0) continue;
      paint(i, texture, covered / static_cast<double>(kSamples * kSamples));
      if (2 * covered > kSamples * kSamples) mask[static_cast<size_t>(i)] = 1 + label;
    }
  }
  for (size_t i = 0; i < image.size(); ++i)
    out[0][i] =
        static_cast<std::byte>(std::lround(std::clamp(image[i] + o.noise * random.normal(), 0.0, 255.0)));
  if (o.target == ShapeTarget::mask)
    std::memcpy(out[1].data(), mask.data(), out[1].size());
  else
    std::memcpy(out[1].data(), &label, sizeof label);
}

}  // namespace stithy
