using System.Buffers.Binary;
using System.Text;

namespace Varlen.Tests.Checkpoints;

/// <summary>Files put together byte by byte from the format's description, never by the project's own writer.</summary>
internal static class SafetensorsBytes
{
    public static byte[] Assemble(string json, int data = 0) => Assemble(Encoding.UTF8.GetBytes(json), new byte[data]);

    public static byte[] Assemble(byte[] json, byte[] data) => WithLength((ulong)json.Length, [.. json, .. data]);

    public static byte[] WithLength(ulong length, byte[] rest)
    {
        var file = new byte[8 + rest.Length];
        BinaryPrimitives.WriteUInt64LittleEndian(file, length);
        rest.CopyTo(file, 8);
        return file;
    }

    public static byte[] WithLength(ulong length, string rest) => WithLength(length, Encoding.UTF8.GetBytes(rest));

    public static string Entry(string name, string shape, long begin, long end, string dtype = "F32") =>
        $$"""
        "{{name}}":{"dtype":"{{dtype}}","shape":{{shape}},"data_offsets":[{{begin}},{{end}}]}
        """;
}
