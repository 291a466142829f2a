using Varlen.Nn;
using Varlen.Optim;
using Xunit;

namespace Varlen.Tests.Optim;

public sealed class AdamWTests
{
    private static readonly AdamWOptions Options = new() { Beta1 = 0.8, Beta2 = 0.95, Epsilon = 1e-6, WeightDecay = 0.1 };

    [Fact]
    public void TheFirstStepIsTheFormulaByHand()
    {
        // m = 0.1 g, v = 0.001 g^2; corrected they are g and g^2, so each weight moves by lr in the direction of its gradient.
        using var parameter = new Parameter(Tensor.From([1.0, -2.0], [2]));
        using var optimizer = new AdamW([parameter], 0.5, new AdamWOptions { WeightDecay = 0.2, Epsilon = 0 });
        using (TensorScope.Begin()) Varlen.Nn.Functional.MatMul(parameter.Value.View(1, 2), Tensor.From([3.0, -4.0], [2, 1])).Backward();
        optimizer.Step();
        double[] values = parameter.Master.ToArray<double>();
        Assert.Equal(1 * (1 - 0.5 * 0.2) - 0.5, values[0], 1e-12);
        Assert.Equal(-2 * (1 - 0.5 * 0.2) + 0.5, values[1], 1e-12);
    }

    [Theory]
    [InlineData(DType.Float64, 1e-12)]
    [InlineData(DType.Float32, 2e-6)]
    public void FollowsTheScalarFormula(DType dtype, double tolerance)
    {
        using var run = new OptimizerCase(dtype);
        using var optimizer = new AdamW(run.Named, 1e-2, Options with { Decays = (name, _) => name != "layer.4" });
        using var state = new StepState();
        double[][] p = run.Values, m = Zeros(p), v = Zeros(p);
        for (int step = 1; step <= 5; step++)
        {
            double[]?[] gradients = run.SetGradients(step);
            state.Begin(step, 1e-2 / step);
            GradientClipping.Apply(run.Parameters, 50, state);
            double norm = Math.Sqrt(gradients.OfType<double[]>().Sum(g => g.Sum(value => value * value))), clip = Math.Min(1, 50 / (norm + 1e-6));
            Assert.Equal(norm, state.ReadGradientNorm(), 1e-9 * norm);
            optimizer.Step(state);
            for (int i = 0; i < p.Length; i++)
            {
                if (gradients[i] is not { } g) continue;
                for (int j = 0; j < g.Length; j++)
                {
                    double rate = 1e-2 / step, scaled = g[j] * clip;
                    m[i][j] = 0.8 * m[i][j] + 0.2 * scaled;
                    v[i][j] = 0.95 * v[i][j] + 0.05 * scaled * scaled;
                    double mean = m[i][j] / (1 - Math.Pow(0.8, step)), square = v[i][j] / (1 - Math.Pow(0.95, step));
                    p[i][j] -= rate * ((i == 4 ? 0 : 0.1 * p[i][j]) + mean / (Math.Sqrt(square) + 1e-6));
                }
            }
            AssertClose(p, run.Values, tolerance);
        }
    }

    [Theory]
    [InlineData(DType.BFloat16)]
    [InlineData(DType.Float16)]
    public void RefreshesThe16BitCopies(DType dtype)
    {
        using var run = new OptimizerCase(dtype);
        using var reference = new OptimizerCase();
        using var optimizer = new AdamW(run.Named, 0.1);
        using var single = new AdamW(reference.Named, 0.1);
        int[] versions = [.. run.Parameters.Select(parameter => parameter.Version)];
        run.SetGradients(2);
        reference.SetGradients(2);
        optimizer.Step();
        single.Step();
        for (int i = 0; i < versions.Length; i++)
        {
            using TensorScope scope = TensorScope.Begin();
            Parameter parameter = run.Parameters[i];
            Numeric.AssertSameBits(reference.Parameters[i].Master, parameter.Master);
            Numeric.AssertSameBits(parameter.Master.To(dtype: dtype), parameter.Value);
            Assert.Equal(versions[i] + (i == 1 ? 0 : 1), parameter.Version);
        }
    }

    [Theory]
    [InlineData(double.NaN)]
    [InlineData(double.PositiveInfinity)]
    public void ANonFiniteGradientLeavesEverythingBitForBit(double poison)
    {
        using var run = new OptimizerCase(DType.BFloat16);
        using var optimizer = new AdamW(run.Named, 0.1);
        run.SetGradients(1);
        optimizer.Step(1.0);
        double[][] before = [.. run.Values, .. State(optimizer), .. run.Parameters.Select(parameter => parameter.Value.ToArray<double>())];
        run.SetGradients(3);
        run.Parameters[2].Grad!.Narrow(0, 39999, 1).Fill(poison);
        optimizer.Step(1.0);
        double[][] after = [.. run.Values, .. State(optimizer), .. run.Parameters.Select(parameter => parameter.Value.ToArray<double>())];
        Assert.Equal(before, after);
        Assert.Equal(1, optimizer.StepCount);
        run.SetGradients(3);
        optimizer.Step(1.0);
        Assert.NotEqual(before[0], run.Values[0]);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void ASkippedStepLeavesNoTrace(bool stepState)
    {
        // Bias correction is at its strongest in the first steps: a count that went on would show in every weight.
        using OptimizerCase calm = new(), disturbed = new();
        using AdamW expected = new(calm.Named, 0.01, Options), optimizer = new(disturbed.Named, 0.01, Options);
        using var state = new StepState();
        foreach ((int step, bool poisoned) in (ReadOnlySpan<(int, bool)>)[(1, true), (1, false), (3, false), (5, true), (7, true), (5, false)])
        {
            disturbed.SetGradients(step);
            if (poisoned) disturbed.Parameters[4].Grad!.Narrow(0, 32, 1).Fill(double.NaN);
            if (stepState)
            {
                state.Begin(state.Step + 1, 0.01);
                GradientClipping.Apply(disturbed.Parameters, 1, state);
                optimizer.Step(state);
                Assert.Equal(!poisoned, state.ReadFinite());
            }
            else optimizer.Step(1.0);
            if (poisoned) continue;
            calm.SetGradients(step);
            expected.Step(1.0);
            Assert.Equal(calm.Values, disturbed.Values);
            Assert.Equal(expected.StepCount, optimizer.StepCount);
        }
        Assert.Equal(3, optimizer.StepCount);
        Assert.Equal(State(expected), State(optimizer));
        Assert.Equal(3, optimizer.StateDict()["step"].Item());
    }

    [Fact]
    public void NamesTheParametersWithNonFiniteGradients()
    {
        using var run = new OptimizerCase();
        run.SetGradients(2);
        IEnumerable<KeyValuePair<string, Parameter>> named = [.. run.Named, new("tied", run.Parameters[4])];
        Assert.Empty(GradientClipping.FindNonFinite(named));
        run.Parameters[2].Grad!.Narrow(0, 20000, 1).Fill(double.NaN);
        run.Parameters[4].Grad!.Narrow(0, 32, 1).Fill(double.NegativeInfinity);
        Assert.Equal(["layer.2", "layer.4"], GradientClipping.FindNonFinite(named));
    }

    [Fact]
    public void ResumesBitForBit()
    {
        using var straight = new OptimizerCase();
        using var optimizer = new AdamW(straight.Named, 0.01, Options);
        using var resumed = new OptimizerCase();
        Steps(straight, optimizer, 1, 3);
        using (var first = new AdamW(resumed.Named, 0.01, Options))
        {
            Steps(resumed, first, 1, 3);
            using var second = new AdamW(resumed.Named, 0.01, Options);
            second.LoadStateDict(first.StateDict());
            Assert.Equal(3, second.StepCount);
            Steps(resumed, second, 4, 6);
        }
        Steps(straight, optimizer, 4, 6);
        Assert.Equal(straight.Values, resumed.Values);
    }

    [Fact]
    public void BitsDoNotDependOnTheNumberOfThreads()
    {
        int before = Device.CpuThreads;
        try
        {
            List<double[][]> runs = [];
            foreach (int threads in new[] { 1, 2, 3 })
            {
                Device.CpuThreads = threads;
                using var run = new OptimizerCase();
                using var optimizer = new AdamW(run.Named, 0.01, Options);
                for (int step = 1; step <= 3; step++)
                {
                    run.SetGradients(step);
                    optimizer.Step(1.0);
                }
                runs.Add(run.Values);
            }
            Assert.Equal(runs[0], runs[1]);
            Assert.Equal(runs[0], runs[2]);
        }
        finally
        {
            Device.CpuThreads = before;
        }
    }

    [Fact]
    public void StateFollowsItsParameterToAnotherPrecision()
    {
        using var run = new OptimizerCase();
        using var optimizer = new AdamW(run.Named, 0.01);
        Steps(run, optimizer, 1, 2);
        double[] moment = optimizer.StateDict()["layer.0.exp_avg"].ToArray<double>();
        foreach (Parameter parameter in run.Parameters) parameter.To(Device.Cpu, DType.Float64);
        Tensor moved = optimizer.StateDict()["layer.0.exp_avg"];
        Assert.Equal(DType.Float64, moved.DType);
        Assert.Equal(moment, moved.ToArray<double>());
        Steps(run, optimizer, 3, 4);
    }

    [Fact]
    public void StateNamesWhatDoesNotFit()
    {
        using var a = new Parameter(Tensor.Ones([2]));
        using var b = new Parameter(Tensor.Ones([3]));
        using var one = new AdamW([a]);
        using var other = new AdamW([KeyValuePair.Create("x", b)]);
        var e = Assert.Throws<ArgumentException>(() => one.LoadStateDict(other.StateDict()));
        Assert.Contains("0.exp_avg [2] is missing", e.Message, StringComparison.Ordinal);
        Assert.Contains("x.exp_avg_sq [3] is not part of it", e.Message, StringComparison.Ordinal);
        Assert.Equal(["0.exp_avg", "0.exp_avg_sq", "step"], one.StateDict().Keys.Order());
        var fraction = new Dictionary<string, Tensor>(one.StateDict()) { ["step"] = Tensor.Ones([]) };
        Assert.Contains("step is Float32, expected Int64", Assert.Throws<ArgumentException>(() => one.LoadStateDict(fraction)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void RefusesNumbersOutOfRange()
    {
        using var a = new Parameter(Tensor.Ones([2]));
        Assert.Throws<ArgumentOutOfRangeException>(() => new AdamW([a], -1));
        Assert.Throws<ArgumentOutOfRangeException>(() => new AdamW([a], options: new AdamWOptions { Beta1 = 1 }));
        Assert.Throws<ArgumentOutOfRangeException>(() => new AdamW([a], options: new AdamWOptions { WeightDecay = double.NaN }));
        Assert.Throws<ArgumentException>(() => new AdamW(Array.Empty<Parameter>()));
        using var state = new StepState();
        Assert.Throws<ArgumentOutOfRangeException>(() => GradientClipping.Apply([a], 0, state));
    }

    [Fact]
    public void ReleasesItsMemory() => Memory.AssertReleasesAll(() =>
    {
        using var run = new OptimizerCase(DType.BFloat16);
        using var optimizer = new AdamW(run.Named, 0.01);
        Steps(run, optimizer, 1, 2);
        optimizer.StateDict();
    });

    private static void Steps(OptimizerCase run, AdamW optimizer, int first, int last)
    {
        for (int step = first; step <= last; step++)
        {
            run.SetGradients(step);
            optimizer.Step();
        }
    }

    private static double[][] State(AdamW optimizer) => [.. optimizer.StateDict().Where(entry => entry.Key != "step").Select(entry => entry.Value.ToArray<double>())];

    private static double[][] Zeros(double[][] like) => [.. like.Select(values => new double[values.Length])];

    private static void AssertClose(double[][] expected, double[][] actual, double tolerance)
    {
        for (int i = 0; i < expected.Length; i++)
            for (int j = 0; j < expected[i].Length; j++) Assert.Equal(expected[i][j], actual[i][j], tolerance * Math.Max(1, Math.Abs(expected[i][j])));
    }

    [Theory]
    [InlineData(DType.Float32)]
    [InlineData(DType.BFloat16)]
    [InlineData(DType.Float16)]
    public void CudaFollowsTheCpu(DType dtype)
    {
        Device cuda = TestDevices.Cuda();
        using OptimizerCase host = new(dtype), device = new(dtype, cuda);
        AdamWOptions options = Options with { Decays = (name, _) => name != "layer.4" };
        using AdamW expected = new(host.Named, 1e-2, options), optimizer = new(device.Named, 1e-2, options);
        using StepState state = new(), deviceState = new(cuda);
        for (int step = 1; step <= 4; step++)
        {
            host.SetGradients(step);
            device.SetGradients(step);
            if (step == 3) device.Parameters[2].Grad!.Narrow(0, 39999, 1).Fill(double.NaN);
            if (step == 3) host.Parameters[2].Grad!.Narrow(0, 39999, 1).Fill(double.NaN);
            double[][] before = device.Values;
            state.Begin(step, 1e-2 / step);
            deviceState.Begin(step, 1e-2 / step);
            GradientClipping.Apply(host.Parameters, step == 2 ? null : 50, state);
            GradientClipping.Apply(device.Parameters, step == 2 ? null : 50, deviceState);
            expected.Step(state);
            optimizer.Step(deviceState);
            Assert.Equal(step != 3, deviceState.ReadFinite());
            if (step == 3) Assert.Equal(before, device.Values);
            else Assert.Equal(state.ReadGradientNorm(), deviceState.ReadGradientNorm(), 1e-12 * state.ReadGradientNorm());
            AssertClose(host.Values, device.Values, 1e-6);
            AssertClose(State(expected), State(optimizer), 1e-6);
        }
        Assert.Equal(3, optimizer.StepCount);
        using TensorScope scope = TensorScope.Begin();
        foreach (Parameter parameter in device.Parameters) Numeric.AssertSameBits(parameter.Master.To(dtype: dtype).To(Device.Cpu), parameter.Value.To(Device.Cpu));
    }

    [Fact]
    public void CudaTakesTheNormOfAnyGradients()
    {
        Device cuda = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        using var state = new StepState(cuda);
        var kernels = (IGradientNormKernels)cuda.Backend;
        kernels.GradientNorm([], 1, state.Buffer);
        Assert.Equal(0, state.ReadGradientNorm());
        // Squares beyond single precision, and a view at no multiple of 16 bytes.
        Tensor large = Tensor.Full([70001], 1e30).To(cuda), odd = Tensor.Full([9], 2).To(cuda).Narrow(0, 1, 5);
        kernels.GradientNorm([large], null, state.Buffer);
        Assert.Equal((double)1e30f * Math.Sqrt(70001), state.ReadGradientNorm(), 1e21);
        kernels.GradientNorm([odd, odd], 1, state.Buffer);
        Assert.Equal(Math.Sqrt(40), state.ReadGradientNorm(), 1e-12);
        Assert.True(state.ReadFinite());
    }

    [Fact]
    public void CudaStepsWithoutWaiting()
    {
        Device cuda = TestDevices.Cuda();
        using OptimizerCase run = new(DType.BFloat16, cuda);
        using var optimizer = new AdamW(run.Named, 0.01);
        run.SetGradients(1);
        optimizer.Step(1.0);
        var backend = (Varlen.Backends.Cuda.CudaBackend)cuda.Backend;
        long before = backend.Waits;
        optimizer.Step(1.0);
        Assert.Equal(before, backend.Waits);
    }
}
