using Varlen.Nn;

namespace Varlen;

/// <summary>Operations on modules that give back the concrete type.</summary>
public static class ModuleExtensions
{
    /// <summary>
    /// Moves all parameters to a device and computes in an element type from now on. Masters stay in single precision under 16-bit
    /// types, so that nothing is lost by a change of type. Gradients are forgotten.
    /// </summary>
    /// <returns>The module itself.</returns>
    /// <exception cref="ArgumentException">The type is not floating-point.</exception>
    public static TModule To<TModule>(this TModule module, Device device, DType dtype = DType.Float32) where TModule : Module
    {
        ArgumentNullException.ThrowIfNull(module);
        ArgumentNullException.ThrowIfNull(device);
        Ops.Op.RequireFloatingPoint(dtype, nameof(dtype));
        foreach (Parameter parameter in module.Parameters()) parameter.To(device, dtype);
        return module;
    }
}
