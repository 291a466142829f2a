using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Varlen.Backends.Cpu;

/// <summary>
/// The product in double precision: the reference that everything else is tested against, so it is short and obvious first.
/// Each element is one chain over all of k. Strips of 16 columns are packed and multiplied by four rows at a time.
/// </summary>
internal unsafe struct DoubleProduct : IParallelItems
{
    private const int Columns = 16;
    private const int Rows = 4;
    private const int RowsPerItem = 256;

    private GemmArguments _a;
    private long _strips;

    internal static void Run(ThreadTeam team, in GemmArguments a, int workers)
    {
        long strips = (a.N + Columns - 1) / Columns;
        var product = new DoubleProduct { _a = a, _strips = strips };
        team.For(strips * ((a.M + RowsPerItem - 1) / RowsPerItem), ref product, workers);
    }

    public readonly void Invoke(long item, int worker)
    {
        long column = item % _strips * Columns, start = item / _strips * RowsPerItem, end = Math.Min(_a.M, start + RowsPerItem);
        int columns = (int)Math.Min(Columns, _a.N - column);
        double* b = NativeScratch.Rent<double>(ScratchUse.ProductStrip, _a.K * Columns);
        PackColumns(column, columns, b);
        double* tile = stackalloc double[Rows * Columns];
        for (long row = start; row < end; row += Rows)
        {
            int rows = (int)Math.Min(Rows, end - row);
            // Rows past the last repeat it, so that they read nothing else; they are not stored.
            long stride = _a.TransposeA ? 1 : _a.LdA;
            double* a = (double*)_a.A + row * stride;
            Multiply(
                _a.K, a, a + Math.Min(1, rows - 1) * stride, a + Math.Min(2, rows - 1) * stride, a + Math.Min(3, rows - 1) * stride,
                _a.TransposeA ? _a.LdA : 1, b, tile);
            for (int r = 0; r < rows; r++) StoreRow(row + r, column, columns, tile + r * Columns);
        }
    }

    private readonly void PackColumns(long column, int columns, double* destination)
    {
        double* b = (double*)_a.B;
        for (long k = 0; k < _a.K; k++)
        {
            for (int j = 0; j < columns; j++)
                destination[k * Columns + j] = _a.TransposeB ? b[(column + j) * _a.LdB + k] : b[k * _a.LdB + column + j];
            for (int j = columns; j < Columns; j++) destination[k * Columns + j] = 0;
        }
    }

    private readonly void StoreRow(long row, long column, int columns, double* sums)
    {
        double* c = (double*)_a.C + row * _a.LdC + column;
        for (int j = 0; j < columns; j++)
        {
            double value = _a.Alpha * sums[j];
            if (_a.Beta != 0) value += _a.Beta * c[j];
            if (_a.Bias != null) value += BiasAt(column + j);
            c[j] = value;
        }
    }

    private readonly double BiasAt(long column) => _a.BiasType switch
    {
        DType.Float64 => ((double*)_a.Bias)[column],
        DType.BFloat16 => ((BFloat16*)_a.Bias)[column],
        DType.Float16 => (double)((Half*)_a.Bias)[column],
        _ => ((float*)_a.Bias)[column],
    };

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Multiply(long depth, double* a0, double* a1, double* a2, double* a3, long step, double* b, double* tile)
    {
        Vector512<double> c00 = default, c01 = default, c10 = default, c11 = default, c20 = default, c21 = default, c30 = default, c31 = default;
        for (long k = 0; k < depth; k++, b += Columns)
        {
            Vector512<double> left = Vector512.Load(b), right = Vector512.Load(b + 8);
            Vector512<double> x = Vector512.Create(a0[k * step]);
            c00 = Vector512.MultiplyAddEstimate(x, left, c00);
            c01 = Vector512.MultiplyAddEstimate(x, right, c01);
            x = Vector512.Create(a1[k * step]);
            c10 = Vector512.MultiplyAddEstimate(x, left, c10);
            c11 = Vector512.MultiplyAddEstimate(x, right, c11);
            x = Vector512.Create(a2[k * step]);
            c20 = Vector512.MultiplyAddEstimate(x, left, c20);
            c21 = Vector512.MultiplyAddEstimate(x, right, c21);
            x = Vector512.Create(a3[k * step]);
            c30 = Vector512.MultiplyAddEstimate(x, left, c30);
            c31 = Vector512.MultiplyAddEstimate(x, right, c31);
        }
        c00.Store(tile);
        c01.Store(tile + 8);
        c10.Store(tile + 16);
        c11.Store(tile + 24);
        c20.Store(tile + 32);
        c21.Store(tile + 40);
        c30.Store(tile + 48);
        c31.Store(tile + 56);
    }
}
