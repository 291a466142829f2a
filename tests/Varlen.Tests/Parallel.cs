// Memory counters, thread teams and exact allocation figures are process-wide.
[assembly: Xunit.CollectionBehavior(DisableTestParallelization = true)]
