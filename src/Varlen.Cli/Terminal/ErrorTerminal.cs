namespace Varlen.Cli.Terminal;

/// <summary>What the error stream is connected to.</summary>
internal static class ErrorTerminal
{
    /// <summary>Whether a person watches: a terminal that can move its cursor. NO_COLOR and TERM=dumb ask for plain lines.</summary>
    public static bool IsInteractive { get; } =
        !Console.IsErrorRedirected && Environment.GetEnvironmentVariable("TERM") is not (null or "" or "dumb") && string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_COLOR"));

    /// <summary>Columns of the terminal; 80 when unknown.</summary>
    public static int Width
    {
        get
        {
            try
            {
                return Console.WindowWidth is > 0 and int width ? width : 80;
            }
            catch (Exception e) when (e is IOException or PlatformNotSupportedException)
            {
                return 80;
            }
        }
    }
}
