using Varlen.Cli.Terminal;
using Xunit;

namespace Varlen.Cli.Tests.Terminal;

public sealed class ErrorReportTests
{
    [Fact]
    public void Message_has_its_parts_in_order_and_only_those_given()
    {
        var error = new CommandException(ExitCode.BadData, "what", "here", "first\nsecond", "do this");
        Assert.Equal("error: what\n  where  here\n  why    first\n         second\n  fix    do this  [exit 65]\n", ErrorReport.Text(error));
        Assert.Equal("error: what  [exit 70]\n", ErrorReport.Text(new CommandException(ExitCode.InternalError, "what")));
    }

    [Fact]
    public void Foreign_exceptions_become_the_code_they_stand_for()
    {
        Assert.Equal(ExitCode.OutOfMemory, ErrorReport.Describe(new InsufficientMemoryException()).Code);
        Assert.Equal(ExitCode.InputOutput, ErrorReport.Describe(new IOException("disk")).Code);
        Assert.Equal(ExitCode.Permission, ErrorReport.Describe(new UnauthorizedAccessException()).Code);
        CommandException internalError = ErrorReport.Describe(new InvalidOperationException("the cause"));
        Assert.Equal(ExitCode.InternalError, internalError.Code);
        Assert.Equal("the cause", internalError.Why);
    }

    [Fact]
    public void Codes_have_stable_names_and_numbers()
    {
        Assert.Equal("input-unreadable", ExitCode.InputUnreadable.Name());
        Assert.Equal(
            [(0, "done"), (1, "check-failed"), (2, "usage"), (65, "bad-data"), (66, "input-unreadable"), (69, "device-unavailable"), (70, "internal-error"),
             (71, "out-of-memory"), (73, "output-unwritable"), (74, "input-output"), (75, "temporary"), (76, "diverged"), (77, "permission"), (78, "configuration"),
             (130, "interrupted"), (143, "terminated")],
            Enum.GetValues<ExitCode>().Select(code => ((int)code, code.Name())));
    }
}
