using Varlen.Backends.Cpu;

namespace Varlen.Tests.Reference;

/// <summary>
/// Attention of one head on dense matrices in double precision: every score is materialised, visibility is the formula of the
/// semantics read off literally, and gradients are those of the textbook: Jacobian of the softmax, row by row. Shares no code with
/// the library but the random bits of dropout.
/// </summary>
internal sealed class DenseAttention
{
    public required double[,] Query { get; init; }
    public required double[,] Key { get; init; }
    public required double[,] Value { get; init; }
    public int Left { get; init; } = -1;
    public int Right { get; init; } = -1;
    public bool TopLeft { get; init; }
    public required double Scale { get; init; }
    public double Softcap { get; init; }
    public double Slope { get; init; }
    /// <summary>Added to the scores, minus infinity to hide; or null.</summary>
    public double[,]? Mask { get; init; }
    public double Dropout { get; init; }
    public (ulong Seed, long Step, int Layer, ulong Document, int Head) Stream { get; init; }
    /// <summary>Rounds every matrix that is stored on the way: the computation as it is done densely in a narrower type. None when null.</summary>
    public Func<double, double>? Rounding { get; init; }

    public double[,] Output { get; private set; } = new double[0, 0];
    public double[] LogSumExp { get; private set; } = [];
    public double[,] DQuery { get; private set; } = new double[0, 0];
    public double[,] DKey { get; private set; } = new double[0, 0];
    public double[,] DValue { get; private set; } = new double[0, 0];

    private double[,] _products = new double[0, 0];
    private double[,] _weights = new double[0, 0];
    private double[,] _keep = new double[0, 0];

    public bool Sees(int i, int j)
    {
        long d = TopLeft ? 0 : Key.GetLength(0) - Query.GetLength(0);
        bool left = Left < 0 || i + d - Left <= j;
        bool right = Right < 0 || j <= i + d + Right;
        return left && right && (Mask is null || !double.IsNegativeInfinity(Mask[i, j]));
    }

    private int[] Seen(int i)
    {
        var seen = new List<int>();
        for (int j = 0; j < Key.GetLength(0); j++)
            if (Sees(i, j)) seen.Add(j);
        return [.. seen];
    }

    public DenseAttention Forward()
    {
        int queries = Query.GetLength(0), keys = Key.GetLength(0), dim = Value.GetLength(1);
        long d = TopLeft ? 0 : keys - queries;
        Output = new double[queries, dim];
        LogSumExp = new double[queries];
        _products = new double[queries, keys];
        _weights = new double[queries, keys];
        _keep = new double[queries, keys];
        for (int i = 0; i < queries; i++)
        {
            var scores = new double[keys];
            for (int j = 0; j < keys; j++)
            {
                double product = 0;
                for (int f = 0; f < Query.GetLength(1); f++) product += Query[i, f] * Key[j, f];
                double x = _products[i, j] = Scale * product;
                scores[j] = Rounded((Softcap > 0 ? Softcap * Math.Tanh(x / Softcap) : x) - (Slope * Math.Abs(i + d - j)) + (Mask is null ? 0 : Mask[i, j]));
                _keep[i, j] = Drops(i, j) ? 0 : 1 / (1 - Dropout);
            }
            int[] seen = Seen(i);
            if (seen.Length == 0)
            {
                LogSumExp[i] = double.NegativeInfinity;
                continue;
            }
            double top = seen.Max(j => scores[j]);
            LogSumExp[i] = top + Math.Log(seen.Sum(j => Math.Exp(scores[j] - top)));
            foreach (int j in seen)
            {
                _weights[i, j] = Rounded(Math.Exp(scores[j] - LogSumExp[i]));
                for (int f = 0; f < dim; f++) Output[i, f] += _keep[i, j] == 0 ? 0 : _weights[i, j] * _keep[i, j] * Value[j, f];
            }
            for (int f = 0; f < dim; f++) Output[i, f] = Rounded(Output[i, f]);
        }
        return this;
    }

    /// <param name="storedOutput">
    /// The output as the code under test stored it, in 16 bits for example: then the mean gradient of a row's weights, the sum of output
    /// times its gradient, is formed with it, as any implementation must that does not keep the exact output.
    /// </param>
    public DenseAttention Backward(double[,] dOutput, double[] dLogSumExp, double[,]? storedOutput = null)
    {
        int queries = Query.GetLength(0), keys = Key.GetLength(0), dim = Query.GetLength(1);
        DQuery = new double[queries, dim];
        DKey = new double[keys, dim];
        DValue = new double[keys, dim];
        for (int i = 0; i < queries; i++)
        {
            int[] seen = Seen(i);
            var dWeight = new double[keys];
            foreach (int j in seen)
                for (int f = 0; f < dim; f++)
                {
                    dWeight[j] += _keep[i, j] == 0 ? 0 : dOutput[i, f] * Value[j, f] * _keep[i, j];
                    DValue[j, f] += _weights[i, j] * _keep[i, j] * dOutput[i, f];
                }
            foreach (int j in seen) dWeight[j] = Rounded(dWeight[j]);
            double mean = seen.Sum(j => _weights[i, j] * dWeight[j]);
            if (storedOutput is not null) mean = Enumerable.Range(0, dim).Sum(f => storedOutput[i, f] * dOutput[i, f]);
            foreach (int j in seen)
            {
                double dScore = (_weights[i, j] * (dWeight[j] - mean)) + (_weights[i, j] * dLogSumExp[i]);
                double tanh = Softcap > 0 ? Math.Tanh(_products[i, j] / Softcap) : 0;
                double dProduct = Rounded(dScore * (1 - (tanh * tanh)) * Scale);
                for (int f = 0; f < dim; f++)
                {
                    DQuery[i, f] += dProduct * Key[j, f];
                    DKey[j, f] += dProduct * Query[i, f];
                }
            }
        }
        return this;
    }

    private double Rounded(double x) => Rounding is null ? x : Rounding(x);

    private bool Drops(int i, int j)
    {
        if (Dropout == 0) return false;
        var (seed, step, layer, document, head) = Stream;
        uint word3 = (uint)((((ulong)step >> 32) << 16) & 0xFFFF0000u) | (ushort)layer;
        var (k0, k1, _, _) = Philox.Block((uint)document, (uint)(document >> 32), (uint)step, word3, (uint)seed, (uint)(seed >> 32));
        var words = Philox.Block((uint)(j / 4), (uint)i, (uint)head, 0, k0, k1);
        uint[] all = [words.W0, words.W1, words.W2, words.W3];
        return all[j % 4] < Math.Floor(Dropout * Math.Pow(2, 32));
    }
}
