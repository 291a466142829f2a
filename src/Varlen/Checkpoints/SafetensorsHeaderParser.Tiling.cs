namespace Varlen.Checkpoints;

/// <summary>The tensors' bytes must fill the data exactly: no byte is shared, and none is left where something could hide.</summary>
internal ref partial struct SafetensorsHeaderParser
{
    private readonly void RequireTiling()
    {
        // Writers list tensors in the order of their data; only a file that does not needs sorting.
        if (Tiles()) return;
        int count = _names.Count;
        var begins = new long[count];
        var order = new int[count];
        for (int i = 0; i < count; i++) (begins[i], order[i]) = (_records[i].Begin, i);
        Array.Sort(begins, order);

        long covered = 0, previousBegin = 0;
        int previous = -1;
        foreach (int index in order)
        {
            SafetensorsRecord record = _records[index];
            if (Continues(record, covered, previousBegin))
            {
                if (!record.IsEmpty) (covered, previousBegin, previous) = (record.End, record.Begin, index);
            }
            else if (record.Begin > covered)
                throw Fail($"{record.Begin - covered} bytes before tensor {Name(index)} belong to no tensor", At(index), $"the data is covered to byte {covered} and the tensor starts at {record.Begin}", Rewrite);
            else
                throw Fail($"tensors {Name(previous)} and {Name(index)} overlap", At(index), $"the first covers bytes {previousBegin} to {covered}, the second starts at {record.Begin}", Rewrite);
        }
        if (covered != _dataLength)
            throw Fail($"{_dataLength - covered} bytes after the last tensor belong to no tensor", _json.Length + covered, "nothing may follow the data", Rewrite);
    }

    private readonly bool Tiles()
    {
        long covered = 0, previousBegin = 0;
        foreach (SafetensorsRecord record in _records.AsSpan(0, _names.Count))
        {
            if (!Continues(record, covered, previousBegin)) return false;
            if (!record.IsEmpty) (covered, previousBegin) = (record.End, record.Begin);
        }
        return covered == _dataLength;
    }

    // Sorting by begin alone may put an empty tensor after the one that starts at the same byte.
    private static bool Continues(SafetensorsRecord record, long covered, long previousBegin) =>
        record.Begin == covered || (record.IsEmpty && record.Begin == previousBegin);

    private readonly string Name(int index) => JsonText.Quote(_names[index]);

    private readonly long At(int index) => _names.StartOf(index);
}
