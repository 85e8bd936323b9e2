#!/usr/bin/env python3
"""Writes tests/golden/entropy/*.bin: codes and the entropy-coded bytes that stand for them.

An implementation of docs/formats/entropy.md of its own, in numpy, that shares nothing with src/quant.
Each file is decoded again here, by the rules of that page alone, before it is written.

    venv/bin/python scripts/make_entropy_golden.py            # writes the files and their checksums
    venv/bin/python scripts/make_entropy_golden.py --check    # compares with what is stored; exit 1 if unequal
"""

import pathlib
import struct
import sys

import numpy as np

from golden_files import write_or_check

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "entropy"
F32 = np.float32
TOTAL = 1 << 14
LANES = 32


# --- what octet.md says --------------------------------------------------------------------------


def pack_codes(codes, widths):
    """codes [rows, H] -> kCodes"""
    rows, channels = codes.shape
    padded = np.zeros((-(-rows // 8) * 8, channels), np.int64)
    padded[:rows] = codes
    out = b""
    for first in range(0, len(padded), 8):
        for c in range(channels):
            n = widths[c]
            word = sum(int(padded[first + k, c]) << (k * n) for k in range(8))
            out += word.to_bytes(n, "little")
    return out


def read_ranges(section, channels):
    """kRanges -> lo, step"""
    bitmap = section[: -(-channels // 8)]
    at = len(bitmap)
    lo = []
    for c in range(channels):
        if bitmap[c // 8] >> (c % 8) & 1:
            lo.append(np.frombuffer(section, "<f4", 1, at)[0])
            at += 4
        else:
            bits = np.frombuffer(section, "<u2", 1, at)[0]
            lo.append(np.array([int(bits) << 16], np.uint32).view(F32)[0])
            at += 2
    steps = (np.frombuffer(section, "<u2", channels, at).astype(np.uint32) << 16).view(F32)
    return lo, steps


def bf16_ranges(lo, step):
    """kRanges of ranges whose lo is a bf16 number, or fp32 where step is 0"""
    channels = len(lo)
    bitmap = bytearray(-(-channels // 8))
    body = b""
    for c in range(channels):
        if step[c] == 0:
            bitmap[c // 8] |= 1 << (c % 8)
            body += F32(lo[c]).tobytes()
        else:
            body += F32(lo[c]).tobytes()[2:]
    return bytes(bitmap) + body + b"".join(F32(s).tobytes()[2:] for s in step)


# --- what entropy.md says ------------------------------------------------------------------------


def zero_codes(ranges, widths):
    codes = []
    for lo, step, n in zip(*read_ranges(ranges, len(widths)), widths):
        if step == 0:
            codes.append(0)
            continue
        t = (F32(0) - lo) * (F32(1) / step)
        codes.append(int(np.clip(np.rint(t), 0, 2**n - 1)))
    return codes


def rotate(values, widths, zeros, sign):
    out = np.array(values, np.int64)
    for c, n in enumerate(widths):
        middle = 2**n // 2
        out[:, c] = (out[:, c] + sign * (middle - zeros[c])) % 2**n
    return out


def pack_bits(values, bits):
    total = sum(int(v) << (i * bits) for i, v in enumerate(values))
    return total.to_bytes(-(-len(values) * bits // 8), "little")


def unpack_bits(data, count, bits):
    total = int.from_bytes(data, "little")
    assert total >> (count * bits) == 0, "spare bits"
    return [total >> (i * bits) & ((1 << bits) - 1) for i in range(count)]


def write_tables(version, relative, classes, class_of_channel):
    """classes: [(width, shift, [bins of row class 0, of row class 1, ...])]"""
    out = struct.pack("<IBBB", version, relative, len(classes[0][2]), len(classes))
    for width, shift, tables in classes:
        out += bytes([width + 16 * shift])
        for bins in tables:
            assert len(bins) == 2 ** (width - shift) and sum(bins) == TOTAL >> shift
            for f in bins:
                v = f - 1
                out += bytes([v]) if v < 128 else bytes([v & 127 | 128, v >> 7])
    return out + pack_bits(class_of_channel, (len(classes) - 1).bit_length())


def read_tables(data, channels):
    version, relative, row_classes, num_classes = struct.unpack_from("<IBBB", data)
    at, tables = 7, []
    for _ in range(num_classes):
        width, shift = data[at] & 15, data[at] >> 4
        at += 1
        for _ in range(row_classes):
            table = []
            for _ in range(2 ** (width - shift)):
                v = data[at]
                at += 1
                if v >= 128:
                    v = v & 127 | data[at] << 7
                    at += 1
                table += [v + 1] * 2**shift
            assert sum(table) == TOTAL
            tables.append(table)
    return version, relative, row_classes, tables, unpack_bits(
        data[at:], channels, (num_classes - 1).bit_length())


def decode(ranges, tables_section, coded, widths, rows):
    """-> kCodes"""
    channels = len(widths)
    version, relative, row_classes, tables, classes = read_tables(tables_section, channels)
    assert struct.unpack_from("<I", coded)[0] == version
    bits = (row_classes - 1).bit_length()
    at = 4 + -(-rows * bits // 8)
    class_of_row = unpack_bits(coded[4:at], rows, bits)
    x = list(struct.unpack_from("<32I", coded, at))
    words = list(struct.unpack_from(f"<{(len(coded) - at - 128) // 2}H", coded, at + 128))
    starts = [np.concatenate([[0], np.cumsum(t)]) for t in tables]
    symbols, used = np.zeros((rows, channels), np.int64), 0
    for r in range(rows):
        for c in range(channels):
            t = classes[c] * row_classes + class_of_row[r]
            lane = c % LANES
            position = x[lane] % TOTAL
            s = int(np.searchsorted(starts[t], position, side="right")) - 1
            x[lane] = tables[t][s] * (x[lane] // TOTAL) + position - int(starts[t][s])
            if x[lane] < 1 << 16:
                x[lane] = x[lane] << 16 | words[used]
                used += 1
            symbols[r, c] = s
    assert used == len(words) and x == [1 << 16] * LANES
    zeros = zero_codes(ranges, widths) if relative else [2**n // 2 for n in widths]
    return pack_codes(rotate(symbols, widths, zeros, -1), widths)


def encode(codes, widths, ranges, tables_section, class_of_row):
    rows, channels = codes.shape
    version, relative, row_classes, tables, classes = read_tables(tables_section, channels)
    zeros = zero_codes(ranges, widths) if relative else [2**n // 2 for n in widths]
    symbols = rotate(codes, widths, zeros, 1)
    x, words = [1 << 16] * LANES, []
    for r in reversed(range(rows)):
        for c in reversed(range(channels)):
            table = tables[classes[c] * row_classes + class_of_row[r]]
            s, lane = int(symbols[r, c]), c % LANES
            f, start = table[s], sum(table[:s])
            if x[lane] >= f << 18:
                words.append(x[lane] & 0xFFFF)
                x[lane] >>= 16
            x[lane] = (x[lane] // f << 14) + x[lane] % f + start
    out = struct.pack("<I", version) + pack_bits(class_of_row, (row_classes - 1).bit_length())
    return out + struct.pack("<32I", *x) + struct.pack(f"<{len(words)}H", *reversed(words))


# --- cases ---------------------------------------------------------------------------------------


def bell_bins(width, shift, centre, spread):
    bins = 2 ** (width - shift)
    place = (np.arange(bins) + 0.5) / bins
    share = np.exp(-((place - centre) ** 2) / (2 * spread**2))
    total = TOTAL >> shift
    out = np.maximum(1, np.floor(share / share.sum() * (total - bins))).astype(int)
    out[int(out.argmax())] += total - out.sum()
    return [int(v) for v in out]


def cases():
    rng = np.random.Generator(np.random.PCG64(20261122))
    yield dict(name="example", widths=[1, 2], codes=np.array([[1, 2], [0, 2]]), relative=0,
               ranges=bf16_ranges([0, 0], [1, 1]), rows_of=[0, 0], channels_of=[0, 1],
               version=1,
               classes=[(1, 0, [[8192, 8192]]), (2, 0, [[1, 1, 16381, 1]])])

    widths = [int(n) for n in rng.integers(0, 9, 70)]
    order = sorted(set(widths))
    codes = np.stack([np.clip(np.rint(rng.normal((2**n - 1) / 2, 2**n / 6, 45)), 0, 2**n - 1)
                      for n in widths], axis=1).astype(int)
    shifts = {n: max(0, min(4, n - 4)) for n in order}
    yield dict(name="mixed", widths=widths, codes=codes, relative=0,
               ranges=bf16_ranges([-1.0] * 70, [0.5 if n else 0.0 for n in widths]),
               rows_of=[0] * 45, channels_of=[order.index(n) for n in widths],
               classes=[(n, shifts[n], [bell_bins(n, shifts[n], 0.5, 0.18)]) for n in order])

    lo = [float(F32(v)) for v in -rng.integers(1, 12, 40) / 4]
    codes = np.stack([np.clip(np.rint(rng.normal(-v / 0.5, 1.2, 33)), 0, 7) for v in lo],
                     axis=1).astype(int)
    yield dict(name="relative", widths=[3] * 40, codes=codes, relative=1,
               ranges=bf16_ranges(lo, [0.5] * 40), rows_of=[int(v) for v in rng.integers(0, 5, 33)],
               channels_of=[int(v) for v in rng.integers(0, 3, 40)],
               classes=[(3, 0, [bell_bins(3, 0, 0.55, 0.06 * (1 + i + t)) for t in range(5)])
                        for i in range(3)])


def serialize(case):
    widths, codes = case["widths"], case["codes"]
    tables = write_tables(case.get("version", 7), case["relative"], case["classes"], case["channels_of"])
    coded = encode(codes, widths, case["ranges"], tables, case["rows_of"])
    packed = pack_codes(codes, widths)
    assert decode(case["ranges"], tables, coded, widths, len(codes)) == packed
    out = b"AMAQENT1" + struct.pack("<II", *codes.shape) + bytes(widths)
    for section in (case["ranges"], tables, coded, packed):
        out += struct.pack("<I", len(section)) + section
    return out


def main():
    return write_or_check(__doc__.splitlines()[0], FOLDER,
                          [(f"{case['name']}.bin", serialize(case)) for case in cases()])


if __name__ == "__main__":
    sys.exit(main())
