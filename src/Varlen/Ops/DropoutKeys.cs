namespace Varlen.Nn;

/// <summary>
/// Which stream of random bits each row of a dropout draws from: its document's key and its position in the document. They follow the
/// token, not its place in a batch, so packed, padded and permuted batches drop the same elements. The default is one document with
/// key 0, in the order of rows.
/// </summary>
/// <param name="Documents">Document key of each row, Int64 (the bits of the unsigned key), <c>[rows]</c>; all 0 when null.</param>
/// <param name="Positions">Position of each row in its document, Int32, <c>[rows]</c>; the row's index when null.</param>
public readonly record struct DropoutKeys(Tensor? Documents, Tensor? Positions)
{
    /// <summary>The keys of a packed batch: the layout's document keys, and positions counted from each sequence's start.</summary>
    /// <param name="layout">Where sequences begin and end.</param>
    /// <param name="device">Where the dropout runs; the CPU when null.</param>
    /// <returns>Keys whose tensors belong to the current scope.</returns>
    public static DropoutKeys From(SequenceLayout layout, Device? device = null)
    {
        ArgumentNullException.ThrowIfNull(layout);
        var documents = new long[layout.TotalTokens];
        var positions = new int[layout.TotalTokens];
        for (int sequence = 0; sequence < layout.Count; sequence++)
        {
            (int start, int length) = layout[sequence];
            documents.AsSpan(start, length).Fill((long)layout.DocumentKeys[sequence]);
            for (int i = 0; i < length; i++) positions[start + i] = i;
        }
        return new DropoutKeys(Tensor.From(documents, [documents.Length], device), Tensor.From(positions, [positions.Length], device));
    }
}
