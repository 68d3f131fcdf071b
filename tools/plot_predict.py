#!/usr/bin/env python3
"""Draws what bench_predict measured: for every kind of move a row of scatter plots, predicted against measured change of the
loss, one for each estimator, with Spearman's rank correlation above it.

    python3 -m venv .venv && .venv/bin/pip install matplotlib
    .venv/bin/python tools/plot_predict.py predict.json predict.png [--group 1] [--bits 3] [--loss "other, divergence"]
"""

import os
import sys

import argparse
import json

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def scale_of(values):
    """Where a symmetric logarithmic axis turns linear: the size below which a tenth of the values lie."""
    sizes = sorted(abs(v) for v in values if v != 0)
    return sizes[len(sizes) // 10] if sizes else 1.0


def draw(axes, kind, names, loss):
    measured = [move["measured"][loss] for move in kind["moves"]]
    for i, (axis, name) in enumerate(zip(axes, names)):
        predicted = [move["predicted"][i] for move in kind["moves"]]
        axis.scatter(predicted, measured, s=6, alpha=0.5, linewidths=0)
        axis.set_xscale("symlog", linthresh=scale_of(predicted))
        axis.set_yscale("symlog", linthresh=scale_of(measured))
        axis.axhline(0, color="grey", linewidth=0.5)
        axis.axvline(0, color="grey", linewidth=0.5)
        axis.set_title(f"{name}\n{kind['estimators'][loss][name]['spearman']:.2f}", fontsize=8)
        axis.tick_params(labelsize=5)
    blocks = "1 block" if kind["group"] == 1 else f"{kind['group']} blocks"
    axes[0].set_ylabel(f"{kind['bits']} bits, {kind['move']}, {blocks}\nmeasured", fontsize=8)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("json", help="from bench_predict")
    parser.add_argument("picture", help="to write: .png, .svg or .pdf")
    parser.add_argument("--group", type=int, help="only moves of so many blocks")
    parser.add_argument("--bits", type=int, help="only moves from that width")
    parser.add_argument("--loss", default="calibration", help="what was measured, as bench_predict's table names it")
    args = parser.parse_args()
    with open(args.json, encoding="utf-8") as file:
        data = json.load(file)
    kinds = [
        kind
        for kind in data["kinds"]
        if args.group in (None, kind["group"]) and args.bits in (None, kind["bits"])
    ]
    if not kinds:
        parser.error(f"{args.json} has no such moves")
    if args.loss not in kinds[0]["estimators"]:
        parser.error(f"{args.json} has no loss '{args.loss}'; it has: " + "; ".join(kinds[0]["estimators"]))
    names = data["estimators"]
    figure, axes = plt.subplots(
        len(kinds), len(names), figsize=(1.8 * len(names), 2.0 * len(kinds)), squeeze=False
    )
    for row, kind in zip(axes, kinds):
        draw(row, kind, names, args.loss)
    figure.supxlabel("predicted change of the loss (nats a token)", fontsize=9)
    figure.tight_layout()
    figure.savefig(args.picture, dpi=130)


if __name__ == "__main__":
    main()
