using Varlen.Nn;
using Xunit;

namespace Varlen.Tests.Tensors;

public sealed class TensorScopeTests
{
    private sealed class Temporaries : Module<Tensor, (Tensor, Tensor)>
    {
        public Tensor? Inner { get; private set; }

        protected override (Tensor, Tensor) ForwardCore(Tensor input)
        {
            Inner = input.Clone();
            return (Inner.Clone(), input);
        }
    }

    [Fact]
    public void AFrameReleasesTemporariesAndHandsItsResultsToTheCaller()
    {
        Memory.AssertReleasesAll(() =>
        {
            using var module = new Temporaries();
            Tensor result;
            using (TensorScope.Begin())
            {
                Tensor input = Tensor.Ones([2]);
                (result, Tensor same) = module.Forward(input);
                Assert.Same(input, same);
                Assert.Equal([1f, 1f], result.ToArray<float>());
                var e = Assert.Throws<ObjectDisposedException>(() => module.Inner!.ToArray<float>());
                Assert.Contains("Tensor [2] was released when Temporaries.Forward ended; call Keep()", e.Message, StringComparison.Ordinal);
            }
            Assert.True(result.IsReleased);
        });
    }

    [Fact]
    public void AKeptTensorOutlivesItsScopeUntilItsHolderDisposesIt()
    {
        Memory.AssertReleasesAll(() =>
        {
            Tensor kept;
            using (TensorScope.Begin()) kept = Tensor.Full([3], 2).Keep();
            Assert.Equal([2f, 2f, 2f], kept.ToArray<float>());
            kept.Dispose();
            kept.Dispose();
            Assert.Throws<ObjectDisposedException>(() => kept.ToArray<float>());
        });
    }

    [Fact]
    public void ViewsShareAStorageByCount()
    {
        Memory.AssertReleasesAll(() =>
        {
            Tensor whole = Tensor.Full([4], 3);
            Tensor half = whole.Narrow(0, 2, 2);
            whole.Dispose();
            Assert.Equal([3f, 3f], half.ToArray<float>());
            half.Dispose();
        });
    }

    [Fact]
    public void AForgottenTensorIsCountedAsALeak()
    {
        long leaked = MemoryDiagnostics.LeakedCount;
        Forget();
        for (int i = 0; i < 10 && MemoryDiagnostics.LeakedCount == leaked; i++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }
        Assert.Equal(leaked + 1, MemoryDiagnostics.LeakedCount);

        [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.NoInlining)]
        static void Forget() => Tensor.Zeros([8]);
    }

    [Fact]
    public void ReturnReachesThroughNestedScopes()
    {
        Memory.AssertReleasesAll(() =>
        {
            Tensor inner = Outer();
            Assert.Equal(1, inner.Item());
            inner.Dispose();
        });

        static Tensor Outer()
        {
            using TensorScope outer = TensorScope.Begin();
            Tensor value;
            using (TensorScope middle = TensorScope.Begin()) value = middle.Return(Tensor.Ones([]));
            return outer.Return(value);
        }
    }
}
