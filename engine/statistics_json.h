// Compilers' figures as JSON: a part of profiles and of what `stithy profile --static --json` writes.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <utility>

#include "engine/vk/statistics.h"

namespace stithy::vk {

// The figures that are numbers of their own, by the names that they have in JSON.
using NamedFigure = std::pair<const char*, std::optional<uint64_t> KernelStatistics::*>;
std::span<const NamedFigure> named_figures();

// Puts those that are known into `object`, with "occupancy", "most_subgroups" and "mix".
void put_statistics(nlohmann::ordered_json& object, const KernelStatistics& statistics);
// The drivers' own figures as "own" and, with `texts`, their texts: a list.
nlohmann::ordered_json executables_json(const KernelStatistics& statistics, bool texts);
// What the two wrote: the figures of `object`, and its "executables" where it has some. Throws
// nlohmann::json::exception where a value is of another type.
KernelStatistics read_statistics(const nlohmann::ordered_json& object);

}  // namespace stithy::vk
