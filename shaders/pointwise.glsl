// What every pointwise op computes. unary.comp and binary.comp run one op; op_NAME is the function of the op
// called NAME. An op with attributes takes them as `p`. NaN in gives NaN out. Where a function is not
// differentiable the derivative is PyTorch's.
#include "math.glsl"

uint raw_of(float x) { return floatBitsToUint(x); }
uint raw_of(int x) { return uint(x); }
uint raw_of(bool x) { return uint(x); }

float op_neg(float x) { return -x; }
float op_abs(float x) { return abs(x); }
float op_sign(float x) { return x > 0.0 ? 1.0 : x < 0.0 ? -1.0 : x; }
float op_exp(float x) { return exp_(x); }
float op_log(float x) { return log_(x); }
float op_sqrt(float x) { return sqrt(x); }
float op_rsqrt(float x) { return inversesqrt(x); }
float op_reciprocal(float x) { return 1.0 / x; }
float op_square(float x) { return x * x; }
float op_sin(float x) { return sin_(x); }
float op_cos(float x) { return cos_(x); }
float op_tanh(float x) { return tanh_(x); }
float op_sigmoid(float x) { return sigmoid_(x); }
float op_erf(float x) { return erf_(x); }
float op_floor(float x) { return floor(x); }
float op_ceil(float x) { return ceil(x); }
float op_round(float x) { return roundEven(x); }
float op_log1p(float x) { return log1p_(x); }
float op_expm1(float x) { return expm1_(x); }
bool op_isnan(float x) { return is_nan(x); }
bool op_isfinite(float x) { return is_finite(x); }
bool op_logical_not(bool x) { return !x; }

float op_tanh_grad(float y, float dy) { return dy * (1.0 - y * y); }
float op_sigmoid_grad(float y, float dy) { return dy * y * (1.0 - y); }

// p: low, high
float op_clamp(float x, vec2 p) { return is_nan(x) ? x : clamp(x, p.x, p.y); }
float op_clamp_grad(float x, float dy, vec2 p) { return x < p.x || x > p.y ? 0.0 : dy; }

float op_relu(float x) { return is_nan(x) ? x : max(x, 0.0); }
float op_relu_grad(float x, float dy) { return x <= 0.0 ? 0.0 : dy; }

// p.x: slope
float op_leaky_relu(float x, vec2 p) { return x > 0.0 ? x : x * p.x; }
float op_leaky_relu_grad(float x, float dy, vec2 p) { return x > 0.0 ? dy : dy * p.x; }

// p: alpha, scale
float op_elu(float x, vec2 p) { return p.y * (x > 0.0 ? x : p.x * expm1_(x)); }
float op_elu_grad(float x, float dy, vec2 p) { return dy * p.y * (x > 0.0 ? 1.0 : p.x * exp_(x)); }

// x times the normal distribution function of x.
float op_gelu(float x) { return 0.5 * x * erfc_(-0.707106781186547524 * x); }
float op_gelu_grad(float x, float dy) {
  const float density = 0.398942280401432678 * exp_(-0.5 * x * x);
  return dy * (0.5 * erfc_(-0.707106781186547524 * x) + x * density);
}
// The same with tanh(u), u = sqrt(2 / pi) (x + 0.044715 x^3), for erf. 1 + tanh(u) = 2 sigmoid(2 u).
float op_gelu_tanh(float x) {
  const float u = 0.797884560802865356 * (x + 0.044715 * x * x * x);
  return x * sigmoid_(2.0 * u);
}
float op_gelu_tanh_grad(float x, float dy) {
  const float u = 0.797884560802865356 * (x + 0.044715 * x * x * x);
  const float du = 0.797884560802865356 * (1.0 + 0.134145 * x * x), s = sigmoid_(2.0 * u);
  return dy * (s + 2.0 * x * s * (1.0 - s) * du);
}

float op_silu(float x) { return x * sigmoid_(x); }
float op_silu_grad(float x, float dy) {
  const float s = sigmoid_(x);
  return dy * (s + x * s * (1.0 - s));
}

float op_softplus(float x) { return is_nan(x) ? x : max(x, 0.0) + log1p_(exp_(-abs(x))); }
float op_softplus_grad(float x, float dy) { return dy * sigmoid_(x); }

// tanh(softplus(x)) = n / (n + 2) with n = e^x (e^x + 2); 1 in f32 where x > 20.
float tanh_softplus(float x) {
  const float e = exp_(min(x, 20.0)), n = e * (e + 2.0);
  return is_nan(x) ? x : n / (n + 2.0);
}
float op_mish(float x) { return x * tanh_softplus(x); }
float op_mish_grad(float x, float dy) {
  const float t = tanh_softplus(x);
  return dy * (t + x * sigmoid_(x) * (1.0 - t * t));
}

float op_hardswish(float x) { return is_nan(x) ? x : x * clamp(x + 3.0, 0.0, 6.0) * (1.0 / 6.0); }
float op_hardswish_grad(float x, float dy) {
  return x < -3.0 ? 0.0 : x > 3.0 ? dy : dy * (x * (1.0 / 3.0) + 0.5);
}
float op_hardsigmoid(float x) { return is_nan(x) ? x : clamp(x + 3.0, 0.0, 6.0) * (1.0 / 6.0); }
float op_hardsigmoid_grad(float x, float dy) { return abs(x) < 3.0 ? dy * (1.0 / 6.0) : 0.0; }

// Precise, and with a look at NaN where both sides may be one value: in a fused kernel compilers would else take
// x - x and x * 0 for 0, and x == x for true, and hide a NaN.
float op_add(float a, float b) {
  precise const float y = a + b;
  return y;
}
float op_sub(float a, float b) {
  precise const float y = a - b;
  return y;
}
float op_mul(float a, float b) {
  precise const float y = a * b;
  return y;
}
float op_div(float a, float b) {
  precise const float y = a / b;
  return y;
}
float op_minimum(float a, float b) { return is_nan(a) ? a : is_nan(b) ? b : min(a, b); }
float op_maximum(float a, float b) { return is_nan(a) ? a : is_nan(b) ? b : max(a, b); }
float op_pow(float a, float b) { return pow_(a, b); }
// How much of the gradient of maximum(a, b) belongs to a: half where they are equal.
float op_larger_share(float a, float b) { return a > b ? 1.0 : a == b ? 0.5 : 0.0; }
bool op_equal(float a, float b) { return a == b && !is_nan(a); }
bool op_not_equal(float a, float b) { return !(a == b) || is_nan(a); }
bool op_less(float a, float b) { return a < b; }
bool op_less_equal(float a, float b) { return a <= b && !is_nan(a); }
bool op_greater(float a, float b) { return a > b; }
bool op_greater_equal(float a, float b) { return a >= b && !is_nan(a); }
bool op_logical_and(bool a, bool b) { return a && b; }
bool op_logical_or(bool a, bool b) { return a || b; }

int op_add(int a, int b) { return a + b; }
int op_sub(int a, int b) { return a - b; }
int op_mul(int a, int b) { return a * b; }
// Division by zero gives 0: hardware may trap on it, as on the overflow of -2^31 / -1.
int op_div(int a, int b) { return b == 0 ? 0 : b == -1 ? -a : a / b; }
int op_minimum(int a, int b) { return min(a, b); }
int op_maximum(int a, int b) { return max(a, b); }
bool op_equal(int a, int b) { return a == b; }
bool op_not_equal(int a, int b) { return a != b; }
bool op_less(int a, int b) { return a < b; }
bool op_less_equal(int a, int b) { return a <= b; }
bool op_greater(int a, int b) { return a > b; }
bool op_greater_equal(int a, int b) { return a >= b; }
