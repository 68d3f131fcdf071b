#!/usr/bin/env python3
"""Write tests/golden/lowprec.txt: what every low precision makes of every bf16 number.

Elements and E8M0 scales are rounded and decoded by ml_dtypes, f32 arithmetic is
numpy's, and exponents come from exact fractions. A line is one case,

  NAME AMAX TENSOR_AMAX START:VALUE ...

for a block whose largest number is AMAX, in a tensor whose largest is TENSOR_AMAX
(both bf16, hexadecimal): the inputs from START on (bf16) become VALUE (f32),
up to the next START, the last ones up to AMAX. Negative inputs become the
negative numbers.

Needs ml_dtypes and numpy.
"""
import argparse
import os
import sys
from fractions import Fraction

try:
    import ml_dtypes
    import numpy as np
except ImportError as e:
    if not {"-h", "--help"} & set(sys.argv):
        sys.exit("make_lowprec_golden.py: %s (pip install ml_dtypes numpy)" % e)

F32 = np.float32
F32_MAX = np.finfo(np.float32).max
# The least bf16 number, around the least normal one, ordinary ones, mantissas around the tops of
# elements and where scales step, the largest finite one.
EDGES = [0x0001, 0x007f, 0x0080, 0x0081, 0x0d00, 0x3c23, 0x3f80, 0x3fbf, 0x3fc0, 0x3fc1, 0x3fdf,
         0x3fe0, 0x3fe1, 0x4310, 0x43e0, 0x43e1, 0x7a00, 0x7f7f]
FEW = [0x0001, 0x0081, 0x3fc1, 0x3fe0, 0x3fe1, 0x43e0, 0x7f7f]


def tables():
    """name -> (element type, top, rule)."""
    e4m3, e5m2, e2m1 = ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2, ml_dtypes.float4_e2m1fn
    return {
        "fp8-tensor": (e4m3, 448, "f32"), "fp8-tensor-e5m2": (e5m2, 57344, "f32"),
        "fp8-128": (e4m3, 448, "down"), "fp8-128-f32": (e4m3, 448, "f32"),
        "mxfp8": (e4m3, 448, "up"), "mxfp8-e5m2": (e5m2, 57344, "up"),
        "mxfp4": (e2m1, 6, "floor"), "mxfp4-ceil": (e2m1, 6, "ceil"),
        "mxfp4-even": (e2m1, 6, "even"), "mxfp4-up": (e2m1, 6, "up"),
        "nvfp4": (e2m1, 6, "e4m3"), "fp4-128": (e2m1, 6, "f32"),
    }


def bf16(bits):
    return np.array(bits, dtype=np.uint16).view(ml_dtypes.bfloat16).astype(F32)


def floor_log2(x):
    """floor(log2 x) of an exact fraction."""
    e = x.numerator.bit_length() - x.denominator.bit_length()
    return e if Fraction(2) ** e <= x else e - 1


def encode_f32(goal, amax):
    with np.errstate(over="ignore"):
        return min(F32(goal) / amax, F32_MAX)


def mx_exponent(rule, amax, top):
    exact = Fraction(float(amax))
    base = floor_log2(exact)
    e = base - floor_log2(Fraction(top))
    if rule == "ceil" and exact > Fraction(2) ** base:
        e += 1
    elif rule == "up" and exact > top * Fraction(2) ** e:
        e += 1
    elif rule == "even":  # the mantissa of amax, rounded as the element's, half up
        places = {448: 8, 57344: 4, 6: 2}[top]  # steps of an element between powers of two
        e += int(exact / Fraction(2) ** base * places + Fraction(1, 2) >= 2 * places)
    return max(e, -127)


def scales(rule, top, amax, tensor_amax):
    """(encode, decode, tensor) as f32."""
    if rule == "e4m3":
        whole = encode_f32(6 * 448, tensor_amax)
        tensor = F32(1) / whole
        with np.errstate(over="ignore"):
            wanted = min(amax / F32(6) * whole, F32_MAX)
        decode = np.minimum(wanted, F32(448)).astype(ml_dtypes.float8_e4m3fn).astype(F32)
        with np.errstate(divide="ignore", over="ignore"):
            encode = min(F32(1) / (decode * tensor), F32_MAX)
        return encode, decode, tensor
    if rule in ("f32", "down"):
        encode = encode_f32(top, amax)
        if rule == "down":
            encode = F32(2.0 ** floor_log2(Fraction(float(encode))))
        return encode, F32(1) / encode, F32(1)
    e = mx_exponent(rule, amax, top)
    decode = np.uint8(e + 127).view(ml_dtypes.float8_e8m0fnu).astype(F32)
    return F32(1) / decode, decode, F32(1)


def case(name, amax_bits, tensor_bits):
    element, top, rule = tables()[name]
    encode, decode, tensor = scales(rule, top, bf16(amax_bits), bf16(tensor_bits))
    x = bf16(np.arange(amax_bits + 1, dtype=np.uint16))
    with np.errstate(over="ignore"):
        v = np.clip(x * encode, F32(-top), F32(top))
    out = v.astype(element).astype(F32) * decode * tensor
    bits = out.view(np.uint32)
    starts = np.flatnonzero(np.concatenate(([True], bits[1:] != bits[:-1])))
    runs = " ".join("%x:%x" % (i, bits[i]) for i in starts)
    return "%s %x %x %s\n" % (name, amax_bits, tensor_bits, runs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                                      "../tests/golden/lowprec.txt"))
    args = parser.parse_args()
    with open(args.out, "w", encoding="ascii") as file:
        for name, (element, _, rule) in tables().items():
            edges = EDGES if element == ml_dtypes.float4_e2m1fn else FEW
            for amax in edges:
                file.write(case(name, amax, amax))
                if rule == "e4m3":  # blocks far below the tensor, down to a scale of 0
                    for above in (0x0080, 0x0205, 0x0400, 0x0480, 0x0a00):
                        if amax + above < 0x7f80:
                            file.write(case(name, amax, amax + above))


if __name__ == "__main__":
    main()
