#include "engine/statistics_json.h"

#include <limits>

namespace stithy::vk {
namespace {

using Json = nlohmann::ordered_json;

constexpr NamedFigure kFigures[] = {
    {"registers", &KernelStatistics::registers},
    {"scalar_registers", &KernelStatistics::scalar_registers},
    {"spills", &KernelStatistics::spills},
    {"shared_bytes", &KernelStatistics::shared_bytes},
    {"scratch_bytes", &KernelStatistics::scratch_bytes},
    {"code_bytes", &KernelStatistics::code_bytes},
    {"instructions", &KernelStatistics::instructions},
    {"cycles", &KernelStatistics::cycles},
    {"subgroup_size", &KernelStatistics::subgroup_size},
};

std::optional<uint64_t> number(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end()) return {};
  // A conversion would take a sign or a fraction away.
  if (!found->is_number_unsigned())
    throw Json::type_error::create(302, std::string(key) + " is no whole number", &object);
  return found->get<uint64_t>();
}

std::string class_name(size_t i) { return std::string(name_of(static_cast<InstructionClass>(i))); }

DriverFigure own_figure(const std::string& name, const Json& value) {
  DriverFigure figure{name, {}, std::numeric_limits<double>::quiet_NaN()};
  if (value.is_boolean())
    figure.value = value.get<bool>();
  else if (value.is_number_unsigned())
    figure.value = value.get<uint64_t>();
  else if (value.is_number_integer())
    figure.value = value.get<int64_t>();
  else if (value.is_number())
    figure.value = value.get<double>();
  return figure;
}

}  // namespace

std::span<const NamedFigure> named_figures() { return kFigures; }

void put_statistics(Json& object, const KernelStatistics& s) {
  for (const auto& [name, figure] : kFigures)
    if (s.*figure) object[name] = *(s.*figure);
  if (s.occupancy) {
    object["occupancy"] = s.occupancy->subgroups;
    if (s.occupancy->most) object["most_subgroups"] = *s.occupancy->most;
  }
  if (!s.mix) return;
  Json mix = Json::object();
  for (size_t i = 0; i < kInstructionClasses; ++i)
    if (s.mix->counts[i]) mix[class_name(i)] = s.mix->counts[i];
  object["mix"] = mix;
}

Json executables_json(const KernelStatistics& s, bool texts) {
  Json executables = Json::array();
  for (const Executable& executable : s.executables) {
    Json form{{"name", executable.name}};
    if (executable.subgroup_size) form["subgroup_size"] = executable.subgroup_size;
    Json own = Json::object();
    for (const DriverFigure& figure : executable.own)
      std::visit([&](auto value) { own[figure.name] = value; }, figure.value);
    form["own"] = own;
    if (texts) {
      Json list = Json::array();
      for (const KernelText& text : executable.texts)
        list.push_back({{"name", text.name}, {"description", text.description}, {"text", text.text}});
      form["texts"] = list;
    }
    executables.push_back(form);
  }
  return executables;
}

KernelStatistics read_statistics(const Json& object) {
  KernelStatistics s;
  for (const auto& [name, figure] : kFigures) s.*figure = number(object, name);
  if (const auto subgroups = number(object, "occupancy"))
    s.occupancy = Occupancy{*subgroups, number(object, "most_subgroups")};
  if (const auto mix = object.find("mix"); mix != object.end()) {
    if (!mix->is_object()) throw Json::type_error::create(302, "mix is no object", &object);
    s.mix.emplace();
    for (size_t i = 0; i < kInstructionClasses; ++i)
      s.mix->counts[i] = number(*mix, class_name(i).c_str()).value_or(0);
  }
  const auto executables = object.find("executables");
  if (executables == object.end()) return s;
  for (const Json& form : *executables) {
    Executable& executable = s.executables.emplace_back();
    executable.name = form.at("name");
    executable.subgroup_size = static_cast<uint32_t>(number(form, "subgroup_size").value_or(0));
    for (const auto& [name, value] : form.at("own").items())
      executable.own.push_back(own_figure(name, value));
    if (const auto texts = form.find("texts"); texts != form.end())
      for (const Json& text : *texts)
        executable.texts.push_back({text.at("name"), text.at("description"), text.at("text")});
  }
  return s;
}

}  // namespace stithy::vk
