namespace Varlen.Ops;

internal interface ICopyKernels
{
    /// <summary>destination (+)= source, element by element, converted; equal shapes, any strides, one device.</summary>
    void Copy(Tensor source, Tensor destination, bool accumulate);

    /// <summary>destination = value; any strides.</summary>
    void Fill(Tensor destination, double value);

    /// <summary>destination = value from an index along a dimension on; the index is a number on the device, Int32.</summary>
    void FillTail(Tensor destination, int dimension, Tensor first, double value);
}

/// <summary>Copies and fills outside of the graph: the base of transfers, conversions and gradient hand-over.</summary>
internal static class ElementwiseCopy
{
    public static void Copy(Tensor source, Tensor destination, bool accumulate)
        => Op.Require<ICopyKernels>("Copy", source, destination).Copy(source, destination, accumulate);

    public static void Fill(Tensor destination, double value) => Op.Require<ICopyKernels>("Fill", destination).Fill(destination, value);

    public static void FillTail(Tensor destination, int dimension, Tensor first, double value)
        => Op.Require<ICopyKernels>("FillTail", destination, first).FillTail(destination, dimension, first, value);
}
