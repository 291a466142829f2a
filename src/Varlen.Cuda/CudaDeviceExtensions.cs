using Varlen.Backends.Cuda;

namespace Varlen;

/// <summary>CUDA devices, as members of <see cref="Device"/>.</summary>
public static class CudaDeviceExtensions
{
    extension(Device)
    {
        /// <summary>
        /// An NVIDIA GPU of compute capability 8.0 or newer. Tensors on it are Float32, BFloat16 or Float16 (other types for storage only), and
        /// its work runs behind the program, in order. Kernels are compiled on first use and kept on disk.
        /// </summary>
        /// <param name="index">Which one, as the driver counts.</param>
        /// <returns>One object per device, the same at every call.</returns>
        /// <exception cref="CudaUnavailableException">There is no such device, or the driver or a library is missing; the message says what was tried.</exception>
        public static Device Cuda(int index = 0) => CudaPlatform.OfThisMachine.Open(index);

        /// <summary>Number of CUDA devices that can be used; 0 without a driver.</summary>
        public static int CudaCount => CudaPlatform.OfThisMachine.Missing is null ? CudaPlatform.OfThisMachine.Devices.Count : 0;

        /// <summary>Why there is no CUDA device: what was looked for, where, and what to do. Null when there is one.</summary>
        public static string? WhyNoCuda => CudaPlatform.OfThisMachine.Missing;
    }
}
