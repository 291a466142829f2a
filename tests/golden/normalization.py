"""Writes src/Varlen/Text/Normalization.txt: what Unicode's normalisation form C needs, from Python's copy of the character database.

Only what HuggingFace's tokenizers knows is kept: its tables are of an older Unicode, and ids have to be the same.
"""
import pathlib
import unicodedata

import tokenizers

nfc = tokenizers.normalizers.NFC().normalize_str
left_out = 0

lines = [f"# Canonical combining classes and decompositions as HuggingFace's tokenizers has them (Unicode {unicodedata.unidata_version} without what is new since Unicode 9; UnicodeData.txt, (c) Unicode, Inc., Unicode License V3).",
         "# Hangul syllables are computed. Made by tests/golden/normalization.py. All numbers are hexadecimal.",
         "# class FIRST LAST CLASS | joins COMPOSED FIRST SECOND | becomes VALUE PART..., which never joins again"]
ranges = []
for value in range(0x110000):
    combining = unicodedata.combining(chr(value))
    if not combining:
        continue
    # A mark of another class shows whether the two are put into order.
    text = f"a\u0327{chr(value)}" if combining == 1 else f"a{chr(value)}\u0334"
    if nfc(text) == text:
        left_out += 1
        continue
    if ranges and ranges[-1][1] == value - 1 and ranges[-1][2] == combining:
        ranges[-1][1] = value
    else:
        ranges.append([value, value, combining])
lines += [f"class {first:X} {last:X} {combining:X}" for first, last, combining in ranges]
for value in range(0x110000):
    parts = unicodedata.decomposition(chr(value)).split()
    if not parts or parts[0].startswith("<") or 0xAC00 <= value <= 0xD7A3:
        continue
    whole = unicodedata.normalize("NFC", chr(value))
    if nfc(unicodedata.normalize("NFD", chr(value))) != whole or nfc(chr(value)) != whole:
        left_out += 1
        continue
    joins = unicodedata.normalize("NFC", chr(value)) == chr(value)
    assert not joins or len(parts) == 2
    lines.append(f"{'joins' if joins else 'becomes'} {value:X} " + " ".join(f"{int(part, 16):X}" for part in parts))
path = pathlib.Path(__file__).parents[2] / "src/Varlen/Text/Normalization.txt"
path.write_text("\n".join(lines) + "\n", newline="\n")
print(f"{path}: {len(lines)} lines; {left_out} newer characters are left out")
