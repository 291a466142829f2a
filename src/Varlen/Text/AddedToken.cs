namespace Varlen.Text;

/// <summary>A token that texts are searched for before they are split into words, as HuggingFace's <c>AddedToken</c>.</summary>
/// <param name="Id">Its id.</param>
/// <param name="Content">How it is spelled.</param>
/// <param name="IsSpecial">Whether it is only recognised on demand and left out of decoded text.</param>
/// <param name="SingleWord">Whether it is only recognised where no letter, digit or underscore touches it.</param>
/// <param name="TakesLeft">Whether it swallows the white space before it.</param>
/// <param name="TakesRight">Whether it swallows the white space behind it.</param>
/// <param name="IsNormalized">Whether it is searched for in normalised text, after those that are not.</param>
internal sealed record AddedToken(int Id, string Content, bool IsSpecial, bool SingleWord = false, bool TakesLeft = false, bool TakesRight = false, bool IsNormalized = false)
{
    /// <summary>Whether the model's vocabulary lists it too.</summary>
    public bool IsInVocabulary { get; init; }
}
