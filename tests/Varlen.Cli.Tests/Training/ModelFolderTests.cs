using System.Runtime.InteropServices;
using Xunit;

namespace Varlen.Cli.Tests.Training;

/// <summary>Model folders with faults, for generate, evaluate and train.</summary>
public sealed class ModelFolderTests(StraightRun straight) : IClassFixture<StraightRun>
{
    private readonly Workspace _workspace = straight.Workspace;

    [Fact]
    public void AllTensorsThatDoNotFitAreListedAtOnce()
    {
        string model = straight.CopyModel("tensors"), path = Path.Combine(model, "model.safetensors"), gone, bent;
        using (SafetensorsFile file = SafetensorsFile.Open(path))
        {
            SafetensorsTensor[] tensors = [.. file.Entries.Select(entry => Copy(file, entry))];
            (gone, bent) = (tensors[0].Name, tensors[1].Name);
            float[] values = [1, 2, 3];
            SafetensorsWriter.Write(path + ".new", [.. tensors[2..], New(bent, values), New("foreign", values)]);
        }
        File.Move(path + ".new", path, overwrite: true);
        foreach (string[] command in (string[][])[["generate", model], ["evaluate", model, _workspace["texts"]]])
            Cli.Run(command).AssertEnds(65, "3 tensors do not fit the model", gone, bent, "foreign", path);
        Cli.RunIn(_workspace.Path, "train", _workspace["texts"], "--model", model, "--out", _workspace["never"]).AssertEnds(65, "3 tensors do not fit the model", gone, bent, "foreign");
        Assert.False(Directory.Exists(_workspace["never"]));

        static SafetensorsTensor Copy(SafetensorsFile file, SafetensorsEntry entry)
        {
            var bytes = new byte[entry.ByteLength];
            file.Read(entry, 0, bytes.AsSpan());
            return new SafetensorsTensor(entry.Name, entry.DType, entry.Shape, bytes);
        }

        static SafetensorsTensor New(string name, float[] values) => new(name, DType.Float32, [values.Length], MemoryMarshal.AsBytes(values.AsSpan()).ToArray());
    }

    [Theory]
    [InlineData("lfs", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n", "git-LFS pointer", "git lfs pull")]
    [InlineData("html", "<!DOCTYPE html><html><head><title>Sign in</title></head></html>", "HTML", "download the file again")]
    [InlineData("pickle", "\u0080\u0002}q\u0000X\u0004\u0000\u0000\u0000testq\u0001K\u0001s.", "pickle", "never opened")]
    public void WhatStandsInPlaceOfWeightsIsNamed(string name, string content, string what, string fix)
    {
        string model = straight.CopyModel(name);
        File.WriteAllBytes(Path.Combine(model, "model.safetensors"), System.Text.Encoding.Latin1.GetBytes(content));
        foreach (string[] command in (string[][])[["generate", model], ["evaluate", model, _workspace["texts"]]])
            Cli.Run(command).AssertEnds(65, "", Path.Combine(model, "model.safetensors"), what, fix);
    }

    [Theory]
    [InlineData("tokenizer.json")]
    [InlineData("config.json")]
    [InlineData("model.safetensors")]
    public void AMissingFileIsNamed(string file)
    {
        string model = straight.CopyModel($"without-{file}");
        File.Delete(Path.Combine(model, file));
        Cli.Run("generate", model).AssertEnds(66, "a file is missing", Path.Combine(model, file));
        Cli.Run("evaluate", model, _workspace["texts"], "--json").AssertEnds(66, "a file is missing", file);
    }

    [Fact]
    public void FoldersThatAreNoneAndDamagedConfigurationsAreNamed()
    {
        Cli.Run("generate", _workspace["nowhere"]).AssertEnds(66, "there is no model", "nowhere");
        string model = straight.CopyModel("config"), config = Path.Combine(model, "config.json");
        File.WriteAllText(config, File.ReadAllText(config).Replace("\"n_embd\": 16", "\"n_embd\": -16", StringComparison.Ordinal));
        Cli.Run("generate", model).AssertEnds(65, "n_embd is -16", config);
        Cli.Run("evaluate", straight.Folder, _workspace["nowhere"]).AssertEnds(66, "a file is missing", "nowhere");
        Cli.Run("evaluate", straight.Folder, _workspace["texts"], "--context", "33").AssertEnds(2, "--context 33 is longer than the model's 32 positions");
    }

    [Fact]
    public void APretrainedModelIsTrainedFurtherWhereverTheRunIsResumed()
    {
        string model = straight.CopyModel("pretrained");
        CliResult result = Cli.RunIn(_workspace.Path, "train", _workspace["texts"], "--model", "pretrained", "--steps", "4", "--stop-after", "2", "--out", "further");
        Assert.True(result.ExitCode == 0, result.Error);
        // As when it was killed before its first checkpoint.
        Directory.Delete(_workspace["further/checkpoints"], recursive: true);
        result = Cli.Run("train", "--resume", _workspace["further"], "--json");
        Assert.True(result.ExitCode == 0, result.Error);
        double before = Cli.Run("evaluate", model, _workspace["texts"], "--json").Json().GetProperty("loss").GetDouble();
        Assert.InRange(result.Json().GetProperty("val_loss").GetDouble(), 0, before + 0.5);
    }
}
