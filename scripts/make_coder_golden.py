#!/usr/bin/env python3
"""Writes tests/golden/coders/*.bin: messages of the methods with tiles and with visits.

An implementation of docs/formats/tiles.md and aqsgd.md of its own, in numpy, on top of make_golden.py's
of octet.md; it shares nothing with src/quant. Run it after a deliberate change of a format only.

    venv/bin/python scripts/make_coder_golden.py            # writes the files and their checksums
    venv/bin/python scripts/make_coder_golden.py --check    # compares; exit 1 if unequal
"""

import pathlib
import struct
import sys

import numpy as np

import make_golden as octet
from golden_files import write_or_check

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "coders"
F32 = np.float32
AMAQ_DELTA, GROUP, AQSGD, TAHQUANT = 9, 6, 7, 8
ACTIVATION, GRADIENT = 1, 2
RANGES, SINK_ROWS, CODES, SAMPLE_KEYS, SCALES, TILES = 2, 3, 4, 12, 13, 14
HADAMARD = np.array([[1]])
for _ in range(5):
    HADAMARD = np.block([[HADAMARD, HADAMARD], [HADAMARD, -HADAMARD]])


# --- tiles.md ------------------------------------------------------------------------------------


def tile_range(values, width):
    lo = octet.bf16_not_above(F32(values.min() + F32(0)))
    step = octet.bf16_not_below(F32(F32(values.max() - lo) / F32(2**width - 1)))
    return lo, step if step >= 2.0**-126 else F32(0)


def turn(values):
    """Five rounds of sums and differences at distances 1, 2, 4, 8, 16, then the scale; all fp32."""
    x = values.astype(F32)
    for half in (1, 2, 4, 8, 16):
        pairs = x.reshape(-1, 2, half)
        x = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1).reshape(32)
    x = x * F32(0.17677669529663687)
    exact = HADAMARD @ values.astype(np.float64) / np.sqrt(32)
    assert np.allclose(x, exact, atol=1e-5 * np.abs(values).sum() + 1e-30)
    return x


def swapped(values, place):
    values = values.copy()
    values[[0, place]] = values[[place, 0]]
    return values


def pivot_of(values):
    if len(values) != 32:
        return None
    magnitude = np.abs(values)
    place = int(magnitude.argmax())  # the earliest of equals
    second = np.delete(magnitude, place).max()
    return place if magnitude[place] > 2 * second else None


def low_rows(rows):
    """The floor(R / 5) rows of least entropy of |x| / sum |x|; ties: the earlier row."""
    shares = np.abs(rows.astype(np.float64))
    entropy = []
    for row in shares:
        p = row[row > 0] / row.sum() if row.sum() > 0 else np.array([1.0])
        entropy.append(-(p * np.log(p)).sum())
    order = sorted(range(len(rows)), key=lambda r: entropy[r])
    assert len(rows) < 5 or entropy[order[len(rows) // 5]] - entropy[order[len(rows) // 5 - 1]] > 1e-6
    return set(order[:len(rows) // 5])


def bitmap(bits):
    return sum(int(b) << i for i, b in enumerate(bits)).to_bytes(-(-len(bits) // 8), "little")


def encode_tiles(message, method, kind, tile_size, rounding, key):
    x, sinks, row_ids = message["x"], message["sinks"], message["row_ids"]
    count, channels = x.shape
    coded = [r for r in range(count) if r not in sinks]
    n = message["widths"][0]
    decoded = np.zeros_like(x)
    if sinks:
        decoded[sinks] = octet.bf16_to_f32(octet.f32_to_bf16_nearest(x[sinks]))
    low = low_rows(x[coded]) if method == TAHQUANT and kind == ACTIVATION else set()
    pivots, scales, codes = [], b"", b""
    for r, row in enumerate(coded):
        width = n - 1 if r in low else n
        number = row_ids[row] if row_ids else row
        row_codes = []
        for begin in range(0, channels, tile_size):
            values = x[row, begin:begin + tile_size]
            pivot = pivot_of(values) if method == TAHQUANT else None
            pivots.append(pivot)
            if pivot is not None:
                values = turn(swapped(values, pivot))
            lo, step = tile_range(values, width)
            scales += octet.bf16_bytes(lo) + octet.bf16_bytes(step)
            q = [octet.code(v, lo, step, width, rounding,
                            octet.philox_word(key, number * channels + begin + c)
                            if rounding == octet.STOCHASTIC else 0)
                 for c, v in enumerate(values)]
            row_codes += q
            back = lo + np.array(q, F32) * step
            decoded[row, begin:begin + tile_size] = \
                back if pivot is None else swapped(turn(back), pivot)
        for first in range(0, channels, 8):
            word = sum(q << (k * width) for k, q in enumerate(row_codes[first:first + 8]))
            codes += word.to_bytes(width, "little")
    sections = {SCALES: scales, CODES: codes}
    if sinks:
        sections[SINK_ROWS] = octet.f32_to_bf16_nearest(x[sinks]).astype("<u2").tobytes()
    if method == TAHQUANT:
        sections[TILES] = bitmap([r in low for r in range(len(coded))]) + bitmap(
            [p is not None for p in pivots]) + bytes(p for p in pivots if p is not None)
    return sections, decoded


# --- aqsgd.md ------------------------------------------------------------------------------------


def encode_visits(message, method, cache):
    x, segments, keys = message["x"], message["segments"], message["keys"]
    first = [key not in cache for key in keys]
    whole, d, last = list(message["sinks"]), x.copy(), np.zeros_like(x)
    for s, key in enumerate(keys):
        begin, end = segments[s], segments[s + 1]
        if first[s]:
            whole += range(begin, end)
        else:
            last[begin:end] = cache[key]
    whole = sorted(set(whole))
    rest = [r for r in range(len(x)) if r not in whole]
    d[rest] = x[rest] - last[rest]
    mode = octet.ABSMAX if method == AQSGD else octet.MINMAX
    ranges, sink_rows, codes, decoded = octet.encode(d, message["widths"], whole, None, mode,
                                                     octet.NEAREST, 0)
    decoded[rest] = octet.bf16_to_f32(octet.f32_to_bf16_nearest(last[rest] + decoded[rest]))
    for s, key in enumerate(keys):
        cache[key] = decoded[segments[s]:segments[s + 1]]
    sections = {SAMPLE_KEYS: bitmap(first) + struct.pack(f"<{len(keys)}Q", *keys),
                RANGES: ranges, SINK_ROWS: sink_rows, CODES: codes}
    return sections, decoded


# --- cases ---------------------------------------------------------------------------------------


def values(rng, rows, channels):
    x = rng.normal(size=(rows, channels)) * np.exp(rng.normal(size=(1, channels)))
    return (x * np.exp(0.5 * rng.normal(size=(rows, 1)))).astype(F32)


def message(x, widths, segments=None, keys=(), sinks=(), row_ids=None):
    return dict(x=x, widths=[int(w) for w in widths], segments=segments or [0, len(x)],
                keys=list(keys) or [1000], sinks=list(sinks), row_ids=row_ids)


def cases():
    rng = np.random.Generator(np.random.PCG64(20261124))
    nearest, stochastic = octet.NEAREST, octet.STOCHASTIC
    x = values(rng, 31, 83)
    x[4, :32] = 0.75  # constant
    x[5, 32:64] = 0
    x[6, 3] = F32(-0.0)
    yield dict(name="group", method=GROUP, kind=ACTIVATION, tile=32, rounding=nearest,
               messages=[message(x, [3] * 83, [0, 9, 10, 31], [1, 2, 3], [0, 9, 10])])
    yield dict(name="group_wide", method=GROUP, kind=ACTIVATION, tile=128, rounding=nearest,
               messages=[message(values(rng, 12, 150), [8] * 150)])
    yield dict(name="group_gradient", method=GROUP, kind=GRADIENT, tile=64, rounding=stochastic,
               messages=[message(values(rng, 20, 70), [2] * 70, sinks=[0, 7],
                                 row_ids=[int(v) for v in np.cumsum(rng.integers(1, 4, 20))])])
    x = values(rng, 27, 100)
    for row, channel, factor in ((2, 40, 50), (3, 0, 9), (8, 95, -70), (9, 98, 1000), (20, 33, -6)):
        x[row, channel] = factor * np.abs(x[row]).max()
    yield dict(name="tahquant", method=TAHQUANT, kind=ACTIVATION, tile=32, rounding=nearest,
               messages=[message(x, [4] * 100, [0, 20, 27], [5, 6], [0, 20])])
    x = values(rng, 9, 64)
    x[1, 17] = 100
    yield dict(name="tahquant_gradient", method=TAHQUANT, kind=GRADIENT, tile=32,
               rounding=stochastic,
               messages=[message(x, [6] * 64, row_ids=[2 * r + 1 for r in range(9)])])
    for method, name in ((AQSGD, "aqsgd"), (AMAQ_DELTA, "amaq_delta")):
        widths = [3] * 40 if method == AQSGD else rng.integers(2, 9, 40)
        samples = {key: values(rng, rows, 40) for key, rows in ((11, 12), (12, 9), (2**63 + 5, 1))}
        messages = []
        for keys in ((11, 12), (12, 2**63 + 5), (2**63 + 5, 12, 11)):
            parts = [samples[k] + (0.1 * values(rng, len(samples[k]), 40)).astype(F32) for k in keys]
            segments = [int(v) for v in np.cumsum([0] + [len(p) for p in parts])]
            messages.append(message(np.concatenate(parts), widths, segments, keys, segments[:-1]))
        yield dict(name=name, method=method, kind=ACTIVATION, tile=0, rounding=nearest,
                   messages=messages)


def serialize(case):
    key, cache = octet.rounding_key(7, 3, 2, 19, 4), {}
    channels = case["messages"][0]["x"].shape[1]
    out = b"AMAQCOD1" + struct.pack("<IIIIIQI", case["method"], case["kind"], case["tile"], channels,
                                    case["rounding"], key, len(case["messages"]))
    for m in case["messages"]:
        if case["method"] in (AQSGD, AMAQ_DELTA):
            sections, decoded = encode_visits(m, case["method"], cache)
        else:
            sections, decoded = encode_tiles(m, case["method"], case["kind"], case["tile"],
                                             case["rounding"], key)
        out += struct.pack(f"<II{len(m['segments'])}I", len(m["x"]), len(m["keys"]), *m["segments"])
        out += struct.pack(f"<{len(m['keys'])}Q", *m["keys"])
        out += struct.pack(f"<I{len(m['sinks'])}I", len(m["sinks"]), *m["sinks"])
        ids = m["row_ids"] or []
        out += struct.pack(f"<I{len(ids)}I", len(ids), *ids) + bytes(m["widths"])
        out += m["x"].astype("<f4").tobytes() + struct.pack("<I", len(sections))
        for kind in sorted(sections):
            out += struct.pack("<II", kind, len(sections[kind])) + sections[kind]
        out += decoded.astype("<f4").tobytes()
    return out


def main():
    files = [(f"{case['name']}.bin", serialize(case)) for case in cases()]
    return write_or_check(__doc__.splitlines()[0], FOLDER, files)


if __name__ == "__main__":
    sys.exit(main())
