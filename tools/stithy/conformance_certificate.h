// What `stithy conformance` found on a device, as JSON, as a page, and as lines of the README's table.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/graph/kernel.h"
#include "engine/vk/device_info.h"

namespace stithy::certify {

// One case of an op's row. Errors and tolerances are relative, as testing::Case measures them; an error is
// infinite where something was not finite or of another shape.
struct CaseResult {
  std::string op, name;
  std::vector<std::string> failures;  // empty: passed
  double forward_error = 0, tolerance = 0;
  int gradient_checks = 0;  // inputs whose gradient was compared
  double gradient_error = 0, gradient_tolerance = 0;
  std::vector<std::string> kernels;
  double seconds = 0;

  bool passed() const { return failures.empty(); }
  bool gradient_passed() const { return gradient_checks > 0 && gradient_error <= gradient_tolerance; }
};

struct TrainingResult {
  std::string name, about;
  std::vector<double> losses, reference;
  double deviation = 0, tolerance = 0;
  std::string failure;  // empty: passed
};

struct KernelResult {
  std::string name;
  std::string hash;            // spirv_hash()
  int passed = 0, failed = 0;  // cases that launched it
  std::string not_launched;    // why, where there are none
};

struct Certificate {
  std::string date;  // "2026-11-23 08:30 UTC"
  double seconds = 0;
  bool quick = false;
  std::string only;                                         // the pattern; empty: all
  std::vector<std::pair<std::string, std::string>> device;  // facts, in the order in which they are shown
  std::vector<std::string> environment;                     // "STITHY_PRETEND=gpu": what changes a run
  std::vector<CaseResult> cases;
  std::vector<KernelResult> kernels;
  std::vector<TrainingResult> training;
};

struct Totals {
  int rows = 0, rows_passed = 0, cases = 0, cases_passed = 0;
  int gradients = 0, gradients_passed = 0;  // cases whose gradient was checked
  int kernels_passed = 0, kernels_failed = 0, kernels_not_launched = 0;
  int training = 0, training_passed = 0;
  bool passed() const { return cases == cases_passed && training == training_passed && !kernels_failed; }
};
Totals totals_of(const Certificate& certificate);

// hash_text() of all kernels' names and hashes.
std::string hash_of_all();
// The facts of a device that a certificate states.
std::vector<std::pair<std::string, std::string>> facts_of(const vk::DeviceInfo& device);

nlohmann::ordered_json to_json(const CaseResult& result);
CaseResult case_from_json(const nlohmann::ordered_json& json);

// conformance.json. `compact` leaves out the cases that passed and the kernels: each op has a line in both.
std::string to_json(const Certificate& certificate, bool compact = false);
// conformance.html: one page without external resources.
std::string to_html(const Certificate& certificate);

// What a table needs of a certificate's JSON. Throws Error, named `where`, for text that is none, and for a
// certificate of a part of the checks or of a pretended device.
struct Summary {
  std::string driver, device, vulkan, date;
  bool quick = false;
  Totals totals;
};
Summary read_summary(const std::string& text, const std::string& where);
// The table as GitHub Markdown; each line names its file.
std::string markdown(std::span<const std::pair<std::string, Summary>> files);

}  // namespace stithy::certify
