#!/usr/bin/env python3
"""The order of training data as train/data_order.h describes it, for tests/train/data_order.inc:
fractions in place of 128-bit products, and a permutation that is built whole."""
from fractions import Fraction
from math import floor

M = (1 << 64) - 1


def mix(x):
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & M
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & M
    return x ^ (x >> 31)


def mix_with(key, number):
    return mix(key ^ mix(number + 0x9E3779B97F4A7C15 & M))


def permuted(key, i, n):
    bits = max(2, (n - 1).bit_length())
    half = (bits + 1) // 2
    while True:
        left, right = divmod(i, 1 << half)
        for r in range(8):
            left, right = right, left ^ mix_with(key + r & M, right) % (1 << half)
        i = (left << half) + right
        if i < n:
            return i


def place(seed, sources, n):
    left = list(enumerate(sources))
    while True:
        s, (weight, windows) = left.pop(0)
        share = Fraction(weight, weight + sum(w for _, (w, _) in left))
        before = floor(n * share)
        if not left or floor((n + 1) * share) > before:
            count = before if left else n
            break
        n -= before
    times, i = divmod(count, windows)
    return s, times, permuted(mix_with(mix_with(seed, s), times), i, windows)


for number in [0, 1, 2, 3, 4, 5, 6, 7, 100, 101, 9999, 10000, 123456789, 2**50]:
    print("    {%d, %d, %d, %d}," % (number, *place(42, [(3, 1000), (2, 17), (5, 123456)], number)))
