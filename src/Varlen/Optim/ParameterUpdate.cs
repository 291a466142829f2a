using Varlen.Nn;

namespace Varlen.Optim;

/// <summary>One parameter's tensors during an update, all dense and of one shape.</summary>
/// <param name="Parameter">The parameter.</param>
/// <param name="Master">Read and written.</param>
/// <param name="Copy">The 16-bit compute copy to refresh; null when ops read the master.</param>
/// <param name="Gradient">Read; of the master's type.</param>
/// <param name="State">Read and written; of the master's type.</param>
/// <param name="WeightDecay">This parameter's weight decay.</param>
internal readonly record struct ParameterUpdate(Parameter Parameter, Tensor Master, Tensor? Copy, Tensor Gradient, Tensor?[] State, double WeightDecay);
