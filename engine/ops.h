// Every op's signature. Shapes are written [..., m, n]; "broadcast" is NumPy's rule. Unless a line says
// otherwise inputs are f32 tensors, the result is a new f32 tensor, gradients flow to every f32 input, and
// Error is thrown, naming the op and the shapes, when shapes or dtypes do not fit.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "engine/graph/autograd.h"
#include "engine/graph/tensor.h"
#include "engine/graph/variable.h"

namespace stithy {

// Sources
Tensor full(const Shape& shape, float value);
Tensor zeros(const Shape& shape);
Tensor ones(const Shape& shape);
Tensor arange(int64_t n, DType dtype = DType::i32);  // 0, 1, ..., n - 1

// Pointwise, one input
Tensor neg(const Tensor& x);
Tensor abs(const Tensor& x);
Tensor sign(const Tensor& x);  // gradient zero
Tensor exp(const Tensor& x);
Tensor log(const Tensor& x);
Tensor sqrt(const Tensor& x);
Tensor rsqrt(const Tensor& x);  // 1 / sqrt(x)
Tensor reciprocal(const Tensor& x);
Tensor square(const Tensor& x);
Tensor sin(const Tensor& x);
Tensor cos(const Tensor& x);
Tensor tanh(const Tensor& x);
Tensor sigmoid(const Tensor& x);
Tensor erf(const Tensor& x);
Tensor floor(const Tensor& x);  // floor, ceil, round: gradient zero; round is to nearest even
Tensor ceil(const Tensor& x);
Tensor round(const Tensor& x);
Tensor log1p(const Tensor& x);
Tensor expm1(const Tensor& x);
Tensor clamp(const Tensor& x, float low, float high);
Tensor relu(const Tensor& x);
Tensor leaky_relu(const Tensor& x, float slope = 0.01f);
Tensor elu(const Tensor& x, float alpha = 1);
Tensor selu(const Tensor& x);  // Klambauer et al. 2017
enum class Gelu : uint8_t { exact, tanh };
Tensor gelu(const Tensor& x, Gelu form = Gelu::exact);  // Hendrycks and Gimpel 2016
Tensor silu(const Tensor& x);
Tensor softplus(const Tensor& x);
Tensor mish(const Tensor& x);       // Misra 2019
Tensor hardswish(const Tensor& x);  // Howard et al. 2019
Tensor hardsigmoid(const Tensor& x);
Tensor isnan(const Tensor& x);              // bool
Tensor isfinite(const Tensor& x);           // bool
Tensor logical_not(const Tensor& x);        // bool -> bool
Tensor cast(const Tensor& x, DType dtype);  // any dtype to any; gradient between float types

// Pointwise, broadcast. add to pow take f32 or i32 (both the same) and give that type.
Tensor add(const Tensor& a, const Tensor& b);
Tensor sub(const Tensor& a, const Tensor& b);
Tensor mul(const Tensor& a, const Tensor& b);
Tensor div(const Tensor& a, const Tensor& b);      // i32: towards zero; by zero gives 0
Tensor minimum(const Tensor& a, const Tensor& b);  // of equals, each gets half the gradient
Tensor maximum(const Tensor& a, const Tensor& b);
Tensor pow(const Tensor& a, const Tensor& b);  // f32
// Comparisons: f32 or i32 to bool.
Tensor equal(const Tensor& a, const Tensor& b);
Tensor not_equal(const Tensor& a, const Tensor& b);
Tensor less(const Tensor& a, const Tensor& b);
Tensor less_equal(const Tensor& a, const Tensor& b);
Tensor greater(const Tensor& a, const Tensor& b);
Tensor greater_equal(const Tensor& a, const Tensor& b);
Tensor logical_and(const Tensor& a, const Tensor& b);  // bool
Tensor logical_or(const Tensor& a, const Tensor& b);   // bool
Tensor where(const Tensor& condition, const Tensor& a,
             const Tensor& b);  // condition: bool; a and b: f32 or i32

inline Tensor operator+(const Tensor& a, const Tensor& b) { return add(a, b); }
inline Tensor operator-(const Tensor& a, const Tensor& b) { return sub(a, b); }
inline Tensor operator*(const Tensor& a, const Tensor& b) { return mul(a, b); }
inline Tensor operator/(const Tensor& a, const Tensor& b) { return div(a, b); }
inline Tensor operator-(const Tensor& x) { return neg(x); }

// Views: no data moves where strides can say it.
Tensor reshape(const Tensor& x,
               const Shape& shape);  // one entry may be -1; copies when the strides do not allow a view
Tensor transpose(const Tensor& x, int64_t axis_a = -2, int64_t axis_b = -1);
Tensor permute(const Tensor& x, const Shape& axes);
Tensor expand(const Tensor& x, const Shape& shape);  // broadcast to shape
Tensor slice(const Tensor& x, int64_t axis, int64_t begin, int64_t end,
             int64_t step = 1);  // negative: from the end
Tensor squeeze(const Tensor& x, int64_t axis);
Tensor unsqueeze(const Tensor& x, int64_t axis);
Tensor flatten(const Tensor& x, int64_t start_axis = 0, int64_t end_axis = -1);
Tensor stop_gradient(const Tensor& x);
Tensor contiguous(const Tensor& x);  // a copy in row-major order, or x itself when it is

// Reductions over any axes (empty: all). keepdims leaves axes of size 1.
Tensor sum(const Tensor& x, const Shape& axes = {}, bool keepdims = false);
Tensor mean(const Tensor& x, const Shape& axes = {}, bool keepdims = false);
Tensor max(const Tensor& x, const Shape& axes = {},
           bool keepdims = false);  // ties share the gradient equally
Tensor min(const Tensor& x, const Shape& axes = {}, bool keepdims = false);
Tensor prod(const Tensor& x, const Shape& axes = {}, bool keepdims = false);
Tensor var(const Tensor& x, const Shape& axes = {}, bool keepdims = false, int64_t correction = 1);
Tensor logsumexp(const Tensor& x, const Shape& axes = {}, bool keepdims = false);
Tensor norm(const Tensor& x, const Shape& axes = {}, bool keepdims = false,
            float p = 2);                                             // p-norm, p > 0, or infinite
Tensor argmax(const Tensor& x, int64_t axis, bool keepdims = false);  // i32; the first of equals
Tensor argmin(const Tensor& x, int64_t axis, bool keepdims = false);
Tensor cumsum(const Tensor& x, int64_t axis);
Tensor sum_to(const Tensor& x,
              const Shape& shape);  // the gradient of broadcasting: sums the axes that expand() widened

// Linear algebra
Tensor matmul(const Tensor& a,
              const Tensor& b);  // [..., m, k] x [..., k, n], batch dimensions broadcast; vectors as NumPy

// Convolution over one to three spatial axes (what others call conv1d, conv2d, conv3d): cross-correlation, as
// everywhere in this field. x [n, channels, spatial...]; lists of the options have one entry for all spatial
// axes, or one each.
struct ConvOptions {
  Shape stride = {1};
  Shape padding = {0};  // zeros before the first and after the last element
  Shape dilation = {1};
  int64_t groups = 1;
  bool same = false;  // as many outputs as inputs, stride 1; of an odd padding the larger half is at the end
};
// weight [out, channels / groups, kernel...] -> [n, out, floor((size + 2 padding - dilation (kernel - 1) - 1)
// / stride) + 1 ...]
Tensor conv(const Tensor& x, const Tensor& weight, const ConvOptions& options = {});
// The gradient of conv() as an op (Zeiler et al. 2010). weight [channels, out / groups, kernel...] -> [n,
// out, (size - 1) stride - 2 padding + dilation (kernel - 1) + 1 + output_padding ...]
Tensor conv_transpose(const Tensor& x, const Tensor& weight, const ConvOptions& options = {},
                      const Shape& output_padding = {0});

// Joining, cutting, indexing
Tensor concat(std::span<const Tensor> xs, int64_t axis);
Tensor stack(std::span<const Tensor> xs, int64_t axis);
std::vector<Tensor> split(const Tensor& x, std::span<const int64_t> sizes, int64_t axis);  // views
Tensor pad(const Tensor& x, const Shape& before, const Shape& after, float value = 0);
// f32 or i32: [n], laid out as make_arena() lays out variables: each of xs, row-major, from a multiple of
// arena_alignment() elements on, and zeros between.
Tensor pack(std::span<const Tensor> xs);
Tensor gather(const Tensor& x, const Tensor& index,
              int64_t axis);  // torch.gather; index i32 of x's rank; out of range gives NaN
Tensor embedding(const Tensor& weight,
                 const Tensor& index);  // [v, c], i32 [...] -> [..., c]; out of range gives NaN
Tensor scatter_add(const Tensor& x, const Tensor& index, const Tensor& source,
                   int64_t axis);                      // torch.scatter_add; deterministic
Tensor one_hot(const Tensor& index, int64_t classes);  // i32 [...] -> f32 [..., classes]

// Normalisation over the last axis or axes
Tensor softmax(const Tensor& x, int64_t axis = -1);
Tensor log_softmax(const Tensor& x, int64_t axis = -1);
Tensor layernorm(const Tensor& x, const Tensor& weight, const Tensor& bias,
                 float epsilon = 1e-5f);  // last axis; Ba et al. 2016
Tensor rmsnorm(const Tensor& x, const Tensor& weight,
               float epsilon = 1e-5f);  // last axis; Zhang and Sennrich 2019

// Random numbers: Philox4x32-10 keyed by the generator's seed, counted by (step, stream, index). Every call
// of a random op takes a stream of its own, so a program gives the same numbers however it is scheduled.
class Generator {
 public:
  explicit Generator(uint64_t seed = 0);
  void seed(uint64_t seed);  // also sets the step back to 0
  uint32_t next_stream() { return stream_++; }
  void restart_streams() { stream_ = 0; }  // before building another program that must draw the same numbers
  const Variable& state() const {
    return state_;
  }                  // i32 [4]: seed low, seed high, step, 0; belongs in a checkpoint
  Tensor advance();  // an update: step + 1; run once at the end of a training step

 private:
  Variable state_;
  uint32_t stream_ = 0;
};
Generator& default_generator();
Tensor uniform(const Shape& shape, float low = 0, float high = 1, Generator& generator = default_generator());
Tensor normal(const Shape& shape, float mean = 0, float deviation = 1,
              Generator& generator = default_generator());
Tensor bernoulli(const Shape& shape, float p, Generator& generator = default_generator());  // f32 of 0 and 1
Tensor dropout(const Tensor& x, float p,
               Generator& generator = default_generator());  // scales by 1 / (1 - p)

// Losses
struct CrossEntropyOptions {
  float label_smoothing = 0;
  int32_t ignore_index = -100;  // targets of this value count for nothing
  Tensor class_weights;         // [classes], or undefined; no gradient flows to them
  enum class Reduction : uint8_t { mean, sum, none } reduction = Reduction::mean;
};
// Softmax and cross entropy in one. logits [..., c]; targets i32 [...] or probabilities f32 [..., c]. The
// mean is weighted by the targets' class weights, as in torch.nn.functional.cross_entropy. A target out of
// range gives NaN.
Tensor cross_entropy(const Tensor& logits, const Tensor& targets, const CrossEntropyOptions& options = {});

// In-place updates of variables; the result is the variable's new value. Learning rates and the like are f32
// scalars in device memory, so that a recorded program can be replayed while they change.
Tensor assign(const Variable& variable, const Tensor& value);
// A part of the variable: value, f32 or i32, has its shape but for `axis`, along which it lies from `place`
// (i32, one number, in device memory) on; what would lie outside is left out.
Tensor assign_slice(const Variable& variable, const Tensor& value, int64_t axis, const Tensor& place);
Tensor accumulate(const Variable& variable, const Tensor& x);  // variable += x, both f32 of one shape

}  // namespace stithy
