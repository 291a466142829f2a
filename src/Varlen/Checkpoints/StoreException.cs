namespace Varlen.Checkpoints;

/// <summary>An operation of a store that failed, with what and where; becomes a <see cref="CheckpointSaveException"/>.</summary>
internal sealed class StoreException(string operation, string path, Exception cause) : IOException($"{operation} {path}: {cause.Message}", cause)
{
    public string Operation => operation;

    public string Path => path;

    public static void Run(string operation, string path, Action action) => Run(operation, path, () =>
    {
        action();
        return true;
    });

    public static T Run<T>(string operation, string path, Func<T> action)
    {
        try
        {
            return action();
        }
        catch (Exception cause) when (cause is IOException or UnauthorizedAccessException)
        {
            throw new StoreException(operation, path, cause);
        }
    }
}
