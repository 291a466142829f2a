using Varlen.Backends.Cuda.Native;

namespace Varlen;

/// <summary>A CUDA device, driver or library failed, or is not there.</summary>
public class CudaException : Exception
{
    /// <summary>Makes an exception with a message.</summary>
    public CudaException(string message) : base(message)
    {
    }

    /// <summary>Makes an exception with a message and its cause.</summary>
    public CudaException(string message, Exception innerException) : base(message, innerException)
    {
    }

    /// <summary>Makes an empty exception.</summary>
    public CudaException()
    {
    }

    internal static CudaException Of(CudaResult result, string call)
    {
        (string name, string text) = Driver.Describe(result);
        return new CudaException($"{call} failed: {name}, {text}");
    }
}

/// <summary>There is no CUDA device, or its driver or libraries are missing, too old or broken. The message says what was tried and what is needed.</summary>
public sealed class CudaUnavailableException : CudaException
{
    /// <summary>Makes an exception with a message.</summary>
    public CudaUnavailableException(string message) : base(message)
    {
    }

    /// <summary>Makes an exception with a message and its cause.</summary>
    public CudaUnavailableException(string message, Exception innerException) : base(message, innerException)
    {
    }

    /// <summary>Makes an empty exception.</summary>
    public CudaUnavailableException()
    {
    }
}

/// <summary>
/// A kernel faulted. The device is lost to this process: every later call fails with this exception, and disposing is silent. Because kernels
/// run behind the program, the fault may stem from any of the kernels named; run again with the variable <c>VARLEN_SYNC=1</c> to learn which.
/// </summary>
public sealed class CudaFaultException : CudaException
{
    /// <summary>Makes an exception with a message.</summary>
    public CudaFaultException(string message) : base(message)
    {
    }

    /// <summary>Makes an exception with a message and its cause.</summary>
    public CudaFaultException(string message, Exception innerException) : base(message, innerException)
    {
    }

    /// <summary>Makes an empty exception.</summary>
    public CudaFaultException()
    {
    }
}

/// <summary>The device's memory is exhausted. The message says how much was wanted, how much is free, and what holds the rest.</summary>
public sealed class OutOfDeviceMemoryException : OutOfMemoryException
{
    /// <summary>Makes an exception with a message.</summary>
    public OutOfDeviceMemoryException(string message) : base(message)
    {
    }

    /// <summary>Makes an exception with a message and its cause.</summary>
    public OutOfDeviceMemoryException(string message, Exception innerException) : base(message, innerException)
    {
    }

    /// <summary>Makes an empty exception.</summary>
    public OutOfDeviceMemoryException()
    {
    }
}
