using System.Text;
using System.Text.Json.Nodes;

namespace Varlen.Cli.Terminal;

/// <summary>Turns a failure into a message on the error stream, with --json one object on the output, and an exit code.</summary>
internal static class ErrorReport
{
    /// <summary>Reports a failure.</summary>
    /// <param name="failure">Whatever ended the command.</param>
    /// <param name="json">Whether the caller reads JSON.</param>
    /// <param name="verbose">Whether to show where the exception came from.</param>
    /// <returns>The exit code.</returns>
    public static int Write(Exception failure, bool json, bool verbose)
    {
        CommandException error = Describe(failure);
        try
        {
            Console.Error.Write(Text(error));
            if (verbose) Console.Error.WriteLine(failure);
            if (json) JsonOutput.Write(Object(error));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Nobody can be told, as when an output is a file on the disk that is full; the code is what is left.
        }
        return (int)error.Code;
    }

    /// <summary>The failure in four parts; exceptions that no command foresaw become the code they stand for.</summary>
    public static CommandException Describe(Exception failure) => failure switch
    {
        CommandException error => error,
        OutOfDeviceMemoryException => new(ExitCode.OutOfMemory, "the device's memory is exhausted", why: failure.Message, fix: "lower --batch-tokens, the context or the model", cause: failure),
        OutOfMemoryException => new(ExitCode.OutOfMemory, "not enough memory", why: failure.Message, fix: "use a smaller input, or fewer tokens a batch", cause: failure),
        CudaUnavailableException => new(ExitCode.DeviceUnavailable, "the CUDA device is not available", why: failure.Message, fix: "use --device cpu; varlen info lists the devices", cause: failure),
        CudaFaultException => new(ExitCode.InternalError, "the CUDA device has faulted", why: failure.Message, fix: "this is a defect of varlen, or of the device: report it with the output of VARLEN_SYNC=1 and --verbose; a run goes on from its last checkpoint by --resume", cause: failure),
        CudaException => new(ExitCode.DeviceUnavailable, "the CUDA device or its libraries failed", why: failure.Message, fix: "check the driver with nvidia-smi, or use --device cpu", cause: failure),
        _ when DataErrors.Describe(failure) is { } known => known,
        OperationCanceledException => new(ExitCode.Interrupted, "interrupted", cause: failure),
        IOException => new(ExitCode.InputOutput, "reading or writing failed", why: failure.Message, fix: "check that the disk has space and is in order, then try again", cause: failure),
        UnauthorizedAccessException => new(ExitCode.Permission, "the operation is not permitted", why: failure.Message, fix: "check the permissions of the file and its folder", cause: failure),
        _ => new(ExitCode.InternalError, $"internal error: {failure.GetType().Name}", why: failure.Message, fix: "this is a defect of varlen: please report it with the output of --verbose", cause: failure),
    };

    internal static string Text(CommandException error)
    {
        var text = new StringBuilder($"error: {Printable.Text(error.Message)}\n");
        Line("where", error.Where);
        Line("why", error.Why);
        Line("fix", error.Fix);
        text.Length--;
        return text.Append(System.Globalization.CultureInfo.InvariantCulture, $"  [exit {(int)error.Code}]\n").ToString();

        void Line(string name, string? value)
        {
            if (value is not null) text.Append("  ").Append(name.PadRight(7)).Append(Printable.Text(value.ReplaceLineEndings("\n         "), lines: true)).Append('\n');
        }
    }

    private static JsonObject Object(CommandException error) => new()
    {
        ["status"] = "error",
        ["exit"] = (int)error.Code,
        ["error"] = new JsonObject
        {
            ["code"] = error.Code.Name(),
            ["what"] = error.Message,
            ["where"] = error.Where,
            ["why"] = error.Why,
            ["fix"] = error.Fix,
        },
    };
}
