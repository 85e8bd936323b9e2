#!/usr/bin/env python3
"""Writes tests/golden/*.bin: inputs and the bytes that they must become.

An implementation of docs/formats/octet.md of its own, in numpy, that shares nothing with src/quant:
what the two agree on is the format. Run it after a deliberate change of the format only.

    python3 -m venv venv && venv/bin/pip install numpy xxhash
    venv/bin/python scripts/make_golden.py            # writes the files and their checksums
    venv/bin/python scripts/make_golden.py --check    # compares with what is stored; exit 1 if unequal
"""

import pathlib
import struct
import sys

import numpy as np
import xxhash

from golden_files import write_or_check

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden"
F32 = np.float32
FP32, BF16, FP16 = 1, 2, 3
MINMAX, ABSMAX, PERCENTILE, MAE = 1, 2, 3, 4
NEAREST, STOCHASTIC = 1, 2


# --- number formats -----------------------------------------------------------------------------


def bf16_to_f32(bits):
    return (np.asarray(bits, np.uint32) << 16).view(F32)


def f32_to_bf16_nearest(values):
    bits = np.asarray(values, F32).view(np.uint32).astype(np.uint64)
    low = bits & 0xFFFF
    up = (low > 0x8000) | ((low == 0x8000) & ((bits >> 16) & 1 == 1))
    return ((bits >> 16) + up).astype(np.uint16)


def bf16_not_above(value):
    """Largest bf16 number <= value, as float32."""
    bits = int(F32(value).view(np.uint32))
    candidate = np.uint32(bits & 0xFFFF0000).view(F32)
    if candidate > value:  # negative and cut towards zero: one further away from it
        candidate = np.uint32((bits & 0xFFFF0000) + 0x10000).view(F32)
    return candidate


def bf16_not_below(value):
    return F32(-bf16_not_above(F32(-value)))


def bf16_ulp(value):
    if value == 0:
        return 2.0**-133
    exponent = int(np.frexp(np.float64(value))[1]) - 1
    return max(2.0 ** (exponent - 7), 2.0**-133)


def bf16_bytes(value):
    bits = int(F32(value).view(np.uint32))
    assert bits & 0xFFFF == 0, value
    return struct.pack("<H", bits >> 16)


# --- random words -------------------------------------------------------------------------------


def philox_word(key, index):
    mask = 0xFFFFFFFF
    k0, k1 = key & mask, key >> 32
    c = [index & mask, index >> 32, 0, 0]
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k0, p1 & mask, (p0 >> 32) ^ c[3] ^ k1, p0 & mask]
        k0, k1 = (k0 + 0x9E3779B9) & mask, (k1 + 0xBB67AE85) & mask
    return c[0]


def rounding_key(seed, cut, direction, step, micro_batch):
    return xxhash.xxh3_64_intdigest(struct.pack("<QIIQI", seed, cut, direction, step, micro_batch))


# --- the quantizer ------------------------------------------------------------------------------


def channel_range(column, width, mode):
    """(lo, step, lo_is_fp32) of one channel; column: float32 values of the coded rows."""
    if mode == ABSMAX:
        largest = np.max(np.abs(column))
        lo_raw, hi_raw = F32(-largest), F32(largest)
    elif mode == PERCENTILE:
        lo_raw, hi_raw = percentile_extremes(column, 99.5)
    elif mode == MAE:
        lo_raw, hi_raw = mae_extremes(column, width)
    else:
        lo_raw, hi_raw = np.min(column), np.max(column)
    return range_of(lo_raw, hi_raw, width)


def percentile_extremes(column, percentile):
    """docs/formats/gate.md, "Ranges"."""
    out = min(int(len(column) * (100 - percentile) / 200 + 1e-9), (len(column) - 1) // 2)
    ordered = np.sort(column)
    return ordered[out], ordered[-1 - out]


def mae_extremes(column, width):
    """Upper end, lower end, upper end again: each to its best place of sixteen."""
    full_lo, full_hi = np.min(column), np.max(column)
    if width == 0 or full_lo == full_hi:
        return full_lo, full_hi
    unit = F32(F32(full_hi - full_lo) * F32(1 / 32))

    def error(lo_raw, hi_raw):
        lo, step, _ = range_of(lo_raw, hi_raw, width)
        total = 0.0
        for x in column:
            q = code(x, lo, step, width, NEAREST, 0)
            total += abs(float(F32(lo + F32(F32(q) * step))) - float(x))
        return total

    lo, hi = full_lo, full_hi
    for upper in (True, False, True):
        best, best_error = None, float("inf")
        for k in range(16):
            moved = F32(F32(k) * unit)
            pair = (lo, F32(full_hi - moved)) if upper else (F32(full_lo + moved), hi)
            if not pair[0] < pair[1]:
                break
            if error(*pair) < best_error:
                best, best_error = pair, error(*pair)
        lo, hi = best
    return lo, hi


def range_of(lo_raw, hi_raw, width):
    if lo_raw == 0:
        lo_raw = F32(0)
    if width == 0:
        return F32(F32(0.5) * lo_raw) + F32(F32(0.5) * hi_raw), F32(0), True
    if lo_raw == hi_raw:
        return lo_raw, F32(0), True
    largest_code = F32(2**width - 1)
    lo, is_fp32 = bf16_not_above(lo_raw), False
    step = bf16_not_below(F32(F32(hi_raw - lo) / largest_code))
    if bf16_ulp(lo) > float(step) / 4:
        lo, is_fp32 = lo_raw, True
        step = bf16_not_below(F32(F32(hi_raw - lo) / largest_code))
    if float(step) < 2.0**-126:
        return lo_raw, F32(0), True
    return lo, step, is_fp32


def code(x, lo, step, width, rounding, word):
    if step == 0:
        return 0
    inverse = F32(F32(1) / step)
    t = F32(F32(x - lo) * inverse)
    if rounding == NEAREST:
        q = int(np.rint(t))
    else:
        floor = int(np.floor(t))
        q = floor + int((word >> 8) < int(np.floor((float(t) - floor) * 2**24)))
    return min(max(q, 0), 2**width - 1)


def encode(x, widths, sinks, row_ids, mode, rounding, key):
    """x [N, H] float32. Returns (kRanges, kSinkRows, kCodes, decoded [N, H])."""
    count, channels = x.shape
    coded = [row for row in range(count) if row not in sinks]
    decoded = np.zeros_like(x)
    sink_bits = f32_to_bf16_nearest(x[sinks])
    decoded[sinks] = bf16_to_f32(sink_bits)
    if not coded:
        return b"", sink_bits.tobytes(), b"", decoded

    ranges = [channel_range(x[coded, c], widths[c], mode) for c in range(channels)]
    bitmap = bytearray((channels + 7) // 8)
    for c, (_, _, is_fp32) in enumerate(ranges):
        bitmap[c // 8] |= int(is_fp32) << (c % 8)
    range_bytes = bytes(bitmap)
    range_bytes += b"".join(
        struct.pack("<f", lo) if is_fp32 else bf16_bytes(lo) for lo, _, is_fp32 in ranges)
    range_bytes += b"".join(bf16_bytes(step) for _, step, _ in ranges)

    code_bytes = b""
    for first in range(0, len(coded), 8):
        group = coded[first:first + 8]
        for c, (lo, step, _) in enumerate(ranges):
            number = 0
            for k, row in enumerate(group):
                word = 0
                if rounding == STOCHASTIC:
                    word = philox_word(key, int(row_ids[row]) * channels + c)
                q = code(x[row, c], lo, step, widths[c], rounding, word)
                decoded[row, c] = F32(lo + F32(F32(q) * step))
                number |= q << (k * widths[c])
            code_bytes += number.to_bytes(widths[c], "little")
    return range_bytes, sink_bits.tobytes(), code_bytes, decoded


# --- cases --------------------------------------------------------------------------------------


def activations(rng, count, channels):
    """Channels of different scale and mean, like a residual stream."""
    scale = 2.0 ** rng.uniform(-3, 3, channels)
    mean = rng.normal(0, 2, channels)
    return (rng.standard_normal((count, channels)) * scale + mean).astype(F32)


def special_channels():
    tiny = np.float32(1e-42)
    columns = [
        [0, 0, 0, 0, 0],
        [-0.0, 0.0, -0.0, 0.0, -0.0],
        [3.14159, 3.14159, 3.14159, 3.14159, 3.14159],
        [1000.5, 1000.75, 1001, 1000.6, 1000.9],
        [tiny, -tiny, 0, 2 * tiny, 3 * tiny],
        [-0.0, 1, 2, 3, 0.5],
        [1e38, -1e38, 0, 5e37, -5e37],
        [-1e-30, 1e-30, 2e-30, 0, -2e-30],
        [65504, -65504, 1, 2, 3],
        [0.1, 0.2, 0.3, 0.4, 1e6],
        [-7.0078125, -7.03, -6, -5, -4],
    ]
    return np.array(columns, F32).T.copy()


def half_way_points(widths):
    """Values exactly between two codes of a step that is no power of two: here (x - lo) * (1 / step)
    and (x - lo) / step round differently."""
    columns = []
    for c, width in enumerate(widths):
        step = bf16_to_f32(0x3F80 + 2 * c + 3)
        codes = np.arange(17) % (2**width - 1) + 0.5
        column = (codes * step).astype(F32)
        column[0], column[1] = 0, F32(2**width - 1) * step
        columns.append(column)
    return np.array(columns).T.copy()


def cases():
    rng = np.random.default_rng(20260731)
    key = dict(seed=42, cut=0, direction=2, step=7, micro_batch=3)

    def case(name, x, widths, sinks=(), row_ids=None, dtype=FP32, mode=MINMAX, rounding=NEAREST,
             key_parts=None):
        return dict(name=name, x=x, widths=list(widths), sinks=list(sinks), row_ids=row_ids,
                    dtype=dtype, mode=mode, rounding=rounding, key_parts=key_parts or key)

    example = np.array([[0, -1, 1000.5], [1, 0.5, 1000.75], [7, 2, 1001]], F32)
    yield case("example", example, [3, 2, 2])
    yield case("all_widths", activations(rng, 11, 9), range(9))
    yield case("one_token", activations(rng, 1, 5), [2, 3, 4, 5, 8])
    yield case("one_channel", activations(rng, 9, 1), [7])
    yield case("sinks", activations(rng, 23, 17), [3] * 17, sinks=[0, 9, 22])
    yield case("all_sinks", activations(rng, 3, 5), [4] * 5, sinks=[0, 1, 2])
    yield case("absmax", activations(rng, 16, 12), [4, 5] * 6, mode=ABSMAX)
    yield case("bf16", activations(rng, 13, 10), [2, 3, 4, 5, 6] * 2, sinks=[0], dtype=BF16)
    yield case("fp16", activations(rng, 10, 8), [8, 7, 6, 5, 4, 3, 2, 1], dtype=FP16)
    yield case("special", special_channels(), [4, 4, 3, 2, 5, 3, 6, 4, 8, 3, 5])
    yield case("half_way", half_way_points([3, 4, 5, 8] * 6), [3, 4, 5, 8] * 6)
    yield case("stochastic", activations(rng, 19, 24), [3] * 24, sinks=[0],
               rounding=STOCHASTIC)
    yield case("stochastic_subset", activations(rng, 10, 11), list(range(1, 9)) + [3, 3, 3],
               sinks=[0, 4], row_ids=[0, 1, 2, 5, 8, 9, 300, 301, 70000, 4294967295],
               rounding=STOCHASTIC,
               key_parts=dict(seed=2**64 - 3, cut=1, direction=2, step=2**40, micro_batch=9))
    yield case("percentile", activations(rng, 801, 3), [3, 4, 5], mode=PERCENTILE)
    yield case("mae", activations(rng, 90, 6), [2, 2, 3, 4, 6, 8], mode=MAE)


def by_token():
    """quant.axis: token: the coded rows' transpose in the usual layout, sink rows as before."""
    rng = np.random.default_rng(20261122)
    segments, by_position = [0, 6, 7, 19], [8, 5, 4, 3, 2, 6, 3]
    x = activations(rng, 19, 21) * (2.0 ** rng.integers(-4, 5, (19, 1))).astype(F32)
    sinks = segments[:-1]
    rows, widths = [], []
    for begin, end in zip(segments, segments[1:]):
        for row in range(begin + 1, end):
            rows.append(row)
            widths.append(by_position[min(row - begin, len(by_position) - 1)])
    turned = np.ascontiguousarray(x[rows].T)
    ranges, _, codes, decoded_turned = encode(turned, widths, [], range(21), MINMAX, NEAREST, 0)
    sink_bits = f32_to_bf16_nearest(x[sinks])
    decoded = np.zeros_like(x)
    decoded[sinks] = bf16_to_f32(sink_bits)
    decoded[rows] = decoded_turned.T
    out = struct.pack("<3I", *x.shape, len(segments)) + np.array(segments, "<u4").tobytes()
    out += struct.pack("<I", len(by_position)) + bytes(by_position) + x.tobytes()
    for section in (ranges, sink_bits.tobytes(), codes):
        out += struct.pack("<I", len(section)) + section
    return out + np.ascontiguousarray(decoded, F32).tobytes()


def serialize(case):
    x, dtype = case["x"], case["dtype"]
    if dtype == BF16:
        stored = f32_to_bf16_nearest(x)
        x = bf16_to_f32(stored).reshape(x.shape)
    elif dtype == FP16:
        stored = x.astype(np.float16)
        x = stored.astype(F32)
    else:
        stored = x
    row_ids = case["row_ids"]
    key = rounding_key(**case["key_parts"])
    ids = list(range(x.shape[0])) if row_ids is None else row_ids
    ranges, sinks, codes, decoded = encode(x, case["widths"], case["sinks"], ids, case["mode"],
                                           case["rounding"], key)
    parts = case["key_parts"]
    out = b"AMAQGLD1"
    out += struct.pack("<7I", *x.shape, dtype, case["mode"], case["rounding"],
                       len(case["sinks"]), int(row_ids is not None))
    out += struct.pack("<QIIQIQ", parts["seed"], parts["cut"], parts["direction"], parts["step"],
                       parts["micro_batch"], key)
    out += np.ascontiguousarray(stored).tobytes() + bytes(case["widths"])
    out += np.array(case["sinks"], "<u4").tobytes()
    out += np.array(row_ids or [], "<u4").tobytes()
    for section in (ranges, sinks, codes):
        out += struct.pack("<I", len(section)) + section
    return out + np.ascontiguousarray(decoded, F32).tobytes()


def main():
    files = [(f"{case['name']}.bin", serialize(case)) for case in cases()]
    files.append(("by_token.axis", by_token()))
    return write_or_check(__doc__.splitlines()[0], FOLDER, files)


if __name__ == "__main__":
    sys.exit(main())
