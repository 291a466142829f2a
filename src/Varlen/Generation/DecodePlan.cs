using System.Runtime.InteropServices;
using Varlen.Data;
using Varlen.Models;
using Varlen.Ops;
using Varlen.Training;

namespace Varlen.Generation;

/// <summary>A decoding step of one size, and the memory that it reads and writes: everything that differs between steps is numbers there.</summary>
internal sealed class DecodePlan : IDisposable
{
    // Numbers; parts of what is sent begin where the widest loads are aligned. Rows of logits, too.
    private const int Alignment = 64;

    private readonly KvCache _cache;
    private readonly DeviceSampler _sampler;
    private readonly int _rows, _keys, _columns, _moves;
    private readonly int[] _staged;
    private readonly int _tokens, _positions, _places, _lengths, _sampled, _table;
    private readonly Tensor _block, _sampledRows, _logits;
    private readonly Tensor? _seen;
    private readonly Batch _batch;
    private StepRecording? _recording;

    /// <param name="cache">Holds the sequences.</param>
    /// <param name="sampler">Draws the tokens.</param>
    /// <param name="rows">Most rows of a step.</param>
    /// <param name="keys">Most tokens of a sequence.</param>
    /// <param name="records">Whether to record the step, where a device can.</param>
    public DecodePlan(KvCache cache, DeviceSampler sampler, int rows, int keys, bool records)
    {
        (_cache, _sampler, _rows, _keys, _moves, _seen) = (cache, sampler, rows, keys, cache.Moves, sampler.Seen);
        CausalLanguageModel model = cache.Model;
        _columns = (keys + KvCache.PageSize - 1) / KvCache.PageSize;
        int count = 0;
        _tokens = Part(rows);
        _positions = Part(rows);
        _places = Part(rows);
        _lengths = Part(rows);
        _sampled = Part(rows * DeviceSampler.RowNumbers);
        _table = Part(rows * _columns);
        _staged = new int[count];
        _block = Tensor.AllocateUntracked([count], DType.Int32, model.Device);
        _sampledRows = _block.UntrackedView([rows, DeviceSampler.RowNumbers], [DeviceSampler.RowNumbers, 1], _sampled);
        Ids = Tensor.AllocateUntracked([rows], DType.Int32, model.Device);
        int stride = (model.VocabularySize + Alignment - 1) / Alignment * Alignment;
        using Tensor logits = Tensor.AllocateUntracked([rows, stride], model.DType, model.Device);
        _logits = logits.UntrackedView([rows, model.VocabularySize], [stride, 1], 0);
        _batch = new Batch(this);
        // The prompts have been read: what the model makes once and keeps is there.
        _recording = records ? StepRecording.Of(model, Step, isKnown: true) : null;

        int Part(int numbers)
        {
            int start = count;
            count += (numbers + Alignment - 1) / Alignment * Alignment;
            return start;
        }
    }

    /// <summary>The tokens that were drawn, Int32 <c>[rows]</c>.</summary>
    public Tensor Ids { get; }

    /// <summary>Most rows of a step.</summary>
    public int Rows => _rows;

    /// <summary>Whether runs are replays by now.</summary>
    public bool IsRecorded => _recording is { IsRecorded: true };

    /// <summary>Whether a step of so many rows, the longest of so many tokens, goes in here, and all memory is where it was.</summary>
    public bool Takes(int rows, int longest) => rows <= _rows && longest <= _keys && _moves == _cache.Moves && ReferenceEquals(_seen, _sampler.Seen);

    /// <summary>Starts a step on rows for which the cache has pages.</summary>
    /// <returns>Why steps are not recorded from now on; null while there is no reason.</returns>
    public string? Run(ReadOnlySpan<SampledRow> rows)
    {
        Fill(rows);
        _cache.Model.Device.Backend.CopyFromHost(MemoryMarshal.AsBytes(_staged.AsSpan()), _block.Pointer);
        if (_recording is null)
        {
            Step();
            return null;
        }
        try
        {
            _recording.Run();
            return null;
        }
        catch (NotSupportedException e)
        {
            // Run again, a step does the same again; if that is what is not supported, it says so.
            Step();
            _recording.Dispose();
            _recording = null;
            return e.Message;
        }
    }

    /// <summary>Logits of the first rows.</summary>
    public Tensor Logits(int rows) => _logits.Narrow(0, 0, rows);

    public void Dispose()
    {
        _recording?.Dispose();
        _batch.Dispose();
        _sampledRows.Dispose();
        _logits.Dispose();
        Ids.Dispose();
        _block.Dispose();
    }

    private void Fill(ReadOnlySpan<SampledRow> rows)
    {
        int largestToken = 0, longest = 0;
        Span<int> staged = _staged;
        Span<SampledRow> sampled = MemoryMarshal.Cast<int, SampledRow>(staged[_sampled..])[.._rows];
        for (int i = 0; i < rows.Length; i++)
        {
            (int sequence, int token) = (rows[i].Slot, rows[i].Token);
            int position = _cache.Lengths[sequence];
            ReadOnlySpan<int> pages = _cache.Pages(sequence);
            pages.CopyTo(staged[(_table + (i * _columns))..]);
            (staged[_tokens + i], staged[_positions + i], staged[_lengths + i]) = (token, position, position + 1);
            staged[_places + i] = (pages[position / KvCache.PageSize] * KvCache.PageSize) + (position % KvCache.PageSize);
            sampled[i] = rows[i];
            (largestToken, longest) = (Math.Max(largestToken, token), Math.Max(longest, position));
        }
        // Rows of nothing: a token that is read, no place to put it, no keys, no draw.
        int idle = _rows - rows.Length;
        staged.Slice(_tokens + rows.Length, idle).Clear();
        staged.Slice(_positions + rows.Length, idle).Clear();
        staged.Slice(_lengths + rows.Length, idle).Clear();
        staged.Slice(_places + rows.Length, idle).Fill(-1);
        sampled[rows.Length..].Fill(SampledRow.None);
        _batch.Set(largestToken, longest);
    }

    private void Step()
    {
        using TensorScope scope = TensorScope.Begin();
        _cache.Model.LastLogits(_batch, _logits);
        _sampler.Start(_logits, _sampledRows, Ids);
    }

    /// <summary>Each row one token of a sequence of its own.</summary>
    private sealed class Batch : TokenBatch
    {
        private readonly Tensor _places, _lengths, _table;

        public Batch(DecodePlan plan)
            : base(Part(plan, plan._tokens), Part(plan, plan._positions), SequenceLayout.FromLengths([.. Enumerable.Repeat(1, plan._rows)]))
        {
            (_places, _lengths) = (Part(plan, plan._places), Part(plan, plan._lengths));
            _table = plan._block.UntrackedView([plan._rows, plan._columns], [plan._columns, 1], plan._table);
            Attention = new KvCache.DecodeAttention(plan._cache, _places, new DecodeTable(_lengths, _table, KvCache.PageSize, plan._keys));
        }

        public void Set(int largestToken, int largestPosition) => (LargestToken, LargestPosition) = (largestToken, largestPosition);

        protected override void Dispose(bool disposing)
        {
            _places.Dispose();
            _lengths.Dispose();
            _table.Dispose();
            base.Dispose(disposing);
        }

        private static Tensor Part(DecodePlan plan, int start) => plan._block.UntrackedView([plan._rows], [1], start);
    }
}
