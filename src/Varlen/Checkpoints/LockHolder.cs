using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Varlen.Checkpoints;

/// <summary>Who holds a run lock. Process numbers come again, so boot and start of the process tell whether it is the same.</summary>
internal sealed record LockHolder(int ProcessId, string Host, string Boot, string Start)
{
    public static LockHolder Current { get; } = new(Environment.ProcessId, Environment.MachineName, ReadBoot(), ReadStart(Environment.ProcessId) ?? "");

    /// <summary>Whether it runs, or runs on a host that cannot be asked. The present process is not its own rival.</summary>
    public bool MayBeAlive => this != Current && (Host != Current.Host || (Boot == Current.Boot && ReadStart(ProcessId) == Start));

    /// <summary>The holder of a lock that was just refused; it may not have written its file yet, and the one before it may have left its own.</summary>
    public static LockHolder? Find(string path)
    {
        for (int attempt = 0; attempt < 10; attempt++)
        {
            if (Read(path) is { } holder && (holder == Current || holder.MayBeAlive)) return holder;
            Thread.Sleep(20);
        }
        return null;
    }

    /// <summary>What a file says; null when there is none, or none that can be understood.</summary>
    public static LockHolder? Read(string path)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(path));
            JsonElement root = document.RootElement;
            return new(root.GetProperty("pid").GetInt32(), Text("host"), Text("boot"), Text("start"));

            string Text(string name) => root.GetProperty(name).GetString() ?? "";
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException or InvalidOperationException or KeyNotFoundException or FormatException)
        {
            return null;
        }
    }

    public void Write(string path)
    {
        // Replaced in one step: a process that is refused reads it at any time.
        string temporary = $"{path}.{ProcessId}";
        File.WriteAllText(temporary, new JsonObject { ["pid"] = ProcessId, ["host"] = Host, ["boot"] = Boot, ["start"] = Start }.ToJsonString() + "\n");
        File.Move(temporary, path, overwrite: true);
    }

    private static string ReadBoot()
    {
        try
        {
            return OperatingSystem.IsLinux() ? File.ReadAllText("/proc/sys/kernel/random/boot_id").Trim() : "";
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return "";
        }
    }

    /// <summary>When a process started, in a form that is equal whoever asks; null when there is none.</summary>
    private static string? ReadStart(int processId)
    {
        try
        {
            if (OperatingSystem.IsLinux())
            {
                // Field 22 counts from boot; the name before it, in parentheses, may hold anything.
                string stat = File.ReadAllText($"/proc/{processId}/stat");
                string[] fields = stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
                return fields[0] is "Z" or "X" ? null : fields[19];
            }
            using Process process = Process.GetProcessById(processId);
            return process.StartTime.ToUniversalTime().Ticks.ToString(CultureInfo.InvariantCulture);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or InvalidOperationException or System.ComponentModel.Win32Exception)
        {
            return null;
        }
    }
}
