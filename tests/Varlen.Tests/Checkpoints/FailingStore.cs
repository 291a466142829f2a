using Microsoft.Win32.SafeHandles;
using Varlen.Checkpoints;

namespace Varlen.Tests.Checkpoints;

/// <summary>Counts the operations of a store and makes one of them fail, alone or with all that follow.</summary>
internal sealed class FailingStore(IFileStore inner) : IFileStore
{
    private int _code, _failAt;
    private bool _lasting;

    public int Count { get; private set; }

    /// <summary>Operations that failed: which, and on what.</summary>
    public List<(string Operation, string Path)> Failed { get; } = [];

    /// <param name="number">Number of the operation from now on, counted from 1; 0 for none.</param>
    /// <param name="code">The system's error code.</param>
    /// <param name="lasting">Whether all later ones fail too.</param>
    public void Arm(int number, int code, bool lasting)
    {
        (_failAt, _code, _lasting, Count) = (number, code, lasting, 0);
        Failed.Clear();
    }

    public void CreateFolder(string path)
    {
        Pass("create folder", path);
        inner.CreateFolder(path);
    }

    public Stream CreateFile(string path)
    {
        Pass("create file", path);
        return new FailingStream(this, inner.CreateFile(path), path);
    }

    public void SyncFile(Stream file)
    {
        Pass("sync file", ((FailingStream)file).Path);
        inner.SyncFile(((FailingStream)file).Inner);
    }

    public void SyncFolder(string path)
    {
        Pass("sync folder", path);
        inner.SyncFolder(path);
    }

    public void RenameFolder(string from, string to)
    {
        Pass("rename", from);
        inner.RenameFolder(from, to);
    }

    public string[] List(string path)
    {
        Pass("list", path);
        return inner.List(path);
    }

    public SafeFileHandle OpenFile(string path)
    {
        Pass("open", path);
        return inner.OpenFile(path);
    }

    public void DeleteFile(string path)
    {
        Pass("delete file", path);
        inner.DeleteFile(path);
    }

    public void DeleteFolder(string path)
    {
        Pass("delete folder", path);
        inner.DeleteFolder(path);
    }

    public long? FreeBytes(string path) => inner.FreeBytes(path);

    private void Pass(string operation, string path)
    {
        if (++Count != _failAt && !(_lasting && _failAt > 0 && Count > _failAt)) return;
        Failed.Add((operation, path));
        throw new IOException($"injected error {_code}", _code);
    }

    private sealed class FailingStream(FailingStore store, Stream inner, string path) : Stream
    {
        public Stream Inner => inner;

        public string Path => path;

        public override bool CanRead => false;

        public override bool CanSeek => false;

        public override bool CanWrite => true;

        public override long Length => inner.Length;

        public override long Position { get => inner.Position; set => inner.Position = value; }

        public override void Write(ReadOnlySpan<byte> buffer)
        {
            try
            {
                store.Pass("write", path);
            }
            catch (IOException)
            {
                // A disk that fills up takes a part first.
                inner.Write(buffer[..(buffer.Length / 2)]);
                throw;
            }
            inner.Write(buffer);
        }

        public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

        public override void Flush() => inner.Flush();

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        protected override void Dispose(bool disposing)
        {
            inner.Dispose();
            base.Dispose(disposing);
        }
    }
}
