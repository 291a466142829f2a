using System.Buffers;
using System.Text;
using Varlen.Checkpoints;
using Varlen.Text;

namespace Varlen.Data;

/// <content>What a record means: a text, a prompt with its completion, or messages.</content>
internal sealed partial class JsonLineReader
{
    // A text passes piece by piece. The parts of an example stand in any order in its record, so they are held until all are known.
    private const int MostHeldBytes = 64 << 20, MostMessages = 1 << 16;
    private const string Prompt = "prompt", Completion = "completion", Messages = "messages", Role = "role", Content = "content";

    // A field that was named is all that is read.
    private readonly bool _textOnly = textField is not null;
    private readonly string _textField = textField ?? "text";
    private readonly ArrayBufferWriter<byte> _held = new();
    private readonly List<ChatMessage> _messages = [];
    private string? _kindField, _role, _content;
    private Range? _prompt, _completion;

    /// <summary>What the last record is.</summary>
    public RecordKind Kind { get; private set; }

    private void BeginRecord()
    {
        _held.ResetWrittenCount();
        _messages.Clear();
        (_kindField, _prompt, _completion) = (null, null, null);
    }

    private bool ReadField(string key)
    {
        if (key == _textField) return Is(RecordKind.Text, key) && ReadString(key, Use.Text);
        if (_textOnly) return SkipValue(1);
        return key switch
        {
            Prompt => Is(RecordKind.Completion, key) && Hold(key, out _prompt),
            Completion => Is(RecordKind.Completion, key) && Hold(key, out _completion),
            Messages => Is(RecordKind.Messages, key) && ReadMessages(),
            _ => SkipValue(1),
        };
    }

    private bool Is(RecordKind kind, string key)
    {
        if (_kindField is not null && kind != Kind) return Fail($"the record has {JsonText.Quote(_kindField)} and {JsonText.Quote(key)}; it is a text, a prompt with its completion, or messages");
        (_kindField, Kind) = (key, kind);
        return true;
    }

    private bool ReadString(string key, Use use) => Peek() == '"' ? ReadString(use) : Fail($"the field {JsonText.Quote(key)} is no string");

    private bool Hold(string key, out Range? range)
    {
        int start = _held.WrittenCount;
        bool good = ReadString(key, Use.Held);
        range = start.._held.WrittenCount;
        return good;
    }

    private bool HoldText(string key, out string? text)
    {
        bool good = Hold(key, out Range? range);
        text = good ? Encoding.UTF8.GetString(_held.WrittenSpan[range!.Value]) : null;
        return good;
    }

    private bool ReadMessages()
    {
        if (chat is null) return Fail($"the record has {JsonText.Quote(Messages)}, and no chat format says how they become text");
        if (Peek() != '[') return Fail($"the field {JsonText.Quote(Messages)} is no array");
        _ = chat.Value;
        return ReadArray(ReadMessage);
    }

    private bool ReadMessage()
    {
        if (Peek() != '{') return Fail("a message is an object with a role and a content");
        if (_messages.Count == MostMessages) return Fail($"the conversation has more than {MostMessages} messages");
        (_role, _content) = (null, null);
        if (!ReadObject(3, ReadMessageField)) return false;
        if (_role is null) return Fail($"message {_messages.Count + 1} has no {JsonText.Quote(Role)}");
        if (_content is null) return Fail($"message {_messages.Count + 1} has no {JsonText.Quote(Content)}");
        _messages.Add(new(_role, _content));
        return true;
    }

    private bool ReadMessageField(string key) => key switch
    {
        Role => HoldText(key, out _role),
        Content => HoldText(key, out _content),
        // What it says is part of the example, or decides what is trained.
        "tool_calls" or "function_call" or "weight" => Fail($"a message has {JsonText.Quote(key)}, which is not supported"),
        _ => SkipValue(3),
    };

    private bool EndRecord()
    {
        if (_kindField is null) return Fail($"the record has no field {JsonText.Quote(_textField)}{(_textOnly ? "" : $", nor {JsonText.Quote(Prompt)} and {JsonText.Quote(Completion)}, nor {JsonText.Quote(Messages)}")}");
        if (Kind == RecordKind.Completion)
        {
            if (_prompt is null || _completion is null) return Fail($"the record has a {(_prompt is null ? Completion : Prompt)} and no {(_prompt is null ? Prompt : Completion)}");
            sink.Part(trained: false);
            sink.Write(_held.WrittenSpan[_prompt.Value]);
            sink.Part(trained: true);
            sink.Write(_held.WrittenSpan[_completion.Value]);
        }
        return Kind != RecordKind.Messages || WriteMessages();
    }

    private bool WriteMessages()
    {
        if (!_messages.Exists(message => message.Role == "assistant")) return Fail("the conversation has no message of the assistant, so there is nothing to train");
        try
        {
            foreach (ChatSegment segment in chat!.Value.Render(_messages))
            {
                sink.Part(segment.Trained);
                if (segment.Token is { } token) sink.Token(token);
                else sink.Write(Encoding.UTF8.GetBytes(segment.Text));
            }
            return true;
        }
        catch (ArgumentException e)
        {
            return Fail(e.Message);
        }
    }
}
