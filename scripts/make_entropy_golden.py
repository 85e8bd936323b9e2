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


# --- what tiles.md says --------------------------------------------------------------------------


def pack_rows(codes, row_widths):
    """codes [rows, H], along the channels -> kCodes"""
    out = b""
    for row, n in zip(codes, row_widths):
        for first in range(0, len(row), 8):
            word = sum(int(code) << (k * n) for k, code in enumerate(row[first:first + 8]))
            out += word.to_bytes(n, "little")
    return out


# --- what entropy.md says ------------------------------------------------------------------------


def zero_code(lo, step, n):
    if step == 0:
        return 0
    t = (F32(0) - lo) * (F32(1) / step)
    return int(np.clip(np.rint(t), 0, 2**n - 1))


class Octets:
    """One range and width a channel."""

    def __init__(self, ranges, widths, rows):
        self.shape = (rows, len(widths))
        self.n = np.tile(widths, (rows, 1))
        zeros = [zero_code(*entry) for entry in zip(*read_ranges(ranges, len(widths)), widths)]
        self.zeros = np.tile(zeros, (rows, 1))
        self.pack = lambda codes: pack_codes(codes, widths)


class Tiles:
    """One range a tile of a row, one width a row."""

    def __init__(self, scales, tile_size, row_widths, channels):
        self.shape = (len(row_widths), channels)
        self.n = np.tile(np.array(row_widths)[:, None], (1, channels))
        tiles = -(-channels // tile_size)
        numbers = (np.frombuffer(scales, "<u2").astype(np.uint32) << 16).view(F32)
        numbers = numbers.reshape(len(row_widths), tiles, 2)
        self.zeros = np.array([[zero_code(*numbers[r, c // tile_size], n) for c in range(channels)]
                               for r, n in enumerate(row_widths)])
        self.pack = lambda codes: pack_rows(codes, row_widths)


def rotate(values, layout, relative, sign):
    if not relative:
        return np.array(values, np.int64)
    return (values + sign * (2**layout.n // 2 - layout.zeros)) % 2**layout.n


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


def decode(layout, tables_section, coded):
    """-> kCodes"""
    rows, channels = layout.shape
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
    assert (symbols < 2**layout.n).all()
    return layout.pack(rotate(symbols, layout, relative, -1))


def encode(codes, layout, tables_section, class_of_row):
    rows, channels = codes.shape
    version, relative, row_classes, tables, classes = read_tables(tables_section, channels)
    symbols = rotate(codes, layout, relative, 1)
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


def tile_cases():
    rng = np.random.Generator(np.random.PCG64(20261123))
    row_widths = [4 if r % 5 else 3 for r in range(40)]
    lo = -rng.integers(0, 16, (40, 3)) / 4
    step = np.where(rng.random((40, 3)) < 0.05, 0.0, 0.25)
    zeros = np.where(step == 0, 0, -lo / 0.25)
    n = np.array(row_widths)[:, None]
    codes = np.clip(np.rint(rng.normal(np.repeat(zeros, 32, 1)[:, :83], 1.5)), 0, 2**n - 1)
    codes = np.where(np.repeat(step == 0, 32, 1)[:, :83], 0, codes).astype(int)
    scales = np.stack([lo, step], axis=2).astype(F32).view(np.uint32) >> 16
    # The classes of rows 1 and 0 are those of 3 and 4 bits; 3 bits centre at symbol 4.
    yield dict(name="tiles", tile_size=32, row_widths=row_widths, codes=codes, relative=1,
               ranges=scales.astype("<u2").tobytes(), rows_of=[int(w == 3) for w in row_widths],
               channels_of=[c % 2 for c in range(83)],
               classes=[(4, 0, [bell_bins(4, 0, 0.53, 0.08 + 0.04 * i), bell_bins(4, 0, 0.28, 0.1)])
                        for i in range(2)])


def serialize(case, layout, head):
    tables = write_tables(case.get("version", 7), case["relative"], case["classes"], case["channels_of"])
    coded = encode(case["codes"], layout, tables, case["rows_of"])
    packed = layout.pack(case["codes"])
    assert decode(layout, tables, coded) == packed
    out = head
    for section in (case["ranges"], tables, coded, packed):
        out += struct.pack("<I", len(section)) + section
    return out


def files():
    for case in cases():
        rows, channels = case["codes"].shape
        head = b"AMAQENT1" + struct.pack("<II", rows, channels) + bytes(case["widths"])
        yield f"{case['name']}.bin", serialize(case, Octets(case["ranges"], case["widths"], rows), head)
    for case in tile_cases():
        rows, channels = case["codes"].shape
        head = b"AMAQENT2" + struct.pack("<III", rows, channels, case["tile_size"])
        layout = Tiles(case["ranges"], case["tile_size"], case["row_widths"], channels)
        yield f"{case['name']}.bin", serialize(case, layout, head + bytes(case["row_widths"]))


def main():
    return write_or_check(__doc__.splitlines()[0], FOLDER, list(files()))


if __name__ == "__main__":
    sys.exit(main())
