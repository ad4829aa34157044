#include "nn/data/digits.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <thread>
#include <vector>

#include "engine/core/error.h"
#include "engine/core/rng.h"
#include "nn/data/idx.h"

namespace stithy {
namespace {

struct Point {
  double x, y;
};
Point operator+(Point a, Point b) { return {a.x + b.x, a.y + b.y}; }
Point operator-(Point a, Point b) { return {a.x - b.x, a.y - b.y}; }
Point operator*(double s, Point a) { return {s * a.x, s * a.y}; }

// A stroke runs smoothly through its points; a corner is the common end of two strokes. Coordinates go from
// 0 (left, top) to 100 (right, bottom).
using Stroke = std::vector<Point>;
using Glyph = std::vector<Stroke>;

const std::array<std::vector<Glyph>, 10>& glyphs() {
  static const std::array<std::vector<Glyph>, 10> all = {{
      // 0: round, narrow with an overlap at the top, open at the top
      {{{{50, 2}, {26, 14}, {15, 50}, {26, 86}, {50, 98}, {74, 86}, {85, 50}, {74, 14}, {50, 2}}},
       {{{60, 8}, {40, 6}, {24, 42}, {30, 84}, {50, 97}, {70, 80}, {76, 42}, {62, 10}, {44, 2}}},
       {{{42, 6}, {22, 30}, {18, 68}, {38, 95}, {64, 88}, {82, 56}, {76, 18}, {56, 4}}}},
      // 1: a stroke, with a flag, with flag and foot, slanted
      {{{{50, 2}, {50, 50}, {50, 98}}},
       {{{30, 24}, {42, 16}, {54, 3}}, {{54, 3}, {53, 50}, {52, 98}}},
       {{{30, 24}, {44, 14}, {52, 3}}, {{52, 3}, {52, 50}, {52, 96}}, {{26, 97}, {52, 96}, {78, 97}}},
       {{{64, 2}, {52, 48}, {38, 98}}}},
      // 2: angular foot, foot with a loop, swan, straight back
      {{{{20, 24}, {32, 7}, {54, 3}, {74, 14}, {76, 34}, {58, 58}, {36, 78}, {16, 95}},
        {{16, 95}, {50, 94}, {86, 95}}},
       {{{20, 20},
         {38, 4},
         {62, 5},
         {76, 22},
         {68, 48},
         {46, 74},
         {24, 93},
         {12, 86},
         {24, 76},
         {44, 84},
         {64, 95},
         {88, 88}}},
       {{{24, 16}, {48, 2}, {72, 14}, {72, 38}, {50, 66}, {20, 92}},
        {{20, 92}, {40, 86}, {62, 96}, {84, 90}}},
       {{{22, 14}, {44, 4}, {70, 8}, {74, 28}},
        {{74, 28}, {46, 62}, {18, 94}},
        {{18, 94}, {52, 96}, {82, 93}}}},
      // 3: two bows, flat top, with a loop in the middle
      {{{{22, 14}, {44, 2}, {68, 9}, {73, 26}, {60, 42}, {40, 47}},
        {{40, 47}, {66, 52}, {80, 70}, {70, 91}, {44, 98}, {18, 88}}},
       {{{20, 7}, {48, 5}, {76, 7}},
        {{76, 7}, {60, 24}, {42, 42}},
        {{42, 42}, {68, 46}, {80, 68}, {68, 92}, {42, 98}, {18, 88}}},
       {{{20, 16},
         {42, 3},
         {66, 8},
         {70, 28},
         {54, 44},
         {38, 50},
         {40, 44},
         {62, 48},
         {78, 66},
         {72, 88},
         {46, 98},
         {16, 86}}}},
      // 4: open, closed, open with a round corner, right stroke short
      {{{{28, 4}, {23, 30}, {18, 56}}, {{18, 56}, {50, 56}, {86, 53}}, {{72, 4}, {68, 50}, {64, 98}}},
       {{{62, 2}, {40, 32}, {13, 66}}, {{13, 66}, {50, 66}, {88, 65}}, {{62, 2}, {61, 50}, {60, 98}}},
       {{{26, 8}, {19, 36}, {24, 54}, {46, 57}, {72, 46}}, {{77, 6}, {72, 46}, {64, 98}}},
       {{{40, 2}, {28, 32}, {14, 60}}, {{14, 60}, {48, 61}, {86, 58}}, {{62, 34}, {58, 66}, {54, 98}}}},
      // 5: bar, neck and bowl; in one go; bar as a last stroke
      {{{{78, 4}, {54, 5}, {30, 6}},
        {{30, 6}, {28, 24}, {25, 43}},
        {{25, 43}, {50, 37}, {75, 50}, {78, 73}, {58, 95}, {18, 91}}},
       {{{76, 6}, {48, 5}, {32, 16}, {34, 36}, {58, 48}, {74, 66}, {68, 88}, {44, 97}, {18, 90}}},
       {{{36, 8}, {32, 26}, {27, 44}},
        {{27, 44}, {56, 44}, {74, 62}, {66, 88}, {40, 98}, {18, 92}},
        {{36, 8}, {58, 9}, {84, 3}}}},
      // 6: curved back, straight back, small bowl
      {{{{66, 4}, {42, 18}, {24, 48}, {23, 80}, {44, 98}, {70, 88}, {76, 67}, {58, 53}, {36, 60}, {25, 78}}},
       {{{54, 2}, {38, 30}, {25, 62}, {32, 92}, {56, 97}, {75, 80}, {66, 60}, {44, 58}, {28, 72}}},
       {{{74, 8}, {48, 8}, {27, 36}, {20, 72}, {38, 97}, {66, 92}, {74, 74}, {56, 62}, {30, 72}, {22, 82}}}},
      // 7: plain, with a bar, with a serif, curved
      {{{{17, 9}, {50, 8}, {82, 7}}, {{82, 7}, {62, 46}, {46, 98}}},
       {{{17, 9}, {50, 8}, {82, 7}}, {{82, 7}, {60, 48}, {44, 98}}, {{34, 52}, {54, 51}, {76, 49}}},
       {{{16, 24}, {17, 15}, {20, 7}}, {{20, 7}, {50, 9}, {83, 6}}, {{83, 6}, {58, 48}, {50, 98}}},
       {{{16, 14}, {40, 6}, {66, 12}, {82, 6}}, {{82, 6}, {68, 34}, {52, 62}, {46, 98}}}},
      // 8: in one go, from the top; two rings; open at the top
      {{{{72, 16},
         {48, 2},
         {27, 15},
         {33, 35},
         {54, 50},
         {75, 68},
         {71, 90},
         {48, 98},
         {25, 89},
         {25, 68},
         {46, 50},
         {67, 34},
         {72, 16}}},
       {{{50, 2}, {28, 12}, {30, 36}, {50, 47}, {70, 36}, {72, 12}, {50, 2}},
        {{50, 47}, {26, 58}, {22, 82}, {48, 98}, {76, 84}, {74, 58}, {50, 47}}},
       {{{76, 8},
         {50, 3},
         {29, 16},
         {38, 38},
         {62, 56},
         {72, 78},
         {54, 97},
         {30, 88},
         {32, 66},
         {56, 44},
         {80, 14}}}},
      // 9: straight tail, curved tail, bowl apart from the tail
      {{{{74, 24}, {56, 4}, {32, 10}, {22, 32}, {36, 50}, {60, 44}, {74, 24}},
        {{74, 24}, {71, 58}, {64, 98}}},
       {{{75, 26}, {58, 4}, {32, 9}, {22, 32}, {38, 49}, {62, 42}, {75, 26}, {77, 58}, {60, 92}, {28, 95}}},
       {{{70, 12}, {46, 3}, {24, 22}, {28, 45}, {52, 47}, {72, 28}}, {{76, 6}, {72, 50}, {70, 98}}}},
  }};
  return all;
}

double between(Philox& random, double low, double high) { return low + (high - low) * random.uniform(); }
// Mean 0, variance 1/2, within [-2, 2]: bell-shaped without the library's log and cos, whose last bit differs
// from one system to another.
double bell(Philox& random) {
  return random.uniform() + random.uniform() + random.uniform() - random.uniform() - random.uniform() -
         random.uniform();
}

// A smooth random bend of the plane: free-form deformation by a cubic B-spline over a 4 x 4 grid (Sederberg
// and Parry 1986, with B-splines for Bernstein polynomials).
class Bend {
 public:
  Bend(Philox& random, double amplitude) {
    for (Point& shift : grid_) shift = {amplitude * bell(random), amplitude * bell(random)};
  }
  Point operator()(Point p) const {
    const std::array<double, 4> wx = weights(p.x), wy = weights(p.y);
    Point result = p;
    for (size_t i = 0; i < 4; ++i)
      for (size_t j = 0; j < 4; ++j) result = result + (wy[i] * wx[j]) * grid_[4 * i + j];
    return result;
  }

 private:
  static std::array<double, 4> weights(double at) {
    const double t = std::clamp(at, 0.0, 1.0), u = 1 - t;
    return {u * u * u, 3 * t * u * u, 3 * t * t * u, t * t * t};
  }
  std::array<Point, 16> grid_;
};

// Catmull and Rom's spline through p1 and p2.
Point spline(Point p0, Point p1, Point p2, Point p3, double t) {
  return 0.5 * (2 * p1 + t * (p2 - p0) + (t * t) * (2 * p0 - 5 * p1 + 4 * p2 - p3) +
                (t * t * t) * (3 * p1 - p0 - 3 * p2 + p3));
}

struct Segment {
  Point a, b;
  double radius;
};

// The glyph in pixels, centred on its bounding box, before it is moved.
std::vector<Segment> write(const Glyph& glyph, Philox& random) {
  constexpr int kSteps = 6;
  const Bend bend(random, between(random, 0.08, 0.22));
  const double half = between(random, -0.131, 0.131);  // tan(15 degrees / 2)
  const double cosine = (1 - half * half) / (1 + half * half), sine = 2 * half / (1 + half * half);
  const double shear = 0.16 + 0.28 * bell(random);  // most people lean to the right
  const double height = between(random, 15, 21), width = height * between(random, 0.6, 1.15);
  const double radius = between(random, 0.75, 1.75), pressure = between(random, -0.25, 0.25);
  const double haste = between(random, 1, 5.5);
  const auto place = [&](Point p) {
    Point q = bend({p.x / 100, p.y / 100});
    q = {(q.x - 0.5 - shear * (q.y - 0.5)) * width, (q.y - 0.5) * height};
    return Point{cosine * q.x - sine * q.y, sine * q.x + cosine * q.y};
  };
  std::vector<Segment> segments;
  for (const Stroke& stroke : glyph) {
    std::vector<Point> points;
    // Strokes of a hasty hand do not meet where they should, and no two bows are alike.
    for (Point p : stroke) points.push_back(place(p + Point{haste * bell(random), haste * bell(random)}));
    const size_t spans = points.size() - 1;
    Point previous = points[0];
    for (size_t i = 0; i < spans; ++i)
      for (int step = 1; step <= kSteps; ++step) {
        const double t = static_cast<double>(step) / kSteps;
        const Point next =
            spline(points[i ? i - 1 : 0], points[i], points[i + 1], points[std::min(i + 2, spans)], t);
        const double along = (static_cast<double>(i) + t) / static_cast<double>(spans);
        segments.push_back({previous, next, radius * (1 + pressure * (2 * along - 1))});
        previous = next;
      }
  }
  Point low = segments[0].a, high = low;
  for (const Segment& s : segments) {
    low = {std::min(low.x, s.b.x), std::min(low.y, s.b.y)};
    high = {std::max(high.x, s.b.x), std::max(high.y, s.b.y)};
  }
  // Whatever the bend did, the digit fits into the middle 22 pixels.
  const double scale = std::min(1.0, 22 / std::max({high.x - low.x, high.y - low.y, 1.0}));
  const Point centre = 0.5 * (low + high);
  for (Segment& s : segments) s = {scale * (s.a - centre), scale * (s.b - centre), s.radius};
  return segments;
}

double distance(Point p, const Segment& s) {
  const Point along = s.b - s.a, to = p - s.a;
  const double length = along.x * along.x + along.y * along.y;
  const double t = length > 0 ? std::clamp((to.x * along.x + to.y * along.y) / length, 0.0, 1.0) : 0;
  const Point away = to - t * along;
  return std::sqrt(away.x * away.x + away.y * away.y);
}

void check_count(int64_t count) {
  if (count < 0 || count > int64_t{1} << 31)
    throw Error("digits", cat("count ", count, " is not in 0 to 2^31"));
}

}  // namespace

int draw_digit(DigitsSplit split, int64_t index, uint64_t seed, std::span<uint8_t> image) {
  constexpr uint64_t kStream = uint64_t{1} << 61;  // apart from the shuffling streams
  Philox random(seed, kStream | static_cast<uint64_t>(split) << 48 | static_cast<uint64_t>(index));
  const int digit = static_cast<int>(random.below(10));
  const std::vector<Glyph>& styles = glyphs()[static_cast<size_t>(digit)];
  const std::vector<Segment> segments = write(styles[random.below(styles.size())], random);
  const Point centre{13.5 + 1.3 * bell(random), 13.5 + 1.3 * bell(random)};

  // The signed distance of each pixel from the ink's edge; the brush fades over `soft` pixels.
  const double soft = between(random, 0.9, 1.6);
  std::array<double, kDigitSize * kDigitSize> edge;
  edge.fill(10);
  for (const Segment& local : segments) {
    const Segment s{local.a + centre, local.b + centre, local.radius};
    const double reach = s.radius + soft;
    const auto first = [&](double a, double b) {
      return std::clamp(static_cast<int>(std::floor(std::min(a, b) - reach)), 0, kDigitSize);
    };
    const auto last = [&](double a, double b) {
      return std::clamp(static_cast<int>(std::ceil(std::max(a, b) + reach)), -1, kDigitSize - 1);
    };
    for (int y = first(s.a.y, s.b.y); y <= last(s.a.y, s.b.y); ++y)
      for (int x = first(s.a.x, s.b.x); x <= last(s.a.x, s.b.x); ++x) {
        double& nearest = edge[static_cast<size_t>(y * kDigitSize + x)];
        nearest = std::min(nearest, distance({static_cast<double>(x), static_cast<double>(y)}, s) - s.radius);
      }
  }
  const double contrast = between(random, 0.78, 1), noise = std::max(0.0, between(random, -10, 14));
  for (size_t i = 0; i < edge.size(); ++i) {
    const double ink = std::clamp(0.5 - edge[i] / soft, 0.0, 1.0);
    const double grain = noise > 0 ? noise * static_cast<double>(random.bits() >> 8) * 0x1p-24 : 0;
    image[i] =
        static_cast<uint8_t>(std::clamp(255 * contrast * ink * ink * (3 - 2 * ink) + grain, 0.0, 255.0));
  }
  return digit;
}

ImageClasses draw_digits(DigitsSplit split, int64_t count, uint64_t seed, int threads) {
  check_count(count);
  ImageClasses result{Array({count, kDigitSize, kDigitSize}, DType::u8), Array({count}, DType::i32)};
  constexpr int64_t kPixels = kDigitSize * kDigitSize;
  const std::span<uint8_t> images = result.images.values<uint8_t>();
  const std::span<int32_t> labels = result.labels.values<int32_t>();
  const int64_t workers =
      std::clamp<int64_t>(threads > 0 ? threads : std::thread::hardware_concurrency(), 1, count / 64 + 1);
  const auto draw = [&](int64_t worker) {
    for (int64_t i = count * worker / workers; i < count * (worker + 1) / workers; ++i)
      labels[static_cast<size_t>(i)] =
          draw_digit(split, i, seed, images.subspan(static_cast<size_t>(i * kPixels), kPixels));
  };
  std::vector<std::jthread> running;
  for (int64_t worker = 1; worker < workers; ++worker) running.emplace_back(draw, worker);
  draw(0);
  running.clear();
  return result;
}

DigitsDataset::DigitsDataset(DigitsSplit split, int64_t size, uint64_t seed)
    : split_(split), size_(size), seed_(seed) {
  check_count(size);
  drawn_ = std::make_unique_for_overwrite<Drawn[]>(static_cast<size_t>(size));
}

void DigitsDataset::fetch(int64_t index, std::span<const std::span<std::byte>> out) const {
  if (index < 0 || index >= size_)
    throw Error("digits", cat("item ", index, " is out of range for ", size_, " items"));
  Drawn& drawn = drawn_[static_cast<size_t>(index)];
  int32_t digit = 0;
  if (drawn.ready.load(std::memory_order_acquire)) {
    std::memcpy(out[0].data(), drawn.image.data(), drawn.image.size());
    digit = drawn.digit;
  } else {
    digit = draw_digit(split_, index, seed_, {reinterpret_cast<uint8_t*>(out[0].data()), out[0].size()});
    // One thread keeps what it drew; others that are here at the same moment have drawn the same.
    if (!drawn.claimed.exchange(true)) {
      std::memcpy(drawn.image.data(), out[0].data(), drawn.image.size());
      drawn.digit = static_cast<uint8_t>(digit);
      drawn.ready.store(true, std::memory_order_release);
    }
  }
  std::memcpy(out[1].data(), &digit, sizeof digit);
}

DigitsData load_or_draw_digits(const std::string& folder, int64_t train, int64_t test, uint64_t seed) {
  if (folder.empty())
    return {std::make_shared<DigitsDataset>(DigitsSplit::train, train, seed),
            std::make_shared<DigitsDataset>(DigitsSplit::test, test, seed)};
  TrainTest mnist = load_mnist(folder);
  return {image_dataset(std::move(mnist.train)), image_dataset(std::move(mnist.test))};
}

}  // namespace stithy
