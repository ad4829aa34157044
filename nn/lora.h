// LoRA: low-rank adaptation (Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models"). A layer's
// weight w stays, and y = x w^T + b + alpha / rank (dropout(x) a^T) b^T, where a [rank, in] and b [out, rank]
// are trained. Names are those of Hugging Face's PEFT: "h.0.attn.c_attn.lora_A.weight".
#pragma once

#include <string>
#include <vector>

#include "nn/module.h"

namespace stithy::nn {

struct LoraOptions {
  int64_t rank = 8;
  float alpha = 16;
  float dropout = 0;
  std::string pattern = "*";  // of the layers' names, in which * stands for any text: "*.attn.*"
};

// Gives an adapter to every Projection (Linear and its like) below `model` whose name is of the pattern, and
// freezes all else (Module::freeze): a Trainer made afterwards trains the adapters alone. b starts at zero,
// so the outputs are what they were. Returns the names of the layers. Throws Error where none is of the
// pattern, for a rank below 1, a dropout not in [0, 1), and for a layer that has an adapter.
std::vector<std::string> add_lora(Module& model, const LoraOptions& options = {});

// Makes the adapters a part of the weights and removes them. What is frozen stays so. A weight that other
// layers share changes for them, too. Throws Error where there is no adapter.
void merge_lora(Module& model);

// The adapters alone, as PEFT's adapter_model.safetensors: "base_model.model." comes before each name. alpha
// / rank, which PEFT keeps in another file, is in the metadata "lora_scale".
void save_lora(const std::string& path, const Module& model);
// Into adapters that add_lora() made. Throws Error, and changes nothing, where names, shapes or the scale, if
// the file has one, are not the same.
void load_lora(const std::string& path, const Module& model);

}  // namespace stithy::nn
