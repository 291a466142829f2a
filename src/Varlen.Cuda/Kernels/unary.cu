// Functions of one value, and their gradients. Which one is run-time data: a branch that a whole block takes alike.
#include "pointwise.cuh"

// In the order of Varlen.Ops.UnaryFunction.
enum UnaryFunction : i32 { kAddConstant, kSubtractFrom, kScale, kDivideBy, kDivideInto, kExp, kLog, kSqrt, kTanh, kSigmoid, kRelu, kSilu };

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

struct Forward {
    static constexpr int kInputs = 1, kOutputs = 1;
    template <int N> static __device__ __forceinline__ void run(const PointwiseArguments& a, const float (&in)[1][N], float (&y)[1][N]) {
        const float(&x)[N] = in[0];
        float c = a.constant;
        switch (a.function) {
            case kAddConstant: EACH(x[i] + c) break;
            case kSubtractFrom: EACH(c - x[i]) break;
            case kScale: EACH(c * x[i]) break;
            case kDivideBy: EACH(x[i] / c) break;
            case kDivideInto: EACH(c / x[i]) break;
            case kExp: EACH(expf(x[i])) break;
            case kLog: EACH(logf(x[i])) break;
            case kSqrt: EACH(sqrtf(x[i])) break;
            case kTanh: EACH(tanhf(x[i])) break;
            case kSigmoid: EACH(sigmoid(x[i])) break;
            case kRelu: EACH(x[i] < 0 ? 0 : x[i]) break;
            case kSilu: EACH(x[i] * sigmoid(x[i])) break;
        }
    }
};

// From the output's gradient and what was saved: the output where it gives the gradient, else the input.
struct Backward {
    static constexpr int kInputs = 2, kOutputs = 1;
    template <int N> static __device__ __forceinline__ void run(const PointwiseArguments& a, const float (&in)[2][N], float (&y)[1][N]) {
        const float(&dy)[N] = in[0];
        const float(&x)[N] = in[1];
        float c = a.constant;
        switch (a.function) {
            case kAddConstant: EACH(dy[i]) break;
            case kSubtractFrom: EACH(-dy[i]) break;
            case kScale: EACH(c * dy[i]) break;
            case kDivideBy: EACH(dy[i] / c) break;
            case kDivideInto: EACH(-dy[i] * (c / x[i]) / x[i]) break;
            case kExp: EACH(dy[i] * x[i]) break;
            case kLog: EACH(dy[i] / x[i]) break;
            case kSqrt: EACH(dy[i] / (x[i] + x[i])) break;
            case kTanh: EACH(dy[i] * (1 - x[i] * x[i])) break;
            case kSigmoid: EACH(dy[i] * (x[i] * (1 - x[i]))) break;
            case kRelu: EACH(x[i] > 0 ? dy[i] : 0) break;
            case kSilu: EACH(dy[i] * (sigmoid(x[i]) + x[i] * sigmoid(x[i]) * (1 - sigmoid(x[i])))) break;
        }
    }
};

POINTWISE(unary_forward, Forward)
POINTWISE(unary_backward, Backward)
