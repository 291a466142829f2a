"""Writes src/Varlen/Text/Normalization.txt: what Unicode's normalisation form C needs, from Python's copy of the character database."""
import pathlib
import unicodedata

lines = [f"# Canonical combining classes and decompositions of Unicode {unicodedata.unidata_version} (UnicodeData.txt, (c) Unicode, Inc., Unicode License V3).",
         "# Hangul syllables are computed. Made by tests/golden/normalization.py. All numbers are hexadecimal.",
         "# class FIRST LAST CLASS | joins COMPOSED FIRST SECOND | becomes VALUE PART..., which never joins again"]
ranges = []
for value in range(0x110000):
    combining = unicodedata.combining(chr(value))
    if not combining:
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
    joins = unicodedata.normalize("NFC", chr(value)) == chr(value)
    assert not joins or len(parts) == 2
    lines.append(f"{'joins' if joins else 'becomes'} {value:X} " + " ".join(f"{int(part, 16):X}" for part in parts))
path = pathlib.Path(__file__).parents[2] / "src/Varlen/Text/Normalization.txt"
path.write_text("\n".join(lines) + "\n", newline="\n")
print(f"{path}: {len(lines)} lines")
