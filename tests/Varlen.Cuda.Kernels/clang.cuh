// Stands in for what NVRTC knows by itself, so that clang 19 compiles the kernels without CUDA's headers.
#pragma once
#define __global__ __attribute__((global))
#define __device__ __attribute__((device))
#define __host__ __attribute__((host))
#define __shared__ __attribute__((shared))
#define __constant__ __attribute__((constant))
#define __forceinline__ __inline__ __attribute__((always_inline))
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...) __attribute__((launch_bounds(__VA_ARGS__)))
#define __grid_constant__
#include <__clang_cuda_builtin_vars.h>

#define DECLARE1(type, name) extern "C" __device__ type name(type);
#define DECLARE2(type, name) extern "C" __device__ type name(type, type);
DECLARE1(float, expf) DECLARE1(float, exp2f) DECLARE1(float, logf) DECLARE1(float, log2f) DECLARE1(float, log1pf) DECLARE1(float, expm1f)
DECLARE1(float, tanhf) DECLARE1(float, erff) DECLARE1(float, normcdff) DECLARE1(float, sqrtf) DECLARE1(float, rsqrtf) DECLARE1(float, fabsf) DECLARE1(float, floorf)
DECLARE1(float, sinf) DECLARE1(float, cosf)
DECLARE2(float, powf) DECLARE2(float, fmaxf) DECLARE2(float, fminf)
DECLARE1(double, exp) DECLARE1(double, log) DECLARE1(double, sqrt) DECLARE1(double, sin) DECLARE1(double, cos) DECLARE1(double, fabs) DECLARE1(double, floor)
DECLARE2(double, pow)
extern "C" __device__ float fmaf(float, float, float);
extern "C" __device__ double fma(double, double, double);
#undef DECLARE1
#undef DECLARE2
