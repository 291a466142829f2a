// Functions of two values that broadcast, and their gradients in the broadcast shape.
#include "pointwise.cuh"

// In the order of Varlen.Ops.BinaryFunction; then what only kernels have.
enum BinaryFunction : i32 { kAdd, kSubtract, kMultiply, kDivide, kAddScaled };

struct Forward {
    static constexpr int kInputs = 2, kOutputs = 1;
    template <int N> static __device__ __forceinline__ void run(const PointwiseArguments& a, const float (&x)[2][N], float (&y)[1][N]) {
        switch (a.function) {
            case kAdd: EACH(x[0][i] + x[1][i]) break;
            case kSubtract: EACH(x[0][i] - x[1][i]) break;
            case kMultiply: EACH(x[0][i] * x[1][i]) break;
            case kDivide: EACH(x[0][i] / x[1][i]) break;
            case kAddScaled: EACH(x[0][i] + x[1][i] * a.constant) break;
        }
    }
};

struct Backward {
    static constexpr int kInputs = 3, kOutputs = 2;
    template <int N> static __device__ __forceinline__ void run(const PointwiseArguments& a, const float (&x)[3][N], float (&y)[2][N]) {
#pragma unroll
        for (int i = 0; i < N; i++) {
            float dy = x[0][i], first = x[1][i], second = x[2][i];
            y[0][i] = y[1][i] = dy;
            if (a.function == kSubtract) y[1][i] = -dy;
            if (a.function == kMultiply) {
                y[0][i] = dy * second;
                y[1][i] = dy * first;
            }
            if (a.function == kDivide) {
                y[0][i] = dy / second;
                y[1][i] = -y[0][i] * (first / second);
            }
        }
    }
};

POINTWISE(binary_forward, Forward)
POINTWISE(binary_backward, Backward)
