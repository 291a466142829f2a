using System.Numerics;
using Varlen.Ops;

namespace Varlen.Backends.Cpu;

internal sealed unsafe partial class CpuBackend : INormKernels
{
    public void NormForward(Tensor input, Tensor? addend, Tensor? weight, Tensor? bias, double epsilon, Tensor? sum, Tensor output, Tensor? mean, Tensor rstd)
    {
        var kernel = new NormForwardKernel
        {
            Backend = this, Input = input, Addend = addend, Weight = weight, Bias = bias, Epsilon = epsilon, Sum = sum, Output = output, Mean = mean, Rstd = rstd,
        };
        Rows.Dispatch(input.DType, ref kernel);
    }

    private struct NormForwardKernel : ITypedKernel
    {
        public CpuBackend Backend;
        public Tensor Input, Output, Rstd;
        public Tensor? Addend, Weight, Bias, Sum, Mean;
        public double Epsilon;

        public readonly void Run<T, A>() where T : unmanaged where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            var rows = new Body<T, A>
            {
                Features = Input.Shape[-1], Epsilon = A.CreateTruncating(Epsilon), Input = Input.Data<T>(), Output = Output.Data<T>(), Rstd = Rstd.Data<A>(),
                Addend = OptionalData<T>(Addend), Weight = OptionalData<T>(Weight), Bias = OptionalData<T>(Bias), Sum = OptionalData<T>(Sum), Mean = OptionalData<A>(Mean),
            };
            Backend.ForRows(Rstd.Count, rows.Features, ref rows);
        }

        private struct Body<T, A> : IRowRange where T : unmanaged where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            public int Features;
            public A Epsilon;
            public T* Input, Addend, Weight, Bias, Sum, Output;
            public A* Mean, Rstd;

            public readonly void Invoke(long first, long end)
            {
                A* scratch = Scratch.Get<A>(4L * Features), here = scratch + 2L * Features, other = scratch + 3L * Features;
                A* w = NormRow.Parameter(Weight, Features, A.One, scratch), b = NormRow.Parameter(Bias, Features, A.Zero, scratch + Features);
                A features = A.CreateTruncating(Features);
                for (long row = first; row < end; row++)
                {
                    long at = row * Features;
                    A* x = Sum == null
                        ? Rows.Read(Input + at, Features, here)
                        : NormRow.Add(Input + at, Addend + at, Sum + at, Features, here, other);
                    A mean = A.Zero;
                    if (Mean != null) Mean[row] = mean = NormRow.Sum(x, Features) / features;
                    A rstd = Rstd[row] = A.One / A.Sqrt(NormRow.SquaredDistance(x, mean, Features) / features + Epsilon);
                    A* y = typeof(T) == typeof(A) ? (A*)(Output + at) : other;
                    NormRow.Scale(x, mean, rstd, w, b, y, Features);
                    Rows.Write(y, Output + at, Features, accumulate: false);
                }
            }
        }
    }

    private static T* OptionalData<T>(Tensor? tensor) where T : unmanaged => tensor is null ? null : tensor.Data<T>();
}

/// <summary>The steps of a norm within one row, each in an order that depends on the length alone.</summary>
internal static unsafe class NormRow
{
    /// <summary>A per-feature parameter in the arithmetic type; a constant when absent.</summary>
    public static A* Parameter<T, A>(T* values, int length, A absent, A* scratch) where T : unmanaged where A : unmanaged
    {
        if (values != null) return Rows.Read(values, length, scratch);
        new Span<A>(scratch, length).Fill(absent);
        return scratch;
    }

    /// <summary>Stores the sum of two rows and gives it back as it was rounded.</summary>
    public static A* Add<T, A>(T* a, T* b, T* sum, int length, A* first, A* second) where T : unmanaged where A : unmanaged, IBinaryFloatingPointIeee754<A>
    {
        A* x = Rows.Read(a, length, first), y = Rows.Read(b, length, second), s = typeof(T) == typeof(A) ? (A*)sum : first;
        int i = 0;
        for (; i <= length - Vector<A>.Count; i += Vector<A>.Count) (Vector.Load(x + i) + Vector.Load(y + i)).Store(s + i);
        for (; i < length; i++) s[i] = x[i] + y[i];
        Rows.Write(s, sum, length, accumulate: false);
        return Rows.Read(sum, length, first);
    }

    public static A Sum<A>(A* x, int length) where A : unmanaged, IBinaryFloatingPointIeee754<A>
    {
        // Four independent chains hide the latency of an addition.
        Vector<A> s0 = Vector<A>.Zero, s1 = s0, s2 = s0, s3 = s0;
        int width = Vector<A>.Count, i = 0;
        for (; i <= length - 4 * width; i += 4 * width)
        {
            s0 += Vector.Load(x + i);
            s1 += Vector.Load(x + i + width);
            s2 += Vector.Load(x + i + 2 * width);
            s3 += Vector.Load(x + i + 3 * width);
        }
        for (; i <= length - width; i += width) s0 += Vector.Load(x + i);
        A sum = Vector.Sum((s0 + s1) + (s2 + s3));
        for (; i < length; i++) sum += x[i];
        return sum;
    }

    /// <summary>Sum of (x - centre)^2.</summary>
    public static A SquaredDistance<A>(A* x, A centre, int length) where A : unmanaged, IBinaryFloatingPointIeee754<A>
    {
        Vector<A> c = Vector.Create(centre), s0 = Vector<A>.Zero, s1 = s0, s2 = s0, s3 = s0;
        int width = Vector<A>.Count, i = 0;
        for (; i <= length - 4 * width; i += 4 * width)
        {
            Vector<A> d0 = Vector.Load(x + i) - c, d1 = Vector.Load(x + i + width) - c;
            Vector<A> d2 = Vector.Load(x + i + 2 * width) - c, d3 = Vector.Load(x + i + 3 * width) - c;
            s0 += d0 * d0;
            s1 += d1 * d1;
            s2 += d2 * d2;
            s3 += d3 * d3;
        }
        for (; i <= length - width; i += width)
        {
            Vector<A> d = Vector.Load(x + i) - c;
            s0 += d * d;
        }
        A sum = Vector.Sum((s0 + s1) + (s2 + s3));
        for (; i < length; i++) sum += (x[i] - centre) * (x[i] - centre);
        return sum;
    }

    /// <summary>y = (x - mean) * rstd * w + b.</summary>
    public static void Scale<A>(A* x, A mean, A rstd, A* w, A* b, A* y, int length) where A : unmanaged, IBinaryFloatingPointIeee754<A>
    {
        Vector<A> m = Vector.Create(mean), r = Vector.Create(rstd);
        int i = 0;
        for (; i <= length - Vector<A>.Count; i += Vector<A>.Count)
            ((Vector.Load(x + i) - m) * r * Vector.Load(w + i) + Vector.Load(b + i)).Store(y + i);
        for (; i < length; i++) y[i] = (x[i] - mean) * rstd * w[i] + b[i];
    }

    /// <summary>
    /// One row's gradients, each where its destination is not null: dx = rstd * (g - mean(g) - n * mean(g * n)) + passed, with g = dy * w and
    /// n the normalised x (without centring mean(g) is left out); dw += dy * n; db += dy. dx may be the memory of dy or of passed.
    /// </summary>
    public static void Gradients<A>(A* dy, A* x, A* w, A* passed, A mean, A rstd, bool centered, A* dx, A* dw, A* db, int length)
        where A : unmanaged, IBinaryFloatingPointIeee754<A>
    {
        (A meanG, A meanGN) = dx == null ? (A.Zero, A.Zero) : Means(dy, x, w, mean, rstd, length);
        if (!centered) meanG = A.Zero;
        Vector<A> m = Vector.Create(mean), r = Vector.Create(rstd), mg = Vector.Create(meanG), mgn = Vector.Create(meanGN);
        int i = 0;
        for (; i <= length - Vector<A>.Count; i += Vector<A>.Count)
        {
            Vector<A> y = Vector.Load(dy + i), n = (Vector.Load(x + i) - m) * r;
            if (dw != null) (Vector.Load(dw + i) + y * n).Store(dw + i);
            if (db != null) (Vector.Load(db + i) + y).Store(db + i);
            if (dx == null) continue;
            Vector<A> d = r * (y * Vector.Load(w + i) - mg - n * mgn);
            (passed == null ? d : d + Vector.Load(passed + i)).Store(dx + i);
        }
        for (; i < length; i++)
        {
            A y = dy[i], n = (x[i] - mean) * rstd;
            if (dw != null) dw[i] += y * n;
            if (db != null) db[i] += y;
            if (dx == null) continue;
            A d = rstd * (y * w[i] - meanG - n * meanGN);
            dx[i] = passed == null ? d : d + passed[i];
        }
    }

    /// <summary>Means of g = dy * w and of g times the normalised x.</summary>
    private static (A G, A GN) Means<A>(A* dy, A* x, A* w, A mean, A rstd, int length) where A : unmanaged, IBinaryFloatingPointIeee754<A>
    {
        Vector<A> m = Vector.Create(mean), r = Vector.Create(rstd), g0 = Vector<A>.Zero, g1 = g0, n0 = g0, n1 = g0;
        int width = Vector<A>.Count, i = 0;
        for (; i <= length - 2 * width; i += 2 * width)
        {
            Vector<A> a = Vector.Load(dy + i) * Vector.Load(w + i), b = Vector.Load(dy + i + width) * Vector.Load(w + i + width);
            g0 += a;
            g1 += b;
            n0 += a * ((Vector.Load(x + i) - m) * r);
            n1 += b * ((Vector.Load(x + i + width) - m) * r);
        }
        A sumG = Vector.Sum(g0 + g1), sumGN = Vector.Sum(n0 + n1), features = A.CreateTruncating(length);
        for (; i < length; i++)
        {
            A g = dy[i] * w[i];
            sumG += g;
            sumGN += g * ((x[i] - mean) * rstd);
        }
        return (sumG / features, sumGN / features);
    }
}
