namespace Varlen.Ops;

/// <summary>A dense copy on a device in an element type; its gradient is converted back.</summary>
internal static class Conversion
{
    public static Tensor Convert(Tensor input, Device device, DType dtype)
    {
        Tensor output = input.UntrackedCopy(dtype, device);
        TensorScope.Track(output);
        if (!dtype.IsFloatingPoint()) return output;
        Device origin = input.Device;
        return Op.Record("To", output, [input], [], pass =>
        {
            Tensor gradient = pass.OutputGradient()!;
            if (gradient.Device == origin)
            {
                pass.PassThrough(0, gradient);
                return;
            }
            using Tensor moved = gradient.UntrackedCopy(gradient.DType, origin);
            pass.PassThrough(0, moved);
        });
    }
}
