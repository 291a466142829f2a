using Varlen.Text;

namespace Varlen.Data;

/// <summary>
/// Documents of text files and folders. A document is a file, or a record of a .jsonl file: a text, a prompt with its completion, or messages,
/// of which what is not trained is marked. All but messages, which end as their format says, get an end-of-text token. A named file is
/// read whatever its ending; in folders, which are searched whole and in the ordinal order of relative paths, endings of text and source code
/// are. Text is UTF-8, its line ends stay as they are. Memory does not grow with files, lines or words;
/// only examples are held, at most 64 MiB a record.
/// </summary>
/// <remarks>A word above 256 KiB is cut for the tokenizer. Folders that links reach by several paths are read once.</remarks>
public static class TextCorpus
{
    /// <summary>Reads texts and writes their ids to a token store.</summary>
    /// <param name="paths">Files and folders.</param>
    /// <param name="tokenizer">Text to ids.</param>
    /// <param name="storePath">The store; replaced when it exists, and only when everything was read.</param>
    /// <param name="options">How texts are read; the defaults when null.</param>
    /// <param name="progress">Gets the number of bytes that were read so far.</param>
    /// <param name="cancellationToken">Stops between blocks; no store is left then.</param>
    /// <exception cref="FileNotFoundException">A path is neither a file nor a folder.</exception>
    /// <exception cref="TextFormatException">A file is no UTF-8 text, lines are no records, or there is no text at all.</exception>
    /// <exception cref="IOException">A file cannot be read, changes while it is read, or the store cannot be written.</exception>
    public static CorpusSummary Tokenize(IEnumerable<string> paths, Tokenizer tokenizer, string storePath, TextCorpusOptions? options = null,
        IProgress<long>? progress = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(paths);
        ArgumentNullException.ThrowIfNull(tokenizer);
        using var writer = new TokenStoreWriter(storePath, tokenizer.VocabularySize, tokenizer.Fingerprint);
        var sink = new TokenSink(tokenizer, writer);
        CorpusReading reading = new CorpusReading(options ?? new(), sink, progress, cancellationToken).Read(paths);
        writer.Complete();
        return reading.Summarize(writer, sink.Counts);
    }

    /// <summary>The files that paths stand for, in the order in which they are read.</summary>
    /// <param name="paths">Files and folders.</param>
    /// <exception cref="FileNotFoundException">A path is neither a file nor a folder.</exception>
    /// <exception cref="TextFormatException">A folder holds no text.</exception>
    public static IReadOnlyList<string> Files(IEnumerable<string> paths)
    {
        ArgumentNullException.ThrowIfNull(paths);
        var files = new CorpusFiles();
        foreach (string path in paths) files.Add(path);
        return [.. files.Files.Select(file => file.Path)];
    }

    /// <summary>Bytes of the files that paths stand for, without reading them.</summary>
    /// <inheritdoc cref="Files" path="/param"/>
    /// <inheritdoc cref="Files" path="/exception"/>
    public static long Size(IEnumerable<string> paths) => Files(paths).Sum(CorpusFiles.LengthOf);

    /// <summary>Learns a byte-pair tokenizer from texts.</summary>
    /// <param name="paths">Files and folders.</param>
    /// <param name="vocabularySize">Number of ids, at least 257.</param>
    /// <param name="options">How texts are read; the defaults when null.</param>
    /// <param name="progress">Gets the number of bytes that were read so far.</param>
    /// <param name="cancellationToken">Stops between blocks.</param>
    /// <exception cref="ArgumentOutOfRangeException">The size is out of range.</exception>
    /// <inheritdoc cref="Tokenize" path="/exception"/>
    public static BytePairTokenizer TrainTokenizer(IEnumerable<string> paths, int vocabularySize, TextCorpusOptions? options = null,
        IProgress<long>? progress = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(paths);
        ArgumentOutOfRangeException.ThrowIfLessThan(vocabularySize, 257);
        var trainer = new BytePairTrainer();
        new CorpusReading(options ?? new(), new WordSink(trainer), progress, cancellationToken).Read(paths);
        return trainer.Train(vocabularySize);
    }
}
