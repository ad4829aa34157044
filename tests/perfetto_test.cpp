#include "tools/stithy/perfetto.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <fstream>
#include <limits>
#include <map>
#include <set>
#include <stdexcept>

#include "tests/made_up_profile.h"

using namespace stithy;
using namespace stithy::profiling;

namespace {

// A decoder of its own, from the definition of protobuf's wire format.
struct Field {
  uint64_t number = 0, integer = 0;
  std::string_view bytes;
};
std::vector<Field> fields_of(std::string_view text) {
  size_t at = 0;
  const auto varint = [&] {
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      if (at >= text.size() || shift > 63) throw std::runtime_error("a number without an end");
      const auto byte = static_cast<unsigned char>(text[at++]);
      value |= uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return value;
    }
  };
  std::vector<Field> fields;
  while (at < text.size()) {
    const uint64_t tag = varint();
    Field field{.number = tag >> 3};
    if ((tag & 7) == 0) {
      field.integer = varint();
    } else {
      if ((tag & 7) != 1 && (tag & 7) != 2) throw std::runtime_error("a type of field that is not used");
      const uint64_t size = (tag & 7) == 1 ? 8 : varint();
      if (size > text.size() - at) throw std::runtime_error("a field longer than its message");
      field.bytes = text.substr(at, size);
      at += size;
    }
    fields.push_back(field);
  }
  return fields;
}
const Field* find(const std::vector<Field>& fields, uint64_t number) {
  const auto found = std::ranges::find(fields, number, &Field::number);
  return found == fields.end() ? nullptr : &*found;
}
std::string text_of(const std::vector<Field>& fields, uint64_t number) {
  const Field* field = find(fields, number);
  return field ? std::string(field->bytes) : "";
}
double real_of(std::string_view bytes) {
  uint64_t bits = 0;
  for (size_t i = 0; i < 8; ++i) bits |= uint64_t{static_cast<unsigned char>(bytes[i])} << 8 * i;
  return std::bit_cast<double>(bits);
}

struct Slice {
  std::string name;
  uint64_t begin = 0, end = 0;
  size_t depth = 0;
  std::map<std::string, std::string> annotations;  // texts alone
};
struct Track {
  std::string name;
  uint64_t parent = 0;
  bool counter = false;
  std::vector<Slice> slices;
  std::vector<std::pair<uint64_t, double>> counts;
};

// Throws where the slices of a track do not nest, time goes back, or an event is of no track.
std::map<std::string, Track> tracks_of(const std::string& trace) {
  std::map<uint64_t, Track> tracks;
  std::map<uint64_t, std::vector<size_t>> open;
  std::map<uint64_t, uint64_t> reached;
  bool first = true;
  for (const Field& one : fields_of(trace)) {
    if (one.number != 1) throw std::runtime_error("no packet");
    const std::vector<Field> packet = fields_of(one.bytes);
    if (find(packet, 10)->integer != 1) throw std::runtime_error("another sequence");
    if (first != (find(packet, 13) != nullptr))
      throw std::runtime_error("the sequence's begin is not marked");
    first = false;
    if (const Field* described = find(packet, 60)) {
      const std::vector<Field> track = fields_of(described->bytes);
      Track& added = tracks[find(track, 1)->integer];
      added.name = text_of(track, 2);
      if (const Field* process = find(track, 3)) added.name = text_of(fields_of(process->bytes), 6);
      if (const Field* thread = find(track, 4)) added.name = text_of(fields_of(thread->bytes), 5);
      if (const Field* parent = find(track, 5)) {
        if (!tracks.contains(parent->integer)) throw std::runtime_error("a parent that is not there");
        added.parent = parent->integer;
      }
      added.counter = find(track, 8) != nullptr;
      continue;
    }
    const std::vector<Field> event = fields_of(find(packet, 11)->bytes);
    const uint64_t uuid = find(event, 11)->integer, at = find(packet, 8)->integer;
    if (!tracks.contains(uuid)) throw std::runtime_error("an event of no track");
    Track& track = tracks[uuid];
    if (at < reached[uuid]) throw std::runtime_error("time goes back on " + track.name);
    reached[uuid] = at;
    const uint64_t type = find(event, 9)->integer;
    if (type == 4) {
      if (!track.counter) throw std::runtime_error("a count on " + track.name);
      const Field* real = find(event, 44);
      track.counts.emplace_back(at,
                                real ? real_of(real->bytes) : static_cast<double>(find(event, 30)->integer));
    } else if (type == 1) {
      if (track.counter) throw std::runtime_error("a slice on " + track.name);
      Slice slice{.name = text_of(event, 23), .begin = at, .depth = open[uuid].size()};
      for (const Field& field : event)
        if (field.number == 4) {
          const std::vector<Field> annotation = fields_of(field.bytes);
          slice.annotations[text_of(annotation, 10)] = text_of(annotation, 6);
        }
      open[uuid].push_back(track.slices.size());
      track.slices.push_back(std::move(slice));
    } else {
      if (type != 2 || open[uuid].empty()) throw std::runtime_error("an end without a begin");
      track.slices[open[uuid].back()].end = at;
      open[uuid].pop_back();
    }
  }
  for (const auto& [uuid, slices] : open)
    if (!slices.empty()) throw std::runtime_error("a slice without an end");
  std::map<std::string, Track> by_name;
  for (auto& [uuid, track] : tracks) {
    if (by_name.contains(track.name)) throw std::runtime_error("two tracks " + track.name);
    by_name[track.name] = std::move(track);
  }
  return by_name;
}

std::vector<std::string> names_of(const Track& track) {
  std::vector<std::string> names;
  for (const Slice& slice : track.slices) names.push_back(std::string(2 * slice.depth, ' ') + slice.name);
  return names;
}
size_t count_of(const Track& track, const std::string& name) {
  return static_cast<size_t>(std::ranges::count(track.slices, name, &Slice::name));
}

}  // namespace

TEST_SUITE("perfetto") {
  TEST_CASE("the host makes the program and runs it") {
    const Profile profile = testing::made_up_profile();
    const auto tracks = tracks_of(to_perfetto(analyse(profile)));
    REQUIRE(tracks.contains("samples/sample"));
    const Track& host = tracks.at("host");
    const std::vector<std::string> names = names_of(host);
    const std::vector<std::string> first{"make program", "  plan", "  compile",    "  allocate",
                                         "  record",     "run 6",  "  copy feeds", "  submit",
                                         "  wait",       "run 7"};
    REQUIRE(names.size() == 5 + 11 * 4);
    CHECK(std::vector(names.begin(), names.begin() + 10) == first);
    CHECK(host.slices[0].begin == 340000);  // what it took, before it was done at 900 us
    CHECK(host.slices[2].begin == 440000);
    CHECK(host.slices[2].end == 840000);
    CHECK(host.slices[0].end == 900000);
    CHECK(host.slices[5].begin == 6000000);
    CHECK(host.slices[6].end == 6020000);
    CHECK(host.slices[7].end == 6050000);
    CHECK(host.slices[8].end == 6400000);
    CHECK(host.slices[5].annotations.at("timing") == "concurrent");
  }

  TEST_CASE("the device's runs, their kernels inside, overlapping ones beside") {
    const Profile profile = testing::made_up_profile();
    const auto tracks = tracks_of(to_perfetto(analyse(profile)));
    const Track& queue = tracks.at("queue");
    const std::vector<std::string> names = names_of(queue);
    const std::vector<std::string> step{"step 6",         "  copy in",      "  kernels",
                                        "    embedding",  "    binary_add", "    matmul",
                                        "    binary_add", "    sgd",        "  copy out"};
    REQUIRE(names.size() > step.size());
    CHECK(std::vector(names.begin(), names.begin() + 9) == step);
    CHECK(tracks.at("queue, overlapping 1").slices.size() == 3);  // matmul, of the runs that timed all
    CHECK(tracks.at("queue, overlapping 1").slices[0].name == "matmul");
    CHECK(count_of(queue, "matmul") + 3 == 3 * 2 + 2 * 2 + 2 * 2);  // trials, parts, isolated
    CHECK(count_of(queue, "kernels") == 11);
    // As early as submission allows, and not past the end that the host saw.
    CHECK(queue.slices[0].begin == 6050000);
    CHECK(queue.slices[0].end == 6370000);
    CHECK(queue.slices[1].end == 6060000);
    const auto& annotations = queue.slices[4].annotations;
    CHECK(annotations.at("op") == "add");
    CHECK(annotations.at("phase") == "forward");
    CHECK(annotations.at("layer") == "net.linear");
    CHECK(annotations.at("shapes") == "[64, 64] -> [64]");
    CHECK(annotations.at("dtype") == "f32");
    CHECK(annotations.at("variant") == "tile 64x64 TILE=64");
    CHECK(annotations.contains("flops"));
    CHECK(annotations.contains("bytes"));
  }

  TEST_CASE("a run that seems longer than the host waited still ends when the host saw it, where it can") {
    Profile profile = testing::made_up_profile();
    ProfiledRun& run = profile.programs[0].measured[0];
    run.times.copied_out = 370e3;
    const auto at = [&] { return tracks_of(to_perfetto(analyse(profile))).at("queue").slices[0]; };
    CHECK(at().begin == 6030000);
    CHECK(at().end == 6400000);
    run.times.copied_out = 5e6;  // over the runs that follow: they come later, none is lost
    CHECK(at().begin == 6020000);
    CHECK(at().end == 11020000);
  }

  TEST_CASE("bytes that are alive, and the loss") {
    const Profile profile = testing::made_up_profile();
    const auto tracks = tracks_of(to_perfetto(analyse(profile)));
    const Track& memory = tracks.at("memory alive");
    REQUIRE(memory.counter);
    CHECK(memory.counts.size() == 5 * 7);  // runs that timed every kernel
    std::vector<double> first;
    for (size_t i = 0; i < 7; ++i) first.push_back(memory.counts[i].second);
    CHECK(first == std::vector<double>{1000, 4000, 3000, 3000, 500, 0, 0});
    const Track& loss = tracks.at("loss");
    REQUIRE(loss.counts.size() == 11);
    CHECK(loss.counts[0] == std::pair<uint64_t, double>{6400000, 1.0 / 6});
  }

  TEST_CASE("without timestamps: kernels by the host's clock, and nothing that is not known") {
    const Profile profile = testing::made_up_profile({.timestamps = false});
    const auto tracks = tracks_of(to_perfetto(analyse(profile)));
    const Track& queue = tracks.at("queue");
    CHECK(queue.slices.size() == 12);                  // the isolated runs'
    CHECK(queue.slices[0].begin == 12020000 + 10000);  // from where the feeds were copied
    CHECK(count_of(queue, "kernels") == 0);
    CHECK(count_of(tracks.at("host"), "submit and wait") == 11);
  }

  TEST_CASE("times that cannot be leave a trace that is sound") {
    Profile profile = testing::made_up_profile();
    for (double wrong : {-1e9, 1e300, std::numeric_limits<double>::quiet_NaN()}) {
      for (ProfiledRun& run : profile.programs[0].measured) {
        run.times.copied_in = wrong;
        if (!run.times.kernels.empty()) run.times.kernels[3] = {1e300, -5};
      }
      profile.programs[0].compile_ns = wrong;
      std::swap(profile.programs[0].measured[0], profile.programs[0].measured[5]);
      CHECK_NOTHROW(tracks_of(to_perfetto(analyse(profile))));
    }
  }

  TEST_CASE("the decoder finds what is wrong") {
    const Profile profile = testing::made_up_profile();
    const std::string trace = to_perfetto(analyse(profile));
    CHECK_THROWS(tracks_of(trace.substr(0, trace.size() - 3)));
    CHECK_THROWS(tracks_of(trace + trace));
    if (const char* path = std::getenv("STITHY_TRACE")) std::ofstream(path, std::ios::binary) << trace;
  }
}
