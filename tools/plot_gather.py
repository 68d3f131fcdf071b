#!/usr/bin/env python3
"""What reordering gathers, as a picture: plot_gather.py REPORT.json OUT.png

REPORT.json is what `shardbits reorder ... --json REPORT.json` wrote. Each row of the picture is an order of channels, each
column a matrix of the layer that --map-layer chose, each square a block; darker is more sensitive. A matrix has one scale
in all its orders, logarithmic, from a thousandth of its most sensitive block on.
Needs matplotlib:
    python3 -m venv .venv && .venv/bin/pip install matplotlib
    .venv/bin/python tools/plot_gather.py REPORT.json OUT.png
"""
import os
import sys

import argparse
import json

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.colors import LogNorm

MODES = ("none", "fused", "indexed")


def draw(report, out):
    maps, shares = report["maps"], report["top_tenth"]
    matrices = list(maps["none"])
    widths = [len(maps["none"][m][0]) for m in matrices]
    figure, axes = plt.subplots(
        len(MODES), len(matrices), figsize=(11, 5.2), gridspec_kw={"width_ratios": [max(w, 4) for w in widths]}, squeeze=False
    )
    for j, matrix in enumerate(matrices):
        top = max(x for mode in MODES for row in maps[mode][matrix] for x in row)
        for i, mode in enumerate(MODES):
            axis = axes[i][j]
            values = [[max(x, top / 1000) for x in row] for row in maps[mode][matrix]]
            axis.imshow(values, cmap="magma_r", norm=LogNorm(top / 1000, top), interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            if i == 0:
                axis.set_title(matrix, fontsize=9)
            if j == 0:
                axis.set_ylabel(mode, fontsize=9)
            axis.set_xlabel(f"{100 * shares[mode][matrix]:.0f}%", fontsize=8)
    figure.suptitle(
        f"Sensitivity of the blocks of layer {report['map_layer']}; below: share of the top 10% of blocks, all layers",
        fontsize=10,
    )
    figure.tight_layout()
    figure.savefig(out, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report")
    parser.add_argument("out")
    arguments = parser.parse_args()
    with open(arguments.report, encoding="utf-8") as f:
        report = json.load(f)
    if "maps" not in report:
        parser.error(f"{arguments.report} has no maps: run shardbits reorder without --no-shares")
    draw(report, arguments.out)


if __name__ == "__main__":
    main()
