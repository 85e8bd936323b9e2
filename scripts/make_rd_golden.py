#!/usr/bin/env python3
"""Writes tests/golden/rd/*.bin: runs of rate-distortion coded messages and the values they stand for.

An implementation of docs/formats/rd.md of its own, in numpy, that shares nothing with src/quant. Each
message is decoded again here, by the rules of that page alone, before it is written.

    venv/bin/python scripts/make_rd_golden.py            # writes the files and their checksums
    venv/bin/python scripts/make_rd_golden.py --check    # compares with what is stored; exit 1 if unequal
"""

import math
import pathlib
import struct
import sys

import numpy as np

from golden_files import write_or_check

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "rd"
F32 = np.float32
TOTAL = 1 << 14
LANES = 32
TABLES = 80
LIMIT = 2**32 - 1
ONE_LANE = 1 << 15
BLOCK = 1 << 18
MIDDLE = 4
ROW_WEIGHTS = [round(256 * 2 ** ((r - 4) / 2)) for r in range(8)]
# ceil(2^31 * 2^(j/16)) and the fp32 number next to 2^(j/16)
BOUNDS = [math.isqrt(math.isqrt(math.isqrt(math.isqrt(2 ** (16 * 31 + j) - (j != 0))))) + (j != 0)
          for j in range(16)]
POWERS = [F32(2 ** (j / 16)) for j in range(16)]


# --- tables --------------------------------------------------------------------------------------


def shape_of(t):
    """-> low_bits, largest, scale of the bins"""
    scale = 2 ** ((t - 32) % 4 / 4) * 2.0 ** ((t - 32) // 4)
    low_bits = 0
    while scale >= 16:
        scale, low_bits = scale / 2, low_bits + 1
    return low_bits, min(127, 2 + int(9 * scale)), scale


SHAPES = [shape_of(t) for t in range(TABLES)]


def prior_of(t):
    low_bits, largest, scale = SHAPES[t]
    theta = (math.sqrt(1 + scale * scale) - 1) / scale
    share, prior = (1 - theta) / (1 + theta), []
    for _ in range(largest + 1):
        prior.append(int(share * 65536))
        share = share * theta
    return prior + [int(2 * share / (1 - theta) * 65536)]


def frequencies(t, counts):
    largest = SHAPES[t][1]
    single = [0, largest + 1]  # magnitudes without a sign: zero and the escape
    weight = [2 * p + (int(n) << (8 if k in single else 7))
              for k, (p, n) in enumerate(zip(prior_of(t), counts))]
    times = [1 if k in single else 2 for k in range(largest + 2)]
    total = sum(w * m for w, m in zip(weight, times))
    shared = TOTAL - (2 * largest + 2)
    f = [1 + w * shared // total for w in weight]
    rest = TOTAL - sum(v * m for v, m in zip(f, times))
    for k in range(1, largest + 1):
        if rest < 2:
            break
        f[k] += 1
        rest -= 2
    f[0] += rest
    return [f[(s + 1) // 2] for s in range(2 * largest + 2)]


def symbol_of(t, q):
    """-> symbol, low bits; the escape is the last symbol"""
    low_bits, largest, _ = SHAPES[t]
    half = (1 << low_bits) >> 1
    hi, low = (q + half) >> low_bits, (q + half) & ((1 << low_bits) - 1)
    if abs(hi) > largest:
        return 2 * largest + 1, None
    return (2 * hi - 1 if hi > 0 else -2 * hi), low


def value_of(t, symbol, low):
    low_bits = SHAPES[t][0]
    hi = (symbol + 1) // 2 if symbol % 2 else -(symbol // 2)
    return hi * 2**low_bits - ((1 << low_bits) >> 1) + low


# --- model ---------------------------------------------------------------------------------------


def sixteenths(v):
    """floor(16 log2 v)"""
    e = v.bit_length() - 1
    mantissa = (v << 31) >> e
    return 16 * e + max(j for j in range(16) if mantissa >= BOUNDS[j])


def scaled(v, s):
    product = min(v, LIMIT) * BOUNDS[s % 16]
    shift = s // 16 - 31
    return min(LIMIT, product >> -shift if shift <= 0 else product << shift)


def base_of(s):
    return min(65, max(0, (s + 2) // 4 + 24))


class Model:
    def __init__(self, channels):
        self.generation, self.index, self.weights = 0, 0, 0
        self.scales = [0] * channels
        self.counts = [[0] * (SHAPES[t][1] + 2) for t in range(TABLES)]
        self.centroids = [(0, 0)] * 12
        self.means = []  # of kind 1, 2, ...: number of rows, fp32 [H]
        self.pending = None
        self.make_tables()

    def make_tables(self):
        self.tables = [frequencies(t, c) for t, c in enumerate(self.counts)]
        self.starts = [np.concatenate([[0], np.cumsum(f)]) for f in self.tables]

    def bases(self, index):
        if self.weights == 0:
            return [base_of(0)] * len(self.scales)
        common = self.index - index + 64 - sixteenths(self.weights)
        return [base_of(sixteenths(s + 8) + common) for s in self.scales]

    def num_kinds(self):
        rows = self.pending[5] if self.pending else []
        return max([len(self.means)] + [kind for kind, _ in rows])

    def expectation(self, kind):
        if kind == 0 or kind > len(self.means):
            return np.zeros(len(self.scales), F32)
        n, mean = self.means[kind - 1]
        return mean * (F32(2 * n) / (F32(2 * n) + F32(1)))

    def learn(self, rows):
        for kind, row in rows:
            while kind > len(self.means):
                self.means.append((0, np.zeros(len(self.scales), F32)))
            if kind:
                n, mean = self.means[kind - 1]
                n = min(n + 1, 64)
                self.means[kind - 1] = (n, mean + (row - mean) / F32(n))

    def add(self, q, table, row_classes, index, centroids, rows):
        sums = [int(v) for v in np.abs(q).sum(axis=0)]
        weights = sum(ROW_WEIGHTS[r] for r in row_classes)
        counts = [[0] * len(c) for c in self.counts]
        for t, v in zip(table.ravel(), q.ravel()):
            counts[t][(symbol_of(int(t), int(v))[0] + 1) // 2] += 1
        if self.pending is None:
            self.pending = [index, sums, weights, counts, centroids, rows]
            return
        p = self.pending
        p[1] = [a + scaled(b, index - p[0]) for a, b in zip(p[1], sums)]
        p[2] += weights
        p[3] = [[a + b for a, b in zip(x, y)] for x, y in zip(p[3], counts)]
        p[4] = centroids or p[4]
        p[5] = p[5] + rows

    def keep(self):
        index, sums, weights, counts, centroids, rows = self.pending
        self.scales = [min(LIMIT, scaled(s - (s >> 2), self.index - index) + 16 * n)
                       for s, n in zip(self.scales, sums)]
        self.index = index
        self.weights = self.weights - (self.weights >> 2) + weights
        self.counts = [[a - (a >> 2) + b for a, b in zip(x, y)]
                       for x, y in zip(self.counts, counts)]
        self.centroids = centroids or self.centroids
        self.learn(rows)
        self.generation += 1
        self.pending = None
        self.make_tables()


# --- messages ------------------------------------------------------------------------------------


def pack(pairs):
    """(value, bits) pairs, the lowest bit first"""
    total = at = 0
    for value, bits in pairs:
        total |= value << at
        at += bits
    return total.to_bytes(-(-at // 8), "little")


def take_bits(data, sizes):
    total, out = int.from_bytes(data, "little"), []
    for bits in sizes:
        out.append(total & ((1 << bits) - 1))
        total >>= bits
    assert total == 0, "spare bits"
    return out


def varint(q):
    v, out = (2 * q - 1 if q > 0 else -2 * q), b""
    while v >= 128:
        out += bytes([v & 127 | 128])
        v >>= 7
    return out + bytes([v])


def rans_encode(model, symbols, tables, lanes):
    """symbols and their tables, in order, with the lane of each"""
    x, words = [1 << 16] * (max(lanes) + 1 if len(lanes) else 1), []
    for s, t, lane in zip(symbols[::-1], tables[::-1], lanes[::-1]):
        f, start = model.tables[t][s], int(model.starts[t][s])
        if x[lane] >= f << 18:
            words.append(x[lane] & 0xFFFF)
            x[lane] >>= 16
        x[lane] = (x[lane] // f << 14) + x[lane] % f + start
    return x, words[::-1]


def rans_decode(model, x, words, tables, lanes):
    symbols, used = [], 0
    for t, lane in zip(tables, lanes):
        position = x[lane] % TOTAL
        s = int(np.searchsorted(model.starts[t], position, side="right")) - 1
        x[lane] = model.tables[t][s] * (x[lane] // TOTAL) + position - int(model.starts[t][s])
        if x[lane] < 1 << 16:
            x[lane] = x[lane] << 16 | words[used]
            used += 1
        symbols.append(s)
    assert used == len(words) and all(v == 1 << 16 for v in x)
    return symbols


def blocks_of(rows, channels):
    """-> row slices and lanes a row"""
    if rows * channels < ONE_LANE:
        return [(0, rows)], 1
    size = max(1, BLOCK // channels)
    return [(a, min(a + size, rows)) for a in range(0, rows, size)], LANES


def write_message(model, q, scale, index, bases, row_classes, centroids, kinds):
    rows, channels = q.shape
    flags = (1 if centroids else 0) | (2 if bases else 0) | (4 if row_classes else 0) | (8 if kinds else 0)
    out = struct.pack("<fhBI", scale, index, flags, model.generation)
    if centroids:
        out += b"".join(struct.pack("<bb", *pair) for pair in centroids)
    if row_classes:
        out += pack([(r, 3) for r in row_classes])
    if kinds:
        width = max(kinds).bit_length()
        out += bytes([width]) + pack([(k, width) for k in kinds])
    used = bases or model.bases(index)
    table = np.add.outer(2 * np.array(row_classes or [MIDDLE] * rows), np.array(used))
    coded = [symbol_of(int(t), int(v)) for t, v in zip(table.ravel(), q.ravel())]
    blocks, lanes = blocks_of(rows, channels)
    for a, b in blocks:
        cut = slice(a * channels, b * channels)
        x, words = rans_encode(model, [s for s, _ in coded[cut]], [int(t) for t in table.ravel()[cut]],
                               [c % lanes for _ in range(a, b) for c in range(channels)])
        x += [1 << 16] * (lanes - len(x))
        block = struct.pack(f"<{len(x)}I", *x) + struct.pack(f"<{len(words)}H", *words)
        out += struct.pack("<I", len(block)) + block
    out += pack([(low, SHAPES[int(t)][0]) for t, (_, low) in zip(table.ravel(), coded) if low is not None])
    out += b"".join(varint(int(v)) for v, (_, low) in zip(q.ravel(), coded) if low is None)
    return bytes(bases) if bases else b"", out


def read_message(model, classes, data, rows, channels):
    """-> q, values, table, row classes, index, centroids, rows with their kinds"""
    scale, index, flags, generation = struct.unpack_from("<fhBI", data)
    assert generation == model.generation
    at, explicit = 11, None
    if flags & 1:
        explicit = [struct.unpack_from("<bb", data, at + 2 * i) for i in range(12)]
        at += 24
    row_classes = [MIDDLE] * rows
    if flags & 4:
        row_classes = take_bits(data[at:at + -(-3 * rows // 8)], [3] * rows)
        at += -(-3 * rows // 8)
    kinds = []
    if flags & 8:
        width, size = data[at], -(-data[at] * rows // 8)
        kinds = take_bits(data[at + 1:at + 1 + size], [width] * rows)
        at += 1 + size
        assert max(kinds) <= min(4095, 2**24 // channels, model.num_kinds() + rows)
    bases = list(classes) if flags & 2 else model.bases(index)
    table = np.add.outer(2 * np.array(row_classes), np.array(bases))
    symbols = []
    blocks, lanes = blocks_of(rows, channels)
    for a, b in blocks:
        length = struct.unpack_from("<I", data, at)[0]
        x = list(struct.unpack_from(f"<{lanes}I", data, at + 4))
        count = (length - 4 * lanes) // 2
        words = struct.unpack_from(f"<{count}H", data, at + 4 + 4 * lanes)
        at += 4 + length
        symbols += rans_decode(model, x, words, [int(t) for t in table.ravel()[a * channels:b * channels]],
                               [c % lanes for _ in range(a, b) for c in range(channels)])
    flat = [int(t) for t in table.ravel()]
    sizes = [SHAPES[t][0] for t, s in zip(flat, symbols) if s != 2 * SHAPES[t][1] + 1]
    lows = iter(take_bits(data[at:at + -(-sum(sizes) // 8)], sizes))
    at += -(-sum(sizes) // 8)
    q = []
    for t, s in zip(flat, symbols):
        if s != 2 * SHAPES[t][1] + 1:
            q.append(value_of(t, s, next(lows)))
            continue
        v = shift = 0
        while True:
            byte, at = data[at], at + 1
            v |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        q.append((v + 1) // 2 if v % 2 else -(v // 2))
    assert at == len(data)
    q = np.array(q).reshape(rows, channels)
    step = F32(scale) * (POWERS[index % 16] * F32(2.0 ** (index // 16)))
    known = explicit or model.centroids
    values = np.zeros((rows, channels), F32)
    for r in range(rows):
        for c in range(channels):
            m = abs(int(q[r, c]))
            shift = F32(0 if m == 0 else known[min(11, table[r, c] // 4)][min(m, 2) - 1]) / F32(256)
            v = (F32(m) + shift) * step
            values[r, c] = -v if q[r, c] < 0 else v
    for r, kind in enumerate(kinds):
        if 0 < kind <= len(model.means):
            values[r] += model.expectation(kind)
    return q, values, table, row_classes, index, explicit, list(zip(kinds, values))


# --- cases ---------------------------------------------------------------------------------------


def example():
    yield dict(q=np.array([[1, -2]]), scale=1.0, index=0, bases=None, row_classes=None, centroids=None, kinds=None)


def run():
    """What a run has: classes, then the model's, a step that moves, two messages a step, low bits,
    escapes, one lane and several."""
    rng = np.random.Generator(np.random.PCG64(20261122))
    channels = 40
    spread = np.exp2(rng.uniform(-5, 10, channels))
    centroids = [(int(a), int(b)) for a, b in rng.integers(-60, 60, (12, 2))]
    index = 3
    for i, rows in enumerate([20, 820, 30, 1, 33]):
        classes = [int(v) for v in rng.integers(2, 7, rows)]
        energy = np.array([2 ** ((r - 4) / 2) for r in classes])
        scale = spread * 2 ** (-(index - 3) / 16)
        q = np.rint(rng.laplace(0, 1, (rows, channels)) * np.outer(energy, scale)).astype(int)
        if i in (0, 2):
            q[0, :3] = [-(1 << 20), 1 << 20, 77]
        bases = None
        if i == 0:
            bases = [base_of(sixteenths(int(256 * s) + 1) - 128) for s in scale]
        yield dict(q=q, scale=float(F32(0.0173)), index=index, bases=bases,
                   row_classes=None if rows == 1 else classes,
                   centroids=centroids if i == 1 else None, keep=i != 2,
                   kinds=[None, [(7 * r) % 71 for r in range(rows)], [r % 100 for r in range(rows)], [69],
                          [3 * r for r in range(rows)]][i])
        index += [-9, 0, 4, 22, 0][i]


def serialize(messages):
    messages = list(messages)
    channels = messages[0]["q"].shape[1]
    model = Model(channels)
    out = b"AMAQRD01" + struct.pack("<II", channels, len(messages))
    for m in messages:
        q = m["q"]
        classes, codes = write_message(model, q, m["scale"], m["index"], m["bases"], m["row_classes"],
                                       m["centroids"], m["kinds"])
        read = read_message(model, classes, codes, *q.shape)
        assert np.array_equal(read[0], q)
        model.add(q, *read[2:])
        keep = m.get("keep", True)
        if keep:
            model.keep()
        out += struct.pack("<II", len(q), keep)
        for section in (classes, codes):
            out += struct.pack("<I", len(section)) + section
        out += read[1].tobytes()
    return out


def main():
    return write_or_check(__doc__.splitlines()[0], FOLDER,
                          [(f"{f.__name__}.bin", serialize(f())) for f in (example, run)])


if __name__ == "__main__":
    sys.exit(main())
