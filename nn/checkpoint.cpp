#include "nn/checkpoint.h"

#include <algorithm>

#include "engine/core/error.h"
#include "nn/safetensors.h"
#include "nn/torch_file.h"

namespace stithy::nn {

namespace {
// A list for a message: the first few, and how many more there are.
class Complaints {
 public:
  explicit Complaints(std::string title) : title_(std::move(title)) {}
  void add(const std::string& entry) {
    if (++count_ <= 5) text_ += (text_.empty() ? "" : ", ") + entry;
  }
  std::string text() const {
    if (!count_) return {};
    return cat("; ", title_, " ", text_, count_ > 5 ? cat(" and ", count_ - 5, " more") : "");
  }

 private:
  std::string title_, text_;
  int count_ = 0;
};

std::vector<NamedVariable> weights_of(const Module& model) {
  std::vector<NamedVariable> variables = model.named_parameters();
  for (NamedVariable& buffer : model.named_buffers()) variables.push_back(std::move(buffer));
  return variables;
}

// Sets all variables that the file has, or none.
void set_checked(const std::string& path, const TensorFile& file, const std::vector<NamedVariable>& variables,
                 bool missing_allowed, bool unexpected_allowed, bool convert) {
  Complaints missing("missing:"), unexpected("unexpected:"), different("different:");
  std::vector<std::pair<Variable, Array>> values;
  for (const auto& [name, variable] : variables) {
    const auto found = file.tensors.find(name);
    if (found == file.tensors.end()) {
      if (!missing_allowed) missing.add(name);
      continue;
    }
    const Array& array = found->second;
    const bool same_type = array.dtype() == variable.dtype() ||
                           (convert && variable.dtype() == DType::f32 && array.dtype() != DType::boolean);
    if (array.shape() != variable.shape() || !same_type)
      different.add(cat(name, " is ", array.dtype(), " ", array.shape(), " in the file and ",
                        variable.dtype(), " ", variable.shape(), " here"));
    else
      values.emplace_back(variable, array);
  }
  // Where something is missing, what is there instead tells why.
  if (!unexpected_allowed || !missing.text().empty())
    for (const auto& [name, array] : file.tensors)
      if (std::none_of(variables.begin(), variables.end(), [&](const auto& v) { return v.name == name; }))
        unexpected.add(name);
  const std::string complaint = missing.text() + unexpected.text() + different.text();
  if (!complaint.empty())
    throw Error(path, "does not fit this model" + complaint,
                "use the options with which the file was written");
  for (auto& [variable, array] : values) variable.set(array.to(variable.dtype()));
}
}  // namespace

void save_checkpoint(const std::string& path, const std::vector<NamedVariable>& variables,
                     const Metadata& metadata) {
  TensorFile file{.tensors = {}, .metadata = metadata};
  for (const auto& [name, variable] : variables)
    if (!file.tensors.emplace(name, variable.value()).second)
      throw Error(path, cat("two variables are named ", name), "rename a layer of the model");
  write_safetensors(path, file);
}

Metadata load_checkpoint(const std::string& path, const std::vector<NamedVariable>& variables) {
  TensorFile file = read_safetensors(path);
  set_checked(path, file, variables, false, false, false);
  return std::move(file.metadata);
}

void save_weights(const std::string& path, const Module& model) {
  save_checkpoint(path, weights_of(model), {{"format", "pt"}});
}

namespace {
// The tensors below the key under which a training program put those of the model, their names without it:
// where most of the model's names are found. DataParallel and torch.compile put a word before each, and a
// model with a head has its BERT below that name.
TensorFile weights_in(TensorFile file, const std::vector<NamedVariable>& variables) {
  // TensorFlow's names for layer norms, in BERT's first files.
  for (const auto& [theirs, ours] : {std::pair{".gamma", ".weight"}, std::pair{".beta", ".bias"}}) {
    std::vector<std::string> renamed;
    for (const auto& [name, array] : file.tensors)
      if (name.ends_with(cat("LayerNorm", theirs))) renamed.push_back(name);
    for (const std::string& name : renamed) {
      auto entry = file.tensors.extract(name);
      entry.key() = name.substr(0, name.rfind('.')) + ours;
      file.tensors.insert(std::move(entry));
    }
  }
  std::string best;
  int64_t most = -1;
  for (const char* key : {"", "state_dict.", "model_state_dict.", "model.", "bert."})
    for (const char* wrapper : {"", "module.", "_orig_mod."}) {
      const std::string prefix = cat(key, wrapper);
      const int64_t found = std::count_if(
          variables.begin(), variables.end(),
          [&](const NamedVariable& variable) { return file.tensors.contains(prefix + variable.name); });
      if (found > most) most = found, best = prefix;
    }
  // A file of Hugging Face's of a model without a head lacks the word before all names of the model within.
  std::string base;
  for (const char* word : {"transformer.", "model.", "bert."}) {
    const std::string prefix = word;
    const int64_t found = std::count_if(variables.begin(), variables.end(), [&](const NamedVariable& v) {
      return v.name.starts_with(prefix) && file.tensors.contains(v.name.substr(prefix.size()));
    });
    if (found > most) most = found, base = prefix;
  }
  if (!base.empty()) {
    TensorFile whole{{}, std::move(file.metadata)};
    for (auto& [name, array] : file.tensors) whole.tensors.emplace(base + name, std::move(array));
    return whole;
  }
  if (best.empty()) return file;
  TensorFile part{{}, std::move(file.metadata)};
  for (auto& [name, array] : file.tensors)
    if (name.starts_with(best)) part.tensors.emplace(name.substr(best.size()), std::move(array));
  return part;
}
}  // namespace

std::vector<std::string> load_weights(const std::string& path, const Module& model, bool partial,
                                      const std::string& except) {
  return load_weights(path, weights_of(model), partial, except);
}

std::vector<std::string> load_weights(const std::string& path, std::vector<NamedVariable> variables,
                                      bool partial, const std::string& except) {
  const TensorFile file = weights_in(read_tensor_file(path), variables);
  std::erase_if(variables, [&](const NamedVariable& v) {
    // BatchNorm had no counter before PyTorch 0.4.1, and files of that time are still handed out.
    return (!except.empty() && name_matches(except, v.name)) ||
           (v.name.ends_with("num_batches_tracked") && !file.tensors.contains(v.name));
  });
  set_checked(path, file, variables, partial, true, true);
  std::vector<std::string> loaded;
  for (const auto& [name, variable] : variables)
    if (file.tensors.contains(name)) loaded.push_back(name);
  if (loaded.empty() && !variables.empty())
    throw Error(path, "has no tensor of this model",
                cat("the model's first name is ", variables.front().name));
  return loaded;
}

}  // namespace stithy::nn
