using Varlen.Ops;

namespace Varlen.Autograd;

/// <summary>Runs recorded ops against the order of recording, each once, and releases what they saved on the way.</summary>
internal static class BackwardEngine
{
    public static void Run(Tensor root, Tensor? gradient)
    {
        GradientSlot slot = root.Slot ?? throw new InvalidOperationException("Backward: the tensor does not require a gradient; no recorded op made it from a tensor that does");
        if (slot.Producer is { IsReleased: true })
            throw new InvalidOperationException("Backward: the graph was released by an earlier Backward; run the forward pass again");
        if (gradient is null && root.Count != 1)
            throw new ArgumentException($"Backward: a tensor {root.Shape} has more than one element; pass the gradient of the loss with respect to it", nameof(gradient));
        if (gradient is not null && gradient.Shape != root.Shape)
            throw new ArgumentException($"Backward: gradient {gradient.Shape} does not fit {root.Shape}", nameof(gradient));
        if (gradient is not null) Op.SameDevice("Backward", root, gradient);

        using var region = GradMode.NoGrad();
        List<GradientNode> nodes = Reachable(slot.Producer);
        Seed(root, slot, gradient);
        // Nodes let go of their inputs as they finish; what has not run yet must survive that.
        foreach (GradientNode node in nodes)
            foreach (GradientSlot output in node.Outputs) output.Retain();
        using var pass = new BackwardPass();
        var leaves = new HashSet<GradientSlot>();
        if (slot.IsLeaf) leaves.Add(slot);
        int next = 0;
        try
        {
            for (; next < nodes.Count; next++)
            {
                RunNode(nodes[next], pass, leaves);
                Finish(nodes[next]);
            }
        }
        finally
        {
            // Only after a failure is anything left to let go of.
            for (; next < nodes.Count; next++) Finish(nodes[next]);
        }
        foreach (GradientSlot leaf in leaves) leaf.Complete();
    }

    private static void Finish(GradientNode node)
    {
        node.Release();
        foreach (GradientSlot output in node.Outputs)
        {
            output.DropBuffer();
            output.Release();
        }
    }

    private static void RunNode(GradientNode node, BackwardPass pass, HashSet<GradientSlot> leaves)
    {
        if (!Array.Exists(node.Outputs, output => output.Gathered is not null)) return;
        if (node.IsReleased)
            throw new InvalidOperationException($"Backward: the graph of {node.Name} was released by an earlier Backward; compute shared parts again, or add the losses and call Backward once");
        using var frame = TensorScope.Frame($"the backward of {node.Name}");
        pass.Enter(node);
        Op.Latest = node.Name;
        node.Run(pass);
        pass.Leave();
        foreach (NodeInput? input in node.Inputs)
            if (input is { Slot: { IsLeaf: true } leaf }) leaves.Add(leaf);
    }

    private static void Seed(Tensor root, GradientSlot slot, Tensor? gradient)
    {
        GradientTarget target = slot.Target(root.Shape, root.Strides, root.Offset);
        using Tensor view = target.Tensor!;
        if (gradient is not null)
        {
            ElementwiseCopy.Copy(gradient, view, target.Accumulate);
            return;
        }
        using Tensor one = Tensor.AllocateUntracked(root.Shape, slot.DType, slot.Device);
        ElementwiseCopy.Fill(one, 1);
        ElementwiseCopy.Copy(one, view, target.Accumulate);
    }

    private static List<GradientNode> Reachable(GradientNode? root)
    {
        var found = new HashSet<GradientNode>();
        var open = new Stack<GradientNode>();
        if (root is not null) open.Push(root);
        while (open.TryPop(out GradientNode? node))
        {
            if (!found.Add(node)) continue;
            foreach (NodeInput? input in node.Inputs)
                if (input?.Slot.Producer is { } producer) open.Push(producer);
        }
        var order = new List<GradientNode>(found);
        order.Sort((a, b) => b.Sequence.CompareTo(a.Sequence));
        return order;
    }
}
