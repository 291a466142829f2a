namespace Varlen.Cli.Terminal;

/// <summary>Ends a command with an exit code and a message in four parts.</summary>
/// <param name="code">How the process ends.</param>
/// <param name="what">What went wrong, in one line without a final stop.</param>
/// <param name="where">The file, tensor, index or option concerned.</param>
/// <param name="why">The reason.</param>
/// <param name="fix">What the user can do about it.</param>
/// <param name="cause">The exception behind it, shown with --verbose.</param>
internal sealed class CommandException(ExitCode code, string what, string? where = null, string? why = null, string? fix = null, Exception? cause = null)
    : Exception(what, cause)
{
    public ExitCode Code => code;
    public string? Where => where;
    public string? Why => why;
    public string? Fix => fix;

    /// <summary>The command line cannot be understood.</summary>
    public static CommandException Usage(string what, string? why = null, string? fix = null) => new(ExitCode.Usage, what, null, why, fix);
}
