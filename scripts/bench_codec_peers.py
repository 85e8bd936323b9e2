#!/usr/bin/env python3
"""What Python has for the same work, beside a copy of the tensor: the peers of `amaq-bench codec`.

In every round the copy and the peer run one after the other on one thread. A figure is time of
the copy / time of the peer: above 1 is faster than memory is copied, as in amaq-bench's table.
Needs the Python environment of `scripts/setup.sh --parity`.
"""

import argparse
import os
import statistics
import time
import warnings

import numpy
import torch

BITS = 4


def quantize_numpy(x):
    """Ranges, codes and codes packed along the tokens: what amaq's encoder does, in numpy."""
    low, high = x.min(axis=0), x.max(axis=0)
    step = (high - low) / (2**BITS - 1)
    codes = numpy.rint((x - low) * (1 / step)).astype(numpy.uint8)
    pairs = codes.reshape(-1, 2, codes.shape[1])
    return low, step, pairs[:, 0] | pairs[:, 1] << BITS


def dequantize_numpy(coded):
    low, step, packed = coded
    codes = numpy.stack([packed & (2**BITS - 1), packed >> BITS], axis=1)
    return codes.reshape(-1, low.size) * step + low


def quantize_torch(x):
    """torch's own per-channel quantizer, ranges included; one byte a value, nothing is packed."""
    low, high = torch.aminmax(x, dim=0)
    scale = (high - low) / 255
    zero = torch.round(-low / scale)
    return torch.quantize_per_channel(x, scale, zero, 1, torch.quint8)


def seconds_of(action, least):
    calls, started = 0, time.perf_counter()
    while True:
        action()
        calls += 1
        passed = time.perf_counter() - started
        if passed >= least:
            return passed / calls


def compare(baseline, candidate, rounds):
    baselines, ratios = [], []
    for _ in range(rounds):
        baselines.append(seconds_of(baseline, 0.05))
        ratios.append(baselines[-1] / seconds_of(candidate, 0.05))
    tenths = statistics.quantiles(ratios, n=10, method="inclusive")
    copies = statistics.quantiles(baselines, n=10, method="inclusive")
    is_unstable = copies[8] > 1.25 * copies[0]
    return statistics.median(ratios), tenths[0], tenths[8], is_unstable


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds

    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*quantize_per_channel.*")
    print("| peer | tensor | ratio to a copy | 10 to 90 % | |\n|---|---|---|---|---|")
    for name, rows, channels in (("in cache", 256, 1024), ("out of cache", 8192, 4096)):
        x = numpy.random.default_rng(1).standard_normal((rows, channels), numpy.float32)
        into = numpy.empty_like(x)
        tensor = torch.from_numpy(x)
        numpy_coded, torch_coded = quantize_numpy(x), quantize_torch(tensor)
        step = numpy_coded[1].max()
        assert numpy.abs(dequantize_numpy(numpy_coded) - x).max() <= 0.51 * step
        assert (torch_coded.dequantize() - tensor).abs().max() <= 0.51 * (x.max() - x.min()) / 255
        peers = {
            f"numpy, {BITS} bits packed: encode with ranges": lambda: quantize_numpy(x),
            f"numpy, {BITS} bits packed: decode": lambda: dequantize_numpy(numpy_coded),
            "torch per channel, 8 bits: encode with ranges": lambda: quantize_torch(tensor),
            "torch per channel, 8 bits: decode": lambda: torch_coded.dequantize(),
        }
        for peer, action in peers.items():
            median, low, high, unstable = compare(lambda: numpy.copyto(into, x), action, rounds)
            print(f"| {peer} | {name} | {median:.3f} | {low:.3f} to {high:.3f} "
                  f"| {'unstable' if unstable else ''} |", flush=True)


if __name__ == "__main__":
    main()
