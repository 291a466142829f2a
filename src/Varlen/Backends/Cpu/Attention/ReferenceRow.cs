namespace Varlen.Backends.Cpu.Attention;

/// <summary>Single elements and rows of operands in any floating-point type, as double.</summary>
internal static unsafe class ReferenceRow
{
    /// <summary>The row itself when it is double already, otherwise a copy in <paramref name="buffer"/>.</summary>
    internal static double* Read(in AttentionOperand operand, in AttentionSequence sequence, long token, int head, int width, double* buffer)
    {
        byte* row = OperandRows.Address(operand, sequence.Batch, token, head);
        if (operand.DType == DType.Float64) return (double*)row;
        for (int i = 0; i < width; i++) buffer[i] = Element(row, operand.DType, i);
        return buffer;
    }

    /// <summary>Writes a row, or adds it when the operand accumulates.</summary>
    internal static void Write(in AttentionOperand operand, in AttentionSequence sequence, long token, int head, int width, double* values)
    {
        byte* row = OperandRows.Address(operand, sequence.Batch, token, head);
        for (int i = 0; i < width; i++)
        {
            double value = operand.Accumulate ? values[i] + Element(row, operand.DType, i) : values[i];
            switch (operand.DType)
            {
                case DType.Float64: ((double*)row)[i] = value; break;
                case DType.Float32: ((float*)row)[i] = (float)value; break;
                case DType.BFloat16: ((BFloat16*)row)[i] = (BFloat16)value; break;
                default: ((Half*)row)[i] = (Half)value; break;
            }
        }
    }

    internal static double Element(void* data, DType dtype, long index) => dtype switch
    {
        DType.Float64 => ((double*)data)[index],
        DType.Float32 => ((float*)data)[index],
        DType.BFloat16 => ((BFloat16*)data)[index],
        _ => (double)((Half*)data)[index],
    };

    internal static double Dot(double* a, double* b, int width)
    {
        double sum = 0;
        for (int i = 0; i < width; i++) sum += a[i] * b[i];
        return sum;
    }

    internal static void AddScaled(double* sum, double factor, double* row, int width)
    {
        for (int i = 0; i < width; i++) sum[i] += factor * row[i];
    }
}
