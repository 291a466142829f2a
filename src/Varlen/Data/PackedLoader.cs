using System.Runtime.ExceptionServices;
using System.Security.Cryptography;
using System.Text;

namespace Varlen.Data;

/// <summary>
/// Batches of a plan's training sequences without end: each epoch in an order of its own, every sequence once. One thread reads ahead into
/// arrays that are used again; the order depends on neither it nor on how far it is ahead.
/// </summary>
/// <remarks>Used by one thread at a time. The store must stay open until the loader is disposed.</remarks>
public sealed class PackedLoader : IDisposable
{
    private readonly TokenStore _store;
    private readonly SequencePlan _plan;
    private readonly LoaderOptions _options;
    private readonly Device? _device;
    private readonly object _gate = new();
    private readonly Queue<BatchAssembly> _ready = new();
    private readonly Stack<BatchAssembly> _free = new();
    private readonly Thread _reader;
    private ExceptionDispatchInfo? _failure;
    private bool _disposed;

    /// <summary>Begins to read ahead.</summary>
    /// <param name="store">The documents.</param>
    /// <param name="plan">A plan of that store.</param>
    /// <param name="options">How batches are made.</param>
    /// <param name="device">Device of the batches; the CPU when null.</param>
    /// <param name="position">Where to go on, from another loader's <see cref="Position"/>; the beginning when null. Reads no data that comes before.</param>
    /// <exception cref="ArgumentException">The plan is of another store or has nothing to train on, the budget is below the context, or the position is of other data or settings.</exception>
    public PackedLoader(TokenStore store, SequencePlan plan, LoaderOptions options, Device? device = null, LoaderPosition? position = null)
    {
        ArgumentNullException.ThrowIfNull(store);
        ArgumentNullException.ThrowIfNull(plan);
        ArgumentNullException.ThrowIfNull(options);
        plan.RequireStore(store, nameof(store));
        if (options.Prefetch < 1) throw new ArgumentException($"{options.Prefetch} batches cannot be read ahead; the least is 1", nameof(options));
        if (options.BatchTokens < plan.Context) throw new ArgumentException($"a batch of {options.BatchTokens} tokens cannot hold a sequence of {plan.Context}; raise BatchTokens or lower the context", nameof(options));
        if (!Enum.IsDefined(options.Policy)) throw new ArgumentException($"{options.Policy} is no packing policy", nameof(options));
        if (plan.Training.IsEmpty) throw new ArgumentException("the plan has no training sequences; it was made for evaluation", nameof(plan));
        string fingerprint = Fingerprint(plan, options);
        if (position is not null && position.Plan != fingerprint) throw new ArgumentException("the position belongs to other data or settings; resume with the same store, context, seed, budget and policy", nameof(position));
        if (position is { Epoch: < 0 } or { Batch: < 0 }) throw new ArgumentException($"there is no batch {position.Batch} in epoch {position.Epoch}; both count from 0", nameof(position));

        (_store, _plan, _options, _device) = (store, plan, options, device);
        Limits = BatchLimits.Of(plan.Training.Span, options.BatchTokens);
        Position = position ?? new(fingerprint, 0, 0, 0, 0);
        for (int i = 0; i <= options.Prefetch; i++) _free.Push(new());
        _reader = new(ReadAhead) { IsBackground = true, Name = "Varlen batches" };
        _reader.Start();
    }

    /// <summary>What no batch passes: the budget, and as many sequences as the shortest ones that fit into it.</summary>
    public BatchLimits Limits { get; }

    /// <summary>Where the loader stands: the batch that <see cref="Next"/> gives next.</summary>
    public LoaderPosition Position { get; private set; }

    /// <summary>The next batch, which the caller disposes.</summary>
    /// <exception cref="TextFormatException">The store is damaged. Any failure of reading ahead is thrown here.</exception>
    public PackedBatch Next()
    {
        BatchAssembly assembly;
        lock (_gate)
        {
            while (_ready.Count == 0)
            {
                ObjectDisposedException.ThrowIf(_disposed, this);
                _failure?.Throw();
                Monitor.Wait(_gate);
            }
            ObjectDisposedException.ThrowIf(_disposed, this);
            assembly = _ready.Dequeue();
        }
        PackedBatch batch = assembly.ToBatch(_device);
        Position = assembly.After!;
        lock (_gate)
        {
            _free.Push(assembly);
            Monitor.PulseAll(_gate);
        }
        return batch;
    }

    /// <summary>Stops reading ahead.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            if (_disposed) return;
            _disposed = true;
            Monitor.PulseAll(_gate);
        }
        _reader.Join();
    }

    private static string Fingerprint(SequencePlan plan, LoaderOptions options)
        => Convert.ToHexStringLower(SHA256.HashData(Encoding.ASCII.GetBytes($"{plan.Fingerprint} {options.BatchTokens} {options.Policy} {options.Seed}")));

    private void ReadAhead()
    {
        try
        {
            ReadEpochs(Position);
        }
        catch (Exception failure)
        {
            lock (_gate)
            {
                _failure = ExceptionDispatchInfo.Capture(failure);
                Monitor.PulseAll(_gate);
            }
        }
    }

    private void ReadEpochs(LoaderPosition at)
    {
        while (true)
        {
            PackedEpoch epoch = PackedEpoch.Create(_plan.Training.Span, _options.BatchTokens, _options.Policy, _options.Seed, at.Epoch);
            RequireWhole(epoch);
            if (at.Batch >= epoch.Count) throw new ArgumentException($"position: epoch {at.Epoch} has {epoch.Count} batches, and batch {at.Batch} was asked for; use the position as the loader gave it");
            for (int batch = at.Batch; batch < epoch.Count; batch++)
            {
                if (Take() is not { } assembly) return;
                assembly.Fill(_store, epoch[batch], _options.BatchTokens);
                bool last = batch == epoch.Count - 1;
                at = at with { Epoch = last ? at.Epoch + 1 : at.Epoch, Batch = last ? 0 : batch + 1, Batches = at.Batches + 1, Tokens = at.Tokens + assembly.Tokens };
                assembly.After = at;
                lock (_gate)
                {
                    _ready.Enqueue(assembly);
                    Monitor.PulseAll(_gate);
                }
            }
        }
    }

    // The ledger of the epoch.
    private void RequireWhole(PackedEpoch epoch)
    {
        long tokens = 0;
        for (int batch = 0; batch < epoch.Count; batch++)
            foreach (SequenceChunk chunk in epoch[batch]) tokens += chunk.Length;
        if (tokens != _plan.TrainingTokens) throw new InvalidOperationException($"the ledger of the epoch does not balance: the plan trains {_plan.TrainingTokens} tokens, and the batches have {tokens}");
    }

    private BatchAssembly? Take()
    {
        lock (_gate)
        {
            while (!_disposed && _free.Count == 0) Monitor.Wait(_gate);
            return _disposed ? null : _free.Pop();
        }
    }
}
