#include "nn/recurrent.h"

#include <cmath>

#include "engine/core/error.h"
#include "engine/ops.h"
#include "nn/init.h"

namespace stithy::nn {

Recurrent::Recurrent(const char* name, Cell cell, int64_t in, int64_t hidden, const RecurrentLayers& options)
    : name_(name), cell_(cell), in_(in), hidden_(hidden), options_(options) {
  if (in < 1 || hidden < 1 || options.layers < 1)
    throw Error(name,
                cat("sizes must be at least 1, got ", in, ", ", hidden, " and ", options.layers, " layers"));
  if (!(options.dropout >= 0 && options.dropout < 1))
    throw Error(name, cat("dropout ", options.dropout, " is not in [0, 1)"));
  const int64_t rows = (cell == Cell::lstm ? 4 : cell == Cell::gru ? 3 : 1) * hidden;
  const float bound = 1 / std::sqrt(static_cast<float>(hidden));
  for (int64_t layer = 0; layer < options.layers; ++layer)
    for (int reverse = 0; reverse <= options.bidirectional; ++reverse) {
      const std::string ending = cat("_l", layer, reverse ? "_reverse" : "");
      const auto make = [&](const char* what, const Shape& shape) {
        return parameter(what + ending, init::uniform(shape, -bound, bound));
      };
      const int64_t columns = layer == 0 ? in : options.bidirectional ? 2 * hidden : hidden;
      Direction d;
      d.weight_ih = make("weight_ih", {rows, columns});
      d.weight_hh = make("weight_hh", {rows, hidden});
      if (options.bias) {
        d.bias_ih = make("bias_ih", {rows});
        d.bias_hh = make("bias_hh", {rows});
      }
      directions_.push_back(std::move(d));
    }
}

RecurrentResult Recurrent::forward(const Tensor& x, const RecurrentState& initial, const Tensor& lengths) {
  if (x.rank() != 3 || x.dim(2) != in_)
    throw Error(describe(), cat("the input's shape is ", x.shape(), ", not ",
                                options_.batch_first ? "[n, t, " : "[t, n, ", in_, "]"));
  const int64_t count = static_cast<int64_t>(directions_.size());
  const Shape state{count, x.dim(options_.batch_first ? 0 : 1), hidden_};
  for (const Tensor& given : {initial.h, initial.c})
    if (given.defined() && given.shape() != state)
      throw Error(describe(), cat("an initial state has the shape ", given.shape(), " instead of ", state));
  const auto part = [](const Tensor& of, int64_t i) {
    return of.defined() ? squeeze(slice(of, 0, i, i + 1), 0) : Tensor();
  };
  Tensor y = x;
  std::vector<Tensor> hs, cs;
  for (int64_t i = 0; i < count;) {
    std::vector<Tensor> outputs;
    for (int reverse = 0; reverse <= options_.bidirectional; ++reverse, ++i) {
      const Direction& d = directions_[static_cast<size_t>(i)];
      Tensor sums = matmul(y, transpose(d.weight_ih));
      if (options_.bias) sums = sums + d.bias_ih;
      const auto [out, h, c] =
          recurrent(cell_, sums, d.weight_hh, options_.bias ? d.bias_hh.tensor() : Tensor(),
                    part(initial.h, i), part(initial.c, i), lengths, {options_.batch_first, reverse == 1});
      outputs.push_back(out);
      hs.push_back(h);
      if (c.defined()) cs.push_back(c);
    }
    y = outputs.size() == 1 ? outputs[0] : concat(outputs, 2);
    if (options_.dropout > 0 && training() && i < count) y = dropout(y, options_.dropout);
  }
  return {y, {stack(hs, 0), cs.empty() ? Tensor() : stack(cs, 0)}};
}

std::string Recurrent::describe() const {
  return cat(name_, "(", in_, ", ", hidden_, options_.layers > 1 ? cat(", ", options_.layers, " layers") : "",
             options_.bidirectional ? ", bidirectional" : "",
             options_.dropout > 0 ? cat(", dropout ", options_.dropout) : "", ")");
}

Rnn::Rnn(int64_t in, int64_t hidden, const RecurrentLayers& options, Cell cell)
    : Recurrent("RNN", cell, in, hidden, options) {
  if (cell != Cell::tanh && cell != Cell::relu)
    throw Error("RNN", "its cell is tanh or relu", "for others there are Lstm and Gru");
}

}  // namespace stithy::nn
