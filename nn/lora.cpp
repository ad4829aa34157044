#include "nn/lora.h"

#include <algorithm>

#include "engine/core/error.h"
#include "nn/checkpoint.h"
#include "nn/layers.h"
#include "nn/torch_file.h"

namespace stithy::nn {

namespace {
constexpr const char* kPrefix = "base_model.model.";
constexpr const char* kScale = "lora_scale";

bool in_adapter(const std::string& name) { return name.ends_with("lora_A") || name.ends_with("lora_B"); }

// The layers with adapters, by their names.
std::vector<std::pair<std::string, const Projection*>> adapted(const Module& model) {
  std::vector<std::pair<std::string, const Projection*>> out;
  for (const auto& [name, module] : model.named_modules())
    if (const auto* layer = dynamic_cast<const Projection*>(module); layer && layer->adapter())
      out.emplace_back(name, layer);
  if (out.empty()) throw Error("LoRA", cat(model.describe(), " has no adapters"), "add_lora() adds them");
  return out;
}

std::vector<NamedVariable> adapter_weights(const Module& model) {
  std::vector<NamedVariable> out;
  for (const auto& [name, layer] : adapted(model)) {
    const std::string path = cat(kPrefix, name, name.empty() ? "" : ".");
    out.push_back({path + "lora_A.weight", layer->adapter()->a->weight});
    out.push_back({path + "lora_B.weight", layer->adapter()->b->weight});
  }
  return out;
}

std::string scale_of(const Module& model) { return cat(adapted(model).front().second->adapter()->scale); }
}  // namespace

std::vector<std::string> add_lora(Module& model, const LoraOptions& options) {
  std::vector<std::string> names;
  for (const auto& [name, module] : model.named_modules()) {
    const auto* layer = dynamic_cast<const Projection*>(module);
    if (!layer || !name_matches(options.pattern, name) || in_adapter(name)) continue;
    if (layer->adapter())
      throw Error("LoRA", cat(name, " has an adapter already"), "merge_lora() makes it a part of the weight");
    names.push_back(name);
  }
  if (names.empty())
    throw Error("LoRA", cat("no layer of ", model.describe(), " is named \"", options.pattern, "\""));
  const float scale = options.alpha / static_cast<float>(std::max<int64_t>(1, options.rank));
  for (const std::string& name : names)
    dynamic_cast<Projection&>(model.submodule(name)).adapt(options.rank, scale, options.dropout);
  model.freeze();
  for (const auto& [name, layer] : adapted(model)) {
    layer->adapter()->a->freeze(false);
    layer->adapter()->b->freeze(false);
    layer->adapter()->dropout->freeze(false);
  }
  return names;
}

void merge_lora(Module& model) {
  for (const auto& [name, layer] : adapted(model)) dynamic_cast<Projection&>(model.submodule(name)).merge();
}

void save_lora(const std::string& path, const Module& model) {
  save_checkpoint(path, adapter_weights(model), {{"format", "pt"}, {kScale, scale_of(model)}});
}

void load_lora(const std::string& path, const Module& model) {
  const std::vector<NamedVariable> weights = adapter_weights(model);
  const TensorFile file = read_tensor_file(path);
  for (const auto& [name, array] : file.tensors)
    if (std::ranges::none_of(weights, [&](const NamedVariable& w) { return w.name == name; }))
      throw Error(path, cat("has ", name, ", for which this model has no adapter"),
                  cat("the model's first adapter is ", weights.front().name));
  const auto scale = file.metadata.find(kScale);
  if (scale != file.metadata.end() && scale->second != scale_of(model))
    throw Error(path,
                cat("was trained with alpha / rank = ", scale->second, ", here it is ", scale_of(model)),
                "give add_lora() the same options");
  load_weights(path, weights);
}

}  // namespace stithy::nn
