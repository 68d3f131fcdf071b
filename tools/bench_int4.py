#!/usr/bin/env python3
"""Time PyTorch's product with uniform 4-bit weights (groups of 128) and with dense ones.

Prints one line a shape: rows, columns, tokens, seconds of the 4-bit product,
seconds of the dense one (float32 on processors, bf16 on GPUs); the best of
all calls.  Copies of the weights take turns, so that no cache holds them.  The
4-bit product is compared with its dequantized weights first.
bench/compare_int4.sh runs it side by side with the packed products.
"""
import argparse
import os
import sys
import time

GROUP = 128


def int4_weights(torch, rows, cols, device, dtype):
    """Packed codes, scales with zeros, and the same weights in float32."""
    codes = torch.randint(0, 16, (rows, cols), dtype=torch.int32)
    scales = torch.rand(cols // GROUP, rows, dtype=torch.float32) * 0.01 + 0.01
    zeros = torch.rand(cols // GROUP, rows, dtype=torch.float32) * 0.1
    grids = torch.stack([scales, zeros], dim=2).to(dtype)
    wide = grids.to(torch.float32).repeat_interleave(GROUP, dim=0)  # [cols, rows, 2]
    dense = (codes.to(torch.float32) - 8) * wide[:, :, 0].T + wide[:, :, 1].T
    if device == "cpu":
        packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, 1)
    else:
        pairs = (codes[:, ::2] << 4 | codes[:, 1::2]).to(torch.uint8).to(device)
        packed = torch.ops.aten._convert_weight_to_int4pack(pairs, 8)
    return packed, grids.contiguous().to(device), dense


def product(torch, device, x, packed, grids):
    if device == "cpu":
        return torch.ops.aten._weight_int4pack_mm_for_cpu(x, packed, GROUP, grids)
    return torch.ops.aten._weight_int4pack_mm(x, packed, GROUP, grids)


def best_of(torch, device, seconds, copies, call):
    """Least seconds of a call; on a GPU, of eight in a row."""
    if device == "cpu":
        best, spent, i = float("inf"), time.perf_counter(), 0
        while i < 3 or time.perf_counter() - spent < seconds:
            start = time.perf_counter()
            call(i % copies)
            best = min(best, time.perf_counter() - start)
            i += 1
        return best
    best = float("inf")
    for _ in range(20):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for i in range(8):
            call(i % copies)
        end.record()
        torch.cuda.synchronize()
        best = min(best, start.elapsed_time(end) * 1e-3 / 8)
    return best


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--seconds", type=float, default=1.0, help="for each figure, on processors")
    ap.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16", help="of the activations of the 4-bit product")
    ap.add_argument("--shape", action="append", help="ROWSxCOLUMNS, any number of times")
    ap.add_argument("--tokens", default="1,2,4,8,16,64")
    args = ap.parse_args()
    import torch
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    dtype = getattr(torch, args.dtype)
    dense_type = torch.float32 if args.device == "cpu" else torch.bfloat16
    for shape in args.shape or ["8192x8192"]:
        rows, cols = (int(n) for n in shape.split("x"))
        packed, grids, dense = int4_weights(torch, rows, cols, args.device, dtype)
        copies = 4 if args.device == "cpu" else max(4, (256 << 20) * 2 // (rows * cols))
        many = [packed.clone() for _ in range(copies)]
        wide = [dense.to(dense_type).to(args.device) for _ in range(2 if args.device == "cpu" else 4)]
        for tokens in (int(n) for n in args.tokens.split(",")):
            x = torch.randn(tokens, cols).to(dtype).to(args.device)
            got = product(torch, args.device, x, packed, grids).float().cpu()
            want = x.float().cpu() @ dense.T
            error = ((got - want).norm() / want.norm()).item()
            if not error < 0.02:
                sys.exit("bench_int4.py: the product of %s is wrong by %g" % (shape, error))
            there = x.to(dense_type)
            with torch.no_grad():
                four = best_of(torch, args.device, args.seconds, copies,
                               lambda i: product(torch, args.device, x, many[i], grids))
                full = best_of(torch, args.device, args.seconds, len(wide), lambda i: there @ wide[i].T)
            print(rows, cols, tokens, four, full, flush=True)


if __name__ == "__main__":
    main()
