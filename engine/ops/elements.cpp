#include "engine/ops/elements.h"

namespace stithy {

void require_dtype(std::string_view op, const Tensor& x, std::initializer_list<DType> dtypes) {
  if (!x.defined()) throw Error(std::string(op), "an input is undefined");
  if (std::find(dtypes.begin(), dtypes.end(), x.dtype()) != dtypes.end()) return;
  std::string wanted;
  for (DType dtype : dtypes) wanted += cat(wanted.empty() ? "" : " or ", dtype);
  throw Error(std::string(op), cat("takes ", wanted, ", not ", x.dtype(), " of shape ", x.shape()),
              "convert with cast()");
}

bool is_float(DType dtype) { return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16; }

}  // namespace stithy
