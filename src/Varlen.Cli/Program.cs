using System.CommandLine;
using Varlen.Cli.Commands;
using Varlen.Cli.Terminal;

// Everything after -- is literal.
bool Has(string option) => args.TakeWhile(arg => arg != "--").Contains(option);

try
{
    StandardStreams.Fill();
    var root = new RootCommand("""
        Variable-length attention and padding-free Transformer training.

        Results go to the standard output, progress and errors to the error stream.
        Exit codes: 0 done, 1 a check failed, 2 usage, 65 bad data, 66 unreadable input, 69 no such device, 70 internal error,
        71 out of memory, 73 unwritable output, 74 input/output error, 75 try again, 76 diverged, 77 permission,
        78 configuration, 130 interrupted, 143 terminated.
        """)
    {
        AttentionCommand.Create(), AuditCommand.Create(), BenchCommand.Create(), EvaluateCommand.Create(), GenerateCommand.Create(), InfoCommand.Create(), InspectCommand.Create(), TrainCommand.Create(),
    };
    root.Add(CommonOptions.Json);
    root.Add(CommonOptions.Verbose);
    // A file name may begin with @, so response files are off.
    ParseResult parse = root.Parse(args, new ParserConfiguration { ResponseFileTokenReplacer = null });
    if (parse.Action is not (System.CommandLine.Help.HelpAction or System.CommandLine.Invocation.SynchronousCommandLineAction { ClearsParseErrors: true })) UsageErrors.ThrowIfAny(parse);
    return parse.Invoke(new InvocationConfiguration { EnableDefaultExceptionHandler = false });
}
catch (Exception failure)
{
    return ErrorReport.Write(failure, Has("--json"), Has("--verbose"));
}
