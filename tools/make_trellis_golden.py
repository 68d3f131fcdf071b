#!/usr/bin/env python3
"""Write tests/golden/exl3.txt: what EXL3 makes of a tile's bytes, at every width.

A line is one tile: the width, its bytes in the order of the file, the fp16 number
of each of its 256 weights in the order of the trellis (both hexadecimal), and the
row-major place in the tile, 16 * in + out, of each of them.

exl3_to_hf.py computes them from the format. States and places of random tiles of
all widths were equal to those of exllamav3 1.6.5's own code for processors
(exllamav3_ext/cpu/moe_mul1.cpp, decode_state_scalar and make_tc_perm). Needs numpy.
"""
import os

import exl3_to_hf as exl3
import numpy as np


def main():
    random = np.random.default_rng(27)
    place = " ".join(str(p) for p in exl3.place())
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "golden", "exl3.txt")
    with open(path, "w") as f:
        for width in range(1, 9):
            tile = random.integers(0, 1 << 16, 16 * width).astype("<u2")
            values = exl3.levels("mul1")[exl3.states(tile)]
            f.write(f"{width} {tile.tobytes().hex()} {values.astype('>f2').tobytes().hex()} {place}\n")


if __name__ == "__main__":
    main()
