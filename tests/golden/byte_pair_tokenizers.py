"""Writes tests/golden/tokenizers.json: ids and texts that HuggingFace's tokenizers gives for hard strings, for each kind of byte-level byte-pair tokenizer.

    python3 tests/golden/byte_pair_tokenizers.py          writes the file again
    python3 tests/golden/byte_pair_tokenizers.py 7 500    500 strings a tokenizer from seed 7, on the standard output

One small model is learned from random strings; the tokenizers share it and differ in how text is split, normalised and framed.
"""
import json
import pathlib
import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
BREAKS = r"\s*[\r\n]+|\s+(?!\S)|\s+"
PATTERNS = {
    "gpt2-split": r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""",
    "llama3": ENDINGS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + BREAKS,
    "qwen2": ENDINGS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + BREAKS,
}
LETTERS = ["a", "b", "i", "the", "The", "Don", "é", "e\u0301", "ß", "ſ", "\u212a", "İ", "ı", "ǅ", "ʰ", "ﬁ", "ŉ", "中文", "字", "ひら", "カタ", "か\u3099", "한국", "\u1112\u1161\u11ab", "שלום", "العربية", "ไทย", "हिन्दी", "𐐷", "𝒜", "\u212b", "\u0958"]
NUMBERS = ["0", "1", "12", "345", "6789", "²", "½", "Ⅷ", "٣", "५", "①", "〇", "𝟘"]
MARKS = ["\u0301", "\u0327\u0301", "\u0345", "\u20dd", "😀", "👨‍👩‍👧", "❤️", "🇩🇪", "🏽", "'", "’s", "''", "!", "?", ".", "-", "_", "#", "€", "«", "…", "\x00", "\x7f", "\u00ad", "\ue000", "\u0378", "\uffff", "\U0010ffff", "\ufffd"]
SHORT = ["'s", "'S", "'ſ", "'t", "'re", "'RE", "'ve", "'m", "'ll", "'LL", "'d", "'x"]
SPACES = [" ", " ", "  ", "\n", "\r\n", "\n\n", "\t", " \n ", "\x0b", "\x0c", "\x85", "\xa0", "\u1680", "\u2003", "\u200b", "\u2028", "\u202f", "\u3000", "\ufeff"]
ADDED = ["<|endoftext|>", "<|im_start|>", "<tool>", "<mask>", "word", "<x y>"]


def draw(rng, added):
    parts = []
    for _ in range(rng.randint(1, 12)):
        kind = rng.random()
        pool = LETTERS if kind < 0.35 else NUMBERS if kind < 0.45 else SHORT if kind < 0.53 else MARKS if kind < 0.65 else SPACES if kind < 0.92 else ADDED if added else LETTERS
        parts.append(rng.choice(pool) * (rng.randint(1, 4) if rng.random() < 0.2 else 1))
    return "".join(parts)


def learn(rng):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(vocab_size=420, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), max_token_length=8)
    tokenizer.train_from_iterator((draw(rng, False) for _ in range(3000)), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def splits():
    level, sequence = pre_tokenizers.ByteLevel, pre_tokenizers.Sequence
    yield "gpt2", level(add_prefix_space=False)
    yield "gpt2-prefix", level(add_prefix_space=True)
    for name, pattern in PATTERNS.items():
        yield name, sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), level(add_prefix_space=False, use_regex=False)])
    yield "smollm", sequence([pre_tokenizers.Digits(individual_digits=True), level(add_prefix_space=False, use_regex=True)])


def make(split, vocab, merges, rich):
    tokenizer = Tokenizer(models.BPE(vocab=dict(vocab), merges=list(merges), ignore_merges=rich))
    tokenizer.pre_tokenizer, tokenizer.decoder, tokenizer.post_processor = split, decoders.ByteLevel(), processors.ByteLevel(trim_offsets=False)
    tokenizer.add_special_tokens(["<|endoftext|>"])
    if rich:
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.add_special_tokens([AddedToken("<|im_start|>", special=True, normalized=False), AddedToken("<mask>", lstrip=True, special=True, normalized=False)])
        tokenizer.add_tokens([AddedToken("<tool>", rstrip=True, normalized=False), AddedToken("word", single_word=True), AddedToken("<x y>", normalized=False)])
        start, end = tokenizer.token_to_id("<|im_start|>"), tokenizer.token_to_id("<|endoftext|>")
        frame = processors.TemplateProcessing(single="<|im_start|> $A <|endoftext|>", pair="$A $B", special_tokens=[("<|im_start|>", start), ("<|endoftext|>", end)])
        tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), frame])
    return tokenizer


def case(tokenizer, text):
    tokenizer.encode_special_tokens = True
    plain = tokenizer.encode(text, add_special_tokens=False).ids
    tokenizer.encode_special_tokens = False
    return {"text": text, "plain": plain, "special": tokenizer.encode(text, add_special_tokens=False).ids, "framed": tokenizer.encode(text).ids, "decoded": tokenizer.decode(plain)}


def main():
    seed, count = (int(sys.argv[1]), int(sys.argv[2])) if len(sys.argv) == 3 else (1, 24)
    vocab, merges = learn(random.Random(1))
    rng = random.Random(seed)
    result = {"vocab": vocab, "merges": [" ".join(merge) for merge in merges], "tokenizers": []}
    for name, split in splits():
        for rich in (False, True):
            tokenizer = make(split, vocab, merges, rich)
            stages = json.loads(tokenizer.to_str())
            del stages["model"]
            texts = ["", " ", "word", "Don't 1234\n\n  stop"] + [draw(rng, True) for _ in range(count)]
            result["tokenizers"].append({"name": name + ("-rich" if rich else ""), "ignore_merges": rich, "stages": stages, "cases": [case(tokenizer, text) for text in texts]})
    text = json.dumps(result, separators=(",", ":")) + "\n"
    if len(sys.argv) == 3:
        sys.stdout.write(text)
    else:
        (pathlib.Path(__file__).parent / "tokenizers.json").write_text(text)


main()
