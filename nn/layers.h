// Layers. Parameters have PyTorch's names, shapes and default initial values.
#pragma once

#include <functional>

#include "engine/ops.h"
#include "nn/module.h"

namespace stithy::nn {

class Linear;
class Dropout;

// What adapts a layer (nn/lora.h): scale (dropout(x) a^T) b^T is added to y. a [rank, in], b [out, rank].
struct LowRank {
  Child<Linear> a, b;
  Child<Dropout> dropout;
  float scale = 1;
};

// y = x w^T + b over the last axis, or x w + b: what Linear and layers like it are.
class Projection : public Module {
 public:
  Tensor forward(const Tensor& x) override;
  std::string describe() const override;
  int64_t in() const { return weight.shape()[layout_ == Layout::out_in ? 1 : 0]; }
  int64_t out() const { return weight.shape()[layout_ == Layout::out_in ? 0 : 1]; }
  Variable weight, bias;

  // Adds the children lora_A and lora_B, of which the first starts as a Linear does and the second at zero,
  // and lora_dropout. Throws Error for a rank below 1 and where they are there already.
  void adapt(int64_t rank, float scale, float dropout);
  // Adds what they make to the weight and removes them. Throws Error where there are none.
  void merge();
  const LowRank* adapter() const { return lora_ ? &*lora_ : nullptr; }

 protected:
  enum class Layout : uint8_t { out_in, in_out };  // of the weight
  // Starts uniform in +-1 / sqrt(in).
  Projection(const char* name, int64_t in, int64_t out, bool bias, Layout layout = Layout::out_in);

 private:
  const char* name_;
  Layout layout_;
  std::optional<LowRank> lora_;
};

// weight [out, in], bias [out]; both uniform in +-1 / sqrt(in).
class Linear : public Projection {
 public:
  Linear(int64_t in, int64_t out, bool bias = true) : Projection("Linear", in, out, bias) {}
};

// y[..., k] = sum over i, j of x1[..., i] w[k, i, j] x2[..., j] + b[k]. weight [out, in1, in2], bias [out].
class Bilinear : public Module {
 public:
  Bilinear(int64_t in1, int64_t in2, int64_t out, bool bias = true);
  Tensor forward(const Tensor& x1, const Tensor& x2);
  std::string describe() const override;
  Variable weight, bias;

 private:
  using Module::forward;
};

// Row `x` of weight [count, size]; x is i32 [...], y [..., size]. Initial values are standard normal, but for
// the row of the padding index, which is zero and stays as it is.
class Embedding : public Module {
 public:
  // Throws Error where the padding index is no row.
  Embedding(int64_t count, int64_t size, std::optional<int64_t> padding = {});
  Tensor forward(const Tensor& x) override;
  std::string describe() const override;
  Variable weight;

 private:
  std::optional<int64_t> padding_;
};

class Flatten : public Module {
 public:
  explicit Flatten(int64_t start_axis = 1, int64_t end_axis = -1) : start_(start_axis), end_(end_axis) {}
  Tensor forward(const Tensor& x) override { return flatten(x, start_, end_); }
  std::string describe() const override { return "Flatten"; }

 private:
  int64_t start_, end_;
};

// Zeroes elements with probability p and scales the others by 1 / (1 - p), in training mode only.
class Dropout : public Module {
 public:
  // Throws Error when p is not in [0, 1).
  explicit Dropout(float p = 0.5f);
  Tensor forward(const Tensor& x) override;
  std::string describe() const override;

 private:
  float p_;
};

// Layers one after another, named "0", "1", ...
class Sequential : public Module {
 public:
  Sequential() = default;
  // A temporary moves in; a named module is shared: its copy has the same parameters.
  template <std::derived_from<Module>... Modules>
  requires(sizeof...(Modules) > 1 ||
           !(std::same_as<Modules, Sequential> || ...)) explicit Sequential(Modules... modules) {
    (add(std::move(modules)), ...);
  }
  template <std::derived_from<Module> M>
  Sequential& add(M module) {
    child(std::to_string(size()), std::move(module));
    return *this;
  }
  size_t size() const { return children().size(); }
  Module& operator[](size_t i) const { return *children().at(i).second; }
  Tensor forward(const Tensor& x) override;
  std::string describe() const override { return "Sequential"; }
};

// Layers of one kind under the names "0", "1", ..., which have no order of their own (PyTorch's ModuleList).
template <std::derived_from<Module> M>
class ModuleList : public Module {
 public:
  Child<M> add(M module) { return child(std::to_string(children().size()), std::move(module)); }
  std::string describe() const override { return "ModuleList"; }
};

// A layer without parameters around a function.
class Function : public Module {
 public:
  Function(std::string name, std::function<Tensor(const Tensor&)> f)
      : name_(std::move(name)), f_(std::move(f)) {}
  Tensor forward(const Tensor& x) override { return f_(x); }
  std::string describe() const override { return name_; }

 private:
  std::string name_;
  std::function<Tensor(const Tensor&)> f_;
};

// u8 pixels to f32 in [0, 1], on the device: images are uploaded a byte an element.
struct FromBytes : Function {
  FromBytes() : Function("FromBytes", [](const Tensor& x) { return cast(x, DType::f32) * (1.0f / 255); }) {}
};

// Activations; the formulas stand with the ops of the same names in engine/ops.h.
// clang-format off
struct Relu : Function { Relu() : Function("ReLU", relu) {} };
struct Relu6 : Function { Relu6() : Function("ReLU6", [](const Tensor& x) { return clamp(x, 0, 6); }) {} };
struct Elu : Function { explicit Elu(float alpha = 1) : Function("ELU", [=](const Tensor& x) { return elu(x, alpha); }) {} };
struct Selu : Function { Selu() : Function("SELU", selu) {} };
struct Silu : Function { Silu() : Function("SiLU", silu) {} };
struct Mish : Function { Mish() : Function("Mish", mish) {} };
struct Tanh : Function { Tanh() : Function("Tanh", stithy::tanh) {} };
struct Sigmoid : Function { Sigmoid() : Function("Sigmoid", sigmoid) {} };
struct Softplus : Function { Softplus() : Function("Softplus", softplus) {} };
struct Hardswish : Function { Hardswish() : Function("Hardswish", hardswish) {} };
struct Hardsigmoid : Function { Hardsigmoid() : Function("Hardsigmoid", hardsigmoid) {} };
struct Hardtanh : Function { Hardtanh() : Function("Hardtanh", [](const Tensor& x) { return clamp(x, -1, 1); }) {} };
struct LogSigmoid : Function { LogSigmoid() : Function("LogSigmoid", [](const Tensor& x) { return -softplus(-x); }) {} };
struct Softsign : Function { Softsign() : Function("Softsign", [](const Tensor& x) { return x / (1.0f + stithy::abs(x)); }) {} };
// clang-format on
struct LeakyRelu : Function {
  explicit LeakyRelu(float slope = 0.01f)
      : Function("LeakyReLU", [=](const Tensor& x) { return leaky_relu(x, slope); }) {}
};
struct Gelu : Function {
  explicit Gelu(stithy::Gelu form = stithy::Gelu::exact)
      : Function("GELU", [=](const Tensor& x) { return gelu(x, form); }) {}
};
struct Softmax : Function {
  explicit Softmax(int64_t axis = -1)
      : Function("Softmax", [=](const Tensor& x) { return softmax(x, axis); }) {}
};
struct LogSoftmax : Function {
  explicit LogSoftmax(int64_t axis = -1)
      : Function("LogSoftmax", [=](const Tensor& x) { return log_softmax(x, axis); }) {}
};
// max(0, x) + weight min(0, x), He et al. 2015. weight [1] or [channels], along axis 1.
class Prelu : public Module {
 public:
  explicit Prelu(int64_t channels = 1, float initial = 0.25f);
  Tensor forward(const Tensor& x) override;
  std::string describe() const override { return "PReLU"; }
  Variable weight;
};

}  // namespace stithy::nn
