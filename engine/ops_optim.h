// The optimizers' update rules: each one is a single in-place kernel over a parameter and its state. The
// state variables have the parameter's shape and start at zero.
#pragma once

#include "engine/graph/tensor.h"
#include "engine/graph/variable.h"

namespace stithy {

// What changes from step to step: scalars in device memory, so that a recorded program is replayed as it is.
struct UpdateScalars {
  Tensor lr;    // f32 [], the learning rate
  Tensor step;  // f32 or i32 [], the number of this step; the first is 1. May be undefined for SGD without
                // dampening, RMSprop, Adagrad without lr_decay, and Lion
  Tensor
      grad_scale;  // f32 [] that multiplies dw, for clipping and loss scales; undefined: 1. When it is 0 the
                   // step is skipped: parameter and state keep their values, even where dw is not finite
};

// The gradient that a rule sees is grad_scale * dw + l1 * sign(w) + l2 * w. `decay` is decoupled: w is first
// multiplied by 1 - lr * decay (Loshchilov and Hutter 2019).
struct Penalties {
  double l1 = 0, l2 = 0, decay = 0;
  bool operator==(const Penalties&) const = default;
};

// Formulas and defaults are those of torch.optim (2.6), except where named. All throw Error unless dw and the
// states have w's shape, and when a state that the options call for is undefined. They return w's new value.

struct SgdOptions {
  double momentum = 0, dampening = 0;
  bool nesterov = false;
  Penalties penalties;
};
// `buffer` is needed when momentum is not 0.
Tensor sgd_update(const Variable& w, const Tensor& dw, const Variable& buffer, const UpdateScalars& scalars,
                  const SgdOptions& options = {});

struct AdamOptions {
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  Penalties penalties;
};
// Kingma and Ba 2015; AdamW with penalties.decay. With `largest_v` AMSGrad (Reddi et al. 2018).
Tensor adam_update(const Variable& w, const Tensor& dw, const Variable& m, const Variable& v,
                   const UpdateScalars& scalars, const AdamOptions& options = {},
                   const Variable& largest_v = {});

struct NadamOptions {
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, momentum_decay = 0.004;
  Penalties penalties;
};
// Dozat 2016. `mu_product` is the value that update_mu_product() gave in this step.
Tensor nadam_update(const Variable& w, const Tensor& dw, const Variable& m, const Variable& v,
                    const Tensor& mu_product, const UpdateScalars& scalars, const NadamOptions& options = {});
// Multiplies `mu_product`, f32 [] and 1 at the start, by the momentum of this step: once a step, for all
// parameters of an optimizer.
Tensor update_mu_product(const Variable& mu_product, const UpdateScalars& scalars,
                         const NadamOptions& options = {});

struct RmspropOptions {
  double alpha = 0.99, epsilon = 1e-8, momentum = 0;
  bool centered = false;
  Penalties penalties;
};
// Tieleman and Hinton 2012. `buffer` is needed when momentum is not 0, `mean` when centered.
Tensor rmsprop_update(const Variable& w, const Tensor& dw, const Variable& mean_square,
                      const Variable& buffer, const Variable& mean, const UpdateScalars& scalars,
                      const RmspropOptions& options = {});

struct AdagradOptions {
  double lr_decay = 0, epsilon = 1e-10;
  Penalties penalties;
};
// Duchi et al. 2011.
Tensor adagrad_update(const Variable& w, const Tensor& dw, const Variable& sum, const UpdateScalars& scalars,
                      const AdagradOptions& options = {});

struct LionOptions {
  double beta1 = 0.9, beta2 = 0.99;
  Penalties penalties;
};
// Chen et al. 2023, algorithm 2.
Tensor lion_update(const Variable& w, const Tensor& dw, const Variable& m, const UpdateScalars& scalars,
                   const LionOptions& options = {});

}  // namespace stithy
