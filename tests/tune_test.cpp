// Choices between ways to run an op: who answers, and that the answer is what runs.
#include <doctest/doctest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <bit>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <set>
#include <thread>

#include "engine/core/error.h"
#include "engine/graph/device.h"
#include "engine/graph/op.h"
#include "engine/graph/program.h"
#include "engine/ops.h"
#include "engine/tune.h"
#include "shaders/fill.h"
#include "tests/harness.h"
#include "tests/temporary_folder.h"
#include "tests/with_environment.h"

using namespace stithy;

TEST_SUITE_BEGIN("tune");

TEST_CASE("size buckets are exact for small sizes and an eighth to a quarter apart for others") {
  int64_t last = 0;
  for (int64_t n = 0; n < 5000; ++n) {
    const int64_t bucket = size_bucket(n);
    CHECK(bucket >= n);
    CHECK(bucket >= last);
    CHECK(size_bucket(bucket) == bucket);
    if (n <= 16)
      CHECK(bucket == n);
    else
      CHECK(4 * bucket < 5 * n);
    last = bucket;
  }
  CHECK(size_bucket(17) == 20);
  CHECK(size_bucket(1024) == 1024);
  CHECK(size_bucket(1025) == 1280);
}

namespace {

// An op that can fill its output in three ways.
void launch_ways(const Node&, Launch& launch) {
  launch.choose({.key = "any", .labels = {"good", "other", "plain"}, .plain = 2});
  launch.choose({.key = "single", .labels = {"only"}});
}
const OpDef kWays = {.name = "ways", .launch = launch_ways};
Tensor ways() { return make_node(kWays, {}, {}, {{Shape{4}}}); }

struct FixedTable : ChoiceTable {
  size_t answer = 0;
  int asked = 0;
  size_t choose(const Choice& choice, const vk::DeviceInfo&) override {
    CHECK(choice.key == "ways any");
    ++asked;
    return answer;
  }
  bool reconsider(const Plan&) override { return false; }
};

struct TableInUse {
  ChoiceTable* before;
  explicit TableInUse(ChoiceTable* table) : before(set_choice_table(table)) {}
  ~TableInUse() { set_choice_table(before); }
};

}  // namespace

TEST_CASE("options answer before the table, the table before the default") {
  const vk::DeviceInfo device = testing::modest_device();
  FixedTable table;
  table.answer = 1;
  const auto taken = [&](const ProgramOptions& options) {
    const Plan plan = make_plan({ways()}, {}, options, device);
    REQUIRE(plan.choices.size() == 1);  // a single candidate is no choice
    CHECK(plan.choices[0].choice.plain == 2);
    return plan.choices[0].choice.taken;
  };
  {
    const TableInUse none(nullptr);
    CHECK(taken({}) == 0);
  }
  const TableInUse use(&table);
  CHECK(taken({}) == 1);
  CHECK(table.asked == 1);
  ProgramOptions options;
  options.choose = [](const Choice&) { return size_t{2}; };
  CHECK(taken(options) == 2);
  options.choose = [](const Choice&) { return size_t{7}; };  // stays within what is offered
  CHECK(taken(options) == 2);
  CHECK(table.asked == 1);
}

TEST_CASE("the candidate taken is what runs") {
  const Tensor y = matmul(input("a", {64, 64}), input("b", {64, 64}));
  std::set<std::vector<uint32_t>> specs;
  std::string description;
  size_t count = 1;
  for (size_t i = 0; i < count; ++i) {
    ProgramOptions options;
    options.choose = [i](const Choice&) { return i; };
    const Plan plan = make_plan({y}, {}, options, testing::modest_device());
    REQUIRE(plan.choices.size() == 1);
    const Choice& choice = plan.choices[0].choice;
    count = choice.labels.size();
    CHECK(choice.plain < count);
    CHECK(choice.taken == i);
    CHECK(std::set<std::string>(choice.labels.begin(), choice.labels.end()).size() == count);
    std::vector<uint32_t> spec;
    for (const PlannedDispatch& dispatch : plan.dispatches)
      spec.insert(spec.end(), dispatch.call.spec.begin(), dispatch.call.spec.end());
    specs.insert(spec);
    CHECK(plan.describe().find("<" + choice.labels[i] + ">") != std::string::npos);
  }
  CHECK(count > 2);
  CHECK(specs.size() >= count - 1);  // two may differ in how k is cut alone
}

namespace {

const Choice kChoice{.key = "op f32", .labels = {"default", "other", "plain"}, .plain = 2};

Trial trial_of(const std::string& label, Trial::Outcome outcome, std::vector<double> ms) {
  Trial trial{.label = label, .outcome = outcome, .kernels = {"fill"}, .ms = std::move(ms)};
  trial.shaders = shader_hash(trial.kernels);
  return trial;
}

}  // namespace

TEST_CASE("shader hashes") {
  CHECK(shader_hash({"fill"}) != 0);
  CHECK(shader_hash({"fill"}) != shader_hash({"matmul"}));
  CHECK(shader_hash({"fill", "matmul"}) != shader_hash({"matmul", "fill"}));
  CHECK(shader_hash({"no_such_kernel"}) == 0);
}

TEST_CASE("the fastest good candidate is taken") {
  using enum Trial::Outcome;
  TuneTable table;
  CHECK(table.best(kChoice) == 0);  // nothing measured
  table.add(kChoice, trial_of("plain", good, {5, 5, 5}));
  CHECK(table.best(kChoice) == 0);  // not before the default is known
  table.add(kChoice, trial_of("default", good, {4, 9, 9, 7, 3}));
  CHECK(table.find("op f32", "default")->quartile_ms() == 4);
  CHECK(table.best(kChoice) == 0);
  table.add(kChoice, trial_of("other", good, {3.95}));
  CHECK(table.best(kChoice) == 0);  // 1 percent may be noise
  table.add(kChoice, trial_of("other", good, {3.5}));
  CHECK(table.best(kChoice) == 1);
  table.add(kChoice, trial_of("other", wrong, {1}));
  CHECK(table.best(kChoice) == 0);
  table.add(kChoice, trial_of("default", failed, {}));
  CHECK(table.best(kChoice) == 2);
  table.add(kChoice, trial_of("plain", failed, {}));
  CHECK(table.best(kChoice) == 2);
  CHECK(table.best({.key = "another", .labels = {"a", "b"}}) == 0);
  // A bad default is not taken, measured or not.
  TuneTable bad;
  bad.add(kChoice, trial_of("default", wrong, {}));
  CHECK(bad.best(kChoice) == 1);
}

TEST_CASE("a trial with other shaders says nothing") {
  TuneTable table;
  Trial old = trial_of("default", Trial::Outcome::failed, {});
  ++old.shaders;
  table.add(kChoice, old);
  CHECK(table.find("op f32", "default") == nullptr);
  CHECK(table.best(kChoice) == 0);
  table.add(kChoice, trial_of("default", Trial::Outcome::good, {1}));
  CHECK(table.entries().at("op f32").trials.size() == 2);  // both versions keep theirs
  CHECK(table.find("op f32", "default")->quartile_ms() == 1);
}

TEST_CASE("results as text: back and forth, and everything else is refused") {
  TuneTable table;
  Trial wrong = trial_of("other", Trial::Outcome::wrong, {0.125, 3e-7, 12345.678});
  wrong.note = "differs\tby\nfar";
  wrong.error = std::numeric_limits<double>::infinity();
  table.add(kChoice, wrong);
  table.add(kChoice, trial_of("default", Trial::Outcome::good, {1}));
  table.add({.key = "second", .labels = {"a", "b"}, .plain = 1}, trial_of("b", Trial::Outcome::good, {2}));
  const std::string text = table.text();
  const TuneTable again = TuneTable::parse(text);
  CHECK(again.text() == text);
  const Trial* read = again.find("op f32", "other");
  REQUIRE(read);
  CHECK(read->ms == wrong.ms);
  CHECK(read->note == "differs by far");
  CHECK(again.entries().at("op f32").choice.labels == kChoice.labels);
  CHECK(again.entries().at("op f32").choice.plain == 2);
  // Truncated at a line's end it is a shorter file, which the cache's checksum tells; elsewhere it is broken.
  for (size_t size = 0; size < text.size(); ++size)
    if (size == 0 || text[size - 1] != '\n') CHECK_THROWS_AS(TuneTable::parse(text.substr(0, size)), Error);
  for (const auto& [from, to] :
       std::initializer_list<std::pair<std::string, std::string>>{{"good", "fine"},
                                                                  {"\t1\t", "\t-1\t"},
                                                                  {"12345.678", "1e999"},
                                                                  {"12345.678", "nan"},
                                                                  {"\t2\t", "\t3\t"}}) {
    std::string broken = text;
    const size_t at = broken.find(from);
    INFO(from, " to ", to);
    REQUIRE(at != std::string::npos);
    CHECK_THROWS_AS(TuneTable::parse(broken.replace(at, from.size(), to)), Error);
  }
}

TEST_CASE("results on disk: merged, kept apart by device and driver, rebuilt when damaged") {
  const TemporaryFolder folder;
  const WithEnvironment cache("STITHY_CACHE", folder.path().c_str());
  vk::DeviceInfo device = testing::modest_device();
  TuneFile one(device), two(device);
  CHECK(one.load().entries().empty());
  TuneTable a, b;
  a.add(kChoice, trial_of("default", Trial::Outcome::good, {1}));
  b.add(kChoice, trial_of("other", Trial::Outcome::good, {2}));
  CHECK(one.save(a));
  CHECK(two.save(b));
  CHECK(one.load().find("op f32", "default") != nullptr);
  CHECK(one.load().find("op f32", "other") != nullptr);

  device.driver_version = 7;
  CHECK(TuneFile(device).load().entries().empty());
  device.driver_version = 0, device.uuid[3] = 1;
  CHECK(TuneFile(device).load().entries().empty());

  std::ofstream(one.path(), std::ios::in | std::ios::out).seekp(60) << "damage";
  CHECK(one.load().entries().empty());
  CHECK(one.save(b));
  CHECK(one.load().find("op f32", "other") != nullptr);
}

TEST_CASE("without a cache folder nothing is known and nothing is tried") {
  const WithEnvironment cache("STITHY_CACHE", "off");
  TuneFile file(testing::modest_device());
  CHECK(file.load().entries().empty());
  CHECK_FALSE(file.claim());
  CHECK_FALSE(file.save({}));
}

TEST_CASE("a candidate that a process died of is never tried again; Ctrl-C is not held against it") {
  const TemporaryFolder folder;
  const WithEnvironment cache("STITHY_CACHE", folder.path().c_str());
  const vk::DeviceInfo device = testing::modest_device();
  const auto die = [&](int signal) {
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      std::signal(signal, SIG_DFL);  // doctest has a handler of its own
      TuneFile file(device);
      if (!file.claim()) _exit(2);
      file.trying(kChoice, trial_of("other", Trial::Outcome::good, {}));
      raise(signal);
      _exit(3);
    }
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status));
    CHECK(WTERMSIG(status) == signal);
  };
  die(SIGINT);
  CHECK(TuneFile(device).load().entries().empty());
  die(SIGTERM);
  CHECK(TuneFile(device).load().entries().empty());
  die(SIGKILL);
  {
    TuneFile file(device);
    const TuneTable table = file.load();
    const Trial* trial = table.find("op f32", "other");
    REQUIRE(trial);
    CHECK(trial->outcome == Trial::Outcome::failed);
    CHECK(trial->note.find("the process ended") == 0);
    CHECK(file.load().entries().size() == 1);
  }
  // One process at a time; what another one is trying is not dead.
  TuneFile first(device), second(device);
  CHECK(first.claim());
  CHECK_FALSE(second.claim());
  first.trying(kChoice, trial_of("plain", Trial::Outcome::good, {}));
  CHECK(second.load().find("op f32", "plain") == nullptr);
  first.done();
}

namespace {

// An op with candidates of all kinds: y[i] = 0.5. What the candidates do beside that:
enum class Way : uint8_t { right, wrong, beyond, throws, hangs, loses_device };
bool device_lost = false;
using Ways = std::vector<Way>;

void launch_candidates(const Node& n, Launch& launch) {
  const auto& ways = n.attrs<Ways>();
  Choice choice{.key = "any", .labels = {}, .plain = 0};
  for (size_t i = 0; i < ways.size(); ++i) choice.labels.push_back(cat("way ", i));
  const Way way = ways[launch.choose(std::move(choice))];
  const auto count = static_cast<uint32_t>(n.out().shape.numel());
  const auto fill = [&](uint32_t elements, float value) {
    launch(shaders::fill{.y = launch.out(),
                         .push = {.count = elements, .value = std::bit_cast<uint32_t>(value)},
                         .spec = {.local_size_x = 64}},
           launch.grid(elements / 256 + 1));
  };
  if (way == Way::throws) throw Error("candidate", "on purpose");
  if (device_lost) throw Error("device", "lost");
  static int plans = 0;
  if (way == Way::loses_device && ++plans > 1) {
    device_lost = true;
    throw Error("device", "lost by this one");
  }
  if (way == Way::hangs && ++plans > 1) std::this_thread::sleep_for(std::chrono::seconds(60));
  fill(count + (way == Way::beyond ? 8 : 0), 0.5f);
  if (way == Way::wrong) fill(4, 0.500001f);
}
const OpDef kCandidates = {.name = "candidates", .launch = launch_candidates};

Plan plan_of(const Ways& ways) {
  ProgramOptions options;
  options.choose = [](const Choice&) { return size_t{0}; };
  return make_plan({make_node(kCandidates, ways, {}, {{Shape{64}, DType::f32}})}, {}, options,
                   default_device_info());
}

}  // namespace

TEST_CASE("the tuner keeps what is right, and records what is wrong, writes elsewhere or throws") {
  const TemporaryFolder folder;
  const WithEnvironment cache("STITHY_CACHE", folder.path().c_str());
  const Plan plan = plan_of({Way::right, Way::wrong, Way::beyond, Way::right});
  std::vector<std::string> said;
  TuneProgress last;
  Tuner tuner({.progress = [&](const TuneProgress& p) { last = p; },
               .say = [&](const std::string& line) { said.push_back(line); }});
  tuner.add(plan);
  tuner.add(plan);
  CHECK(tuner.left() == 4);
  int steps = 1;
  while (tuner.step()) ++steps;
  CHECK(steps == 4);
  CHECK(last.done == 4);
  CHECK(last.total == 4);
  CHECK(last.bad == 2);
  CHECK(last.key.empty());
  REQUIRE(said.size() == 1);
  CHECK(said[0].find("candidates any: way") == 0);

  const TuneTable table = TuneFile(default_device_info()).load();
  const auto outcome = [&](const std::string& label) {
    const Trial* trial = table.find("candidates any", label);
    REQUIRE(trial);
    return trial->outcome;
  };
  CHECK(outcome("way 0") == Trial::Outcome::good);
  CHECK(outcome("way 1") == Trial::Outcome::wrong);
  CHECK(outcome("way 2") == Trial::Outcome::failed);
  CHECK(outcome("way 3") == Trial::Outcome::good);
  CHECK(table.find("candidates any", "way 2")->note.find("guard band") != std::string::npos);
  CHECK(table.find("candidates any", "way 0")->ms.size() >= 3);
  CHECK(table.find("candidates any", "way 1")->ms.empty());

  // Nothing is tried twice, but for what was good when that is wanted.
  Tuner second;
  second.add(plan);
  CHECK(second.left() == 0);
  CHECK_FALSE(second.step());
  Tuner again({.again = true});
  again.add(plan);
  CHECK(again.left() == 2);
}

TEST_CASE("a candidate that cannot be planned stops nothing") {
  const TemporaryFolder folder;
  const WithEnvironment cache("STITHY_CACHE", folder.path().c_str());
  Tuner tuner;
  tuner.add(plan_of({Way::right, Way::throws, Way::right}));
  while (tuner.step()) {
  }
  const TuneTable table = TuneFile(default_device_info()).load();
  CHECK(table.find("candidates any", "way 1") == nullptr);
  CHECK(table.find("candidates any", "way 2")->outcome == Trial::Outcome::good);
}

TEST_CASE("a candidate that takes the device with it is found out by the next start") {
  const TemporaryFolder folder;
  const WithEnvironment cache("STITHY_CACHE", folder.path().c_str());
  const Plan plan = plan_of({Way::right, Way::loses_device, Way::right});
  const auto tune = [&] {
    Tuner tuner;
    tuner.add(plan);
    while (tuner.step()) {
    }
  };
  CHECK_THROWS_WITH_AS(tune(), doctest::Contains("lost by this one; nothing runs since"), Error);
  device_lost = false;
  tune();
  const TuneTable table = TuneFile(default_device_info()).load();
  CHECK(table.find("candidates any", "way 1")->outcome == Trial::Outcome::failed);
  CHECK(table.find("candidates any", "way 2")->outcome == Trial::Outcome::good);
}

TEST_CASE("every candidate of real ops is good, whatever its operands' layout, and is what programs take") {
  const TemporaryFolder folder;
  const WithEnvironment cache("STITHY_CACHE", folder.path().c_str());
  const Tensor a = input("a", {70, 33}), b = input("b", {33, 70});
  const Tensor product = matmul(a, b), turned = matmul(transpose(b), transpose(a));
  const Tensor part = slice(product, 0, 1, 40);
  const Plan plan = make_plan({turned, matmul(part, turned)}, {}, {}, default_device_info());
  REQUIRE(plan.choices.size() == 3);
  Tuner tuner;
  tuner.add(plan);
  while (tuner.step()) {
  }
  const TuneTable table = TuneFile(default_device_info()).load();
  CHECK(table.entries().size() >= 2);
  for (const auto& [key, entry] : table.entries()) {
    CHECK(entry.trials.size() == entry.choice.labels.size());
    for (const Trial& trial : entry.trials) {
      INFO(key, ", ", trial.label, ": ", trial.note);
      CHECK(trial.outcome == Trial::Outcome::good);
      CHECK(trial.error < 1);
    }
  }
}

TEST_CASE("a candidate that hangs ends the process, and the next one knows it") {
  if (const char* shared = std::getenv("STITHY_TEST_HANG")) {
    const WithEnvironment cache("STITHY_CACHE", shared);
    Tuner tuner({.hang_seconds = 0.5});
    tuner.add(plan_of({Way::right, Way::hangs, Way::right}));
    while (tuner.step()) {
    }
    return;
  }
  const TemporaryFolder folder;
  const WithEnvironment cache("STITHY_CACHE", folder.path().c_str());
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").string();
  const auto run = [&] {
    const int status = std::system(cat("STITHY_TEST_HANG='", folder.path(), "' '", program,
                                       "' '--test-case=a candidate that hangs*' > /dev/null 2>&1")
                                       .c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  };
  CHECK(run() == 75);
  CHECK(run() == 0);
  const TuneTable table = TuneFile(default_device_info()).load();
  const Trial* hung = table.find("candidates any", "way 1");
  REQUIRE(hung);
  CHECK(hung->outcome == Trial::Outcome::failed);
  CHECK(table.find("candidates any", "way 2")->outcome == Trial::Outcome::good);
}

TEST_SUITE_END();
