// Checkpoints: one safetensors file with the variables by name, and a few lines of text as metadata.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "nn/module.h"

namespace stithy::nn {

using Metadata = std::map<std::string, std::string>;

// Waits for the programs that were submitted. Equal contents give equal bytes. Throws Error when two
// variables have the same name.
void save_checkpoint(const std::string& path, const std::vector<NamedVariable>& variables,
                     const Metadata& metadata);
// Checks every name, shape and dtype first: a file that does not fit throws Error, which lists what is
// missing, unexpected or different, and changes nothing. Returns the metadata.
Metadata load_checkpoint(const std::string& path, const std::vector<NamedVariable>& variables);

// Only the parameters and buffers of a model, as in files of PyTorch and Hugging Face. Read from safetensors
// and from files of torch.save (nn/torch_file.h), told apart by their bytes; under the keys "state_dict",
// "model_state_dict", "model" or "bert", with the "module." of DataParallel, and without the "transformer.",
// "model." or "bert." that Hugging Face's models with a head have before the others' names. The names that
// layer norms had in BERT's first files (gamma, beta) are known, too. f16 and bf16 become f32.
// Tensors that the model does not have are passed over; a missing one throws Error unless `partial`, and one
// of another shape always does: the message lists what is missing, different and there instead. So are passed
// over those of the model whose names match `except` (* stands for any text): "fc.*" loads a backbone and
// leaves the head. Returns the names that were loaded.
void save_weights(const std::string& path, const Module& model);
std::vector<std::string> load_weights(const std::string& path, const Module& model, bool partial = false,
                                      const std::string& except = {});
// The same for these variables alone.
std::vector<std::string> load_weights(const std::string& path, std::vector<NamedVariable> variables,
                                      bool partial = false, const std::string& except = {});

}  // namespace stithy::nn
