// silu(gate) * up. The logistic function is exp2 and a reciprocal, both of the special function unit: with them the kernels stay far below
// the instructions that memory leaves time for.
#include "pointwise.cuh"

struct Forward {
    static constexpr int kInputs = 2, kOutputs = 1;
    template <int N> static __device__ __forceinline__ void run(const PointwiseArguments& a, const float (&x)[2][N], float (&y)[1][N]) {
        EACH(x[0][i] * sigmoid_fast(x[0][i]) * x[1][i])
    }
};

// From the output's gradient, the gate and the up projection.
struct Backward {
    static constexpr int kInputs = 3, kOutputs = 2;
    template <int N> static __device__ __forceinline__ void run(const PointwiseArguments& a, const float (&x)[3][N], float (&y)[2][N]) {
#pragma unroll
        for (int i = 0; i < N; i++) {
            float dy = x[0][i], gate = x[1][i], up = x[2][i], s = sigmoid_fast(gate), silu = gate * s;
            y[0][i] = dy * up * (s + silu * (1 - s));
            y[1][i] = dy * silu;
        }
    }
};

POINTWISE(swiglu_forward, Forward)
POINTWISE(swiglu_backward, Backward)
