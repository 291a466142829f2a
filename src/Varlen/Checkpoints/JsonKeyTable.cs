using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;

namespace Varlen.Checkpoints;

/// <summary>
/// The distinct keys of a JSON object, found by name. Keys stay where they are in the text: a hostile header with a million names
/// costs 18 to 24 bytes a name instead of an object each.
/// </summary>
internal sealed class JsonKeyTable
{
    private readonly ReadOnlyMemory<byte> _json;
    private Key[] _keys;
    private int[] _slots;
    private byte[] _added = [], _stored = [];

    /// <param name="json">The text; kept, not copied.</param>
    /// <param name="expected">How many keys to make room for at once.</param>
    public JsonKeyTable(ReadOnlyMemory<byte> json, int expected)
    {
        _json = json;
        _keys = new Key[Math.Max(expected, 1)];
        _slots = new int[SlotsFor(_keys.Length)];
    }

    public int Count { get; private set; }

    /// <summary>Adds the key whose opening quote is at <paramref name="start"/>; false when an equal key, unescaped, is there already.</summary>
    /// <param name="start">Position of the opening quote.</param>
    /// <param name="length">Bytes between the quotes.</param>
    /// <param name="escaped">Whether the text holds escapes.</param>
    public bool TryAdd(int start, int length, bool escaped)
    {
        if (Count == _keys.Length) Grow();
        var key = new Key(start, escaped ? ~length : length, 0);
        ReadOnlySpan<byte> name = Unescape(key, ref _added);
        int hash = Hash(name);
        int slot = Probe(name, hash, ref _stored);
        if (_slots[slot] != 0) return false;
        _keys[Count++] = key with { Hash = hash };
        _slots[slot] = Count;
        return true;
    }

    /// <summary>Position of a key in the order of addition, or -1. Safe to call from several threads once all keys are in.</summary>
    public int IndexOf(string name)
    {
        byte[] scratch = [];
        byte[] bytes = Encoding.UTF8.GetBytes(name);
        return _slots[Probe(bytes, Hash(bytes), ref scratch)] - 1;
    }

    /// <summary>Position of a key's opening quote.</summary>
    public int StartOf(int index) => _keys[index].Start;

    /// <summary>The unescaped key.</summary>
    public string this[int index]
    {
        get
        {
            byte[] scratch = [];
            return Encoding.UTF8.GetString(Unescape(_keys[index], ref scratch));
        }
    }

    // The slot of an equal key, or the empty one where it belongs.
    private int Probe(ReadOnlySpan<byte> name, int hash, ref byte[] scratch)
    {
        int mask = _slots.Length - 1;
        for (int slot = hash & mask; ; slot = (slot + 1) & mask)
        {
            int index = _slots[slot] - 1;
            if (index < 0 || (_keys[index].Hash == hash && name.SequenceEqual(Unescape(_keys[index], ref scratch)))) return slot;
        }
    }

    private ReadOnlySpan<byte> Unescape(Key key, ref byte[] scratch)
    {
        ReadOnlySpan<byte> json = _json.Span;
        if (key.Length >= 0) return json.Slice(key.Start + 1, key.Length);
        int length = ~key.Length;
        if (scratch.Length < length) scratch = new byte[Math.Max(256, length * 2)];
        var reader = new Utf8JsonReader(json.Slice(key.Start, length + 2));
        reader.Read();
        return scratch.AsSpan(0, reader.CopyString(scratch));
    }

    // The keyed hash of strings: a file cannot be made to collide without knowing this process's key.
    // The odd last byte is mixed in afterwards; 256 values of it cannot flood a slot.
    private static int Hash(ReadOnlySpan<byte> name)
    {
        int hash = string.GetHashCode(MemoryMarshal.Cast<byte, char>(name));
        return (name.Length & 1) == 0 ? hash : hash ^ ((name[^1] + 1) * -1640531535);
    }

    private void Grow()
    {
        Array.Resize(ref _keys, _keys.Length * 2);
        _slots = new int[SlotsFor(_keys.Length)];
        for (int i = 0; i < Count; i++) _slots[Probe(Unescape(_keys[i], ref _added), _keys[i].Hash, ref _stored)] = i + 1;
    }

    private static int SlotsFor(int keys) => (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)(keys + keys / 2 + 1));

    // Length is complemented when the text holds escapes.
    private readonly record struct Key(int Start, int Length, int Hash);
}
