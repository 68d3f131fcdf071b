#!/usr/bin/env python3
"""What smoothing of token frequencies costs and saves, where embedding and LM
head are rounded to widths chosen by block.

    bench/table_rows.py MODEL CALIB OTHER [--widths 3,4,5,6] [--rules ...]
    bench/table_rows.py MODEL CALIB OTHER --made FOLDER ...

MODEL is a Hugging Face folder whose head is its embedding; CALIB and OTHER are
files of uint16 tokens.  All in PyTorch, nothing of shardbits: the statistics of
quant/table_stats.h from CALIB, what each width of each block of 128 x 128 costs,
the widths of a given mean that cost least, and the table rounded to them with
compensation (GPTQ, asymmetric grids, groups of 128).  Layers stay as they are.

Rules, which say how rows are weighed as an embedding's, f(v) from the count c of
token v among N, V in the vocabulary:

  uniform  the same width everywhere       counted  c / N
  one      (c + 1) / (N + V)               half     1/2 c / N + 1/2 1 / V
  root     in proportion to sqrt(c + 1/2)  flat     1 / V

RULE:half mixes the head's row weights, the means of p (1 - p), with their own
mean in the same way; RULE:root takes their roots.

With --made nothing is rounded: FOLDERs are models made from MODEL, as shardbits
export writes them.

Printed is a Markdown table of the loss on OTHER, nats per token, above that of
the source weights: of all targets; of the tenth whose token, as a target or as
the input at that place, is rarest in CALIB; of the rest.  The standard error of
a tenth is over tokens: all places of one token count as one draw.  Statistics
are kept in --cache.  Needs torch and transformers (tools/requirements-golden.txt).
"""
import argparse
import os

import numpy as np
import torch
from transformers import AutoModelForCausalLM

RULES = ("uniform", "counted", "one", "half", "root", "flat")


def windows(path, count, length):
    """`count` windows of a file, spread evenly, as shardbits takes them with --seed 0."""
    tokens = np.fromfile(path, dtype=np.uint16).astype(np.int64)
    all_of = len(tokens) // length
    count = min(count, all_of)
    starts = [i * all_of // count * length for i in range(count)]
    return torch.tensor(np.stack([tokens[s:s + length] for s in starts]))


class Table:
    """The table, what errors in it cost, and how it is rounded."""

    def __init__(self, model, side):
        self.model = model
        self.type = model.dtype
        weights = model.get_input_embeddings().weight
        self.weights = weights.detach().float().clone()
        self.rows, self.hidden = self.weights.shape
        self.side = side
        self.down = -(-self.rows // side)
        self.columns = [slice(c, min(c + side, self.hidden)) for c in range(0, self.hidden, side)]

    def measure(self, calib, weigh):
        """Column moments of both uses, row weights of the head."""
        table, h = self.weights.to(self.type), self.hidden
        head, embedding = torch.zeros(h, h), torch.zeros(h, h)
        variances = torch.zeros(self.rows)
        for tokens in calib:
            x0 = torch.nn.functional.embedding(tokens[None], table).requires_grad_(True)
            states = self.model.model(inputs_embeds=x0).last_hidden_state[0, :-1]
            log_p = torch.log_softmax((states @ table.T).float(), -1)
            (dx,) = torch.autograd.grad(torch.nn.functional.nll_loss(log_p, tokens[1:]), x0)
            with torch.no_grad():
                p = log_p.exp()
                variances += (p * (1 - p)).sum(0)
                x, dx = states.float(), dx[0].float()
                if weigh:
                    x = x * (1 - (p * p).sum(1, keepdim=True)).clamp(min=0).sqrt()
                head += x.T @ x
                embedding += dx.T @ dx
        n = calib.shape[1] - 1
        targets = len(calib) * n
        if weigh:
            head = head * targets / variances.sum()
        return head / targets, embedding * n / len(calib), variances / targets

    def nearest(self, bits):
        out = torch.empty_like(self.weights)
        for c in self.columns:
            grid = Grid(self.weights[:, c], torch.full((self.rows, 1), float(bits)))
            out[:, c] = grid.rounded(self.weights[:, c])
        return out

    def row_costs(self, moments):
        """[width - 1][rows, block columns] of one use, of rounding to nearest."""
        costs = []
        for bits in range(1, 9):
            e = self.nearest(bits) - self.weights
            costs.append(torch.stack([(e[:, c] @ moments[c, c] * e[:, c]).sum(1)
                                      for c in self.columns], 1).double())
        return torch.stack(costs)

    def block_costs(self, head, embedding, head_rows, embedding_rows):
        """[width - 1, blocks] of both uses."""
        rows = 0.5 * (head_rows[:, None] * head + embedding_rows[:, None] * embedding)
        rows = torch.nn.functional.pad(rows, (0, 0, 0, self.down * self.side - self.rows))
        return rows.reshape(8, self.down, self.side, -1).sum(2).reshape(8, -1).numpy()

    def compensated(self, widths, moments):
        """Rounded to widths [blocks], later columns making up for the errors of earlier ones."""
        h = moments.double()
        h = h + torch.eye(self.hidden) * h.diagonal().mean() * 0.01
        u = torch.linalg.cholesky(torch.linalg.inv(h), upper=True).float()
        w, out = self.weights.clone(), torch.empty_like(self.weights)
        widths = torch.tensor(widths).reshape(self.down, -1)
        for j, c in enumerate(self.columns):
            bits = widths[:, j].repeat_interleave(self.side)[:self.rows, None].float()
            grid, errors = Grid(w[:, c], bits), torch.empty_like(w[:, c])
            for i in range(c.start, c.stop):
                out[:, i] = grid.rounded(w[:, i:i + 1])[:, 0]
                e = (w[:, i:i + 1] - out[:, i:i + 1]) / u[i, i]
                errors[:, i - c.start] = e[:, 0]
                w[:, i:c.stop] -= e * u[i, i:c.stop]
            w[:, c.stop:] -= errors @ u[c, c.stop:]
        return out

    @torch.no_grad()
    def losses(self, table, other):
        """[windows, targets] with `table` for both uses."""
        table, out = table.to(self.type), []
        for tokens in other:
            x = torch.nn.functional.embedding(tokens[None], table)
            logits = self.model.model(inputs_embeds=x).last_hidden_state[0, :-1] @ table.T
            out.append(torch.nn.functional.cross_entropy(logits.float(), tokens[1:],
                                                         reduction="none"))
        return torch.stack(out)


class Grid:
    """Grids of groups, one per row of `w`, of `bits` [rows, 1] (kernels/shared/grid.h)."""

    def __init__(self, w, bits):
        low, high = w.amin(1, keepdim=True).clamp(max=0), w.amax(1, keepdim=True).clamp(min=0)
        self.top = 2 ** bits - 1
        self.scale = ((high - low) / self.top).half().float().clamp(min=1e-8)
        self.zero = torch.round(-low / self.scale)
        self.one = bits == 1
        self.mean = w.mean(1, keepdim=True)
        self.spread = (w - self.mean).abs().mean(1, keepdim=True)

    def rounded(self, x):
        codes = torch.round(x / self.scale) + self.zero
        codes = torch.minimum(codes.clamp(min=0), self.top)
        signs = torch.where(x >= self.mean, 1.0, -1.0)
        return torch.where(self.one, self.mean + self.spread * signs,
                           (codes - self.zero) * self.scale)


def share(rule, counts):
    total, vocab = counts.sum(), len(counts)
    if rule == "counted":
        return counts / total
    if rule in ("one", "uniform"):
        return (counts + 1) / (total + vocab)
    if rule == "half":
        return 0.5 * counts / total + 0.5 / vocab
    if rule == "root":
        return (counts + 0.5).sqrt() / (counts + 0.5).sqrt().sum()
    return torch.full_like(counts, 1 / vocab)


def smoothed(rule, weights):
    if rule == "half":
        return 0.5 * weights + 0.5 * weights.mean()
    if rule == "root":
        return weights.sqrt() * (weights.sum() / weights.sqrt().sum())
    return weights


def choose(costs, mean):
    """Widths 1 .. 8 of blocks that cost least at a price for a bit; the mean is not exceeded."""
    low, high = 1e-20, 1e3
    bits = np.arange(1, 9)[:, None]
    for _ in range(200):
        price = (low * high) ** 0.5
        if (1 + np.argmin(costs + price * bits, 0)).mean() > mean:
            low = price
        else:
            high = price
    return 1 + np.argmin(costs + high * bits, 0)


def rarest_tenth(counts):
    """True for the tenth of places whose token is rarest; ties are drawn."""
    drawn = torch.Generator().manual_seed(1)
    order = torch.argsort(counts + torch.rand(len(counts), generator=drawn, dtype=torch.double) / 2)
    out = torch.zeros(len(counts), dtype=torch.bool)
    out[order[:len(order) // 10]] = True
    return out


def by_rarity(rise, tokens, rare):
    """Mean over the rarest tenth, its standard error, mean over the rest."""
    ids, which = torch.unique(tokens[rare], return_inverse=True)
    off = rise[rare] - rise[rare].mean()
    error = torch.zeros(len(ids)).index_add_(0, which, off).square().sum().sqrt() / rare.sum()
    return rise[rare].mean(), error, rise[~rare].mean()


class Rarity:
    """Places of other text by how rare their tokens are in the calibration."""

    def __init__(self, counts, source, other):
        self.source = source
        self.targets, self.inputs = other[:, 1:].flatten(), other[:, :-1].flatten()
        self.rare = rarest_tenth(counts[self.targets])
        self.rare_inputs = rarest_tenth(counts[self.inputs])
        print("Loss %.4f on %d targets, %.2f of the rarest tenth, whose tokens calibration has up "
              "to %d times.\n" % (source.mean(), len(self.targets), source.flatten()[self.rare].mean(),
                               counts[self.targets][self.rare].max()))
        print("| | rise of the loss | rarest targets | other targets | at rarest inputs | "
              "at other inputs |")
        print("| --- | ---: | ---: | ---: | ---: | ---: |", flush=True)

    def row(self, label, losses):
        rise = (losses - self.source).flatten()
        cells = [*by_rarity(rise, self.targets, self.rare),
                 *by_rarity(rise, self.inputs, self.rare_inputs)]
        print("| %s | %.4f | %.4f ± %.4f | %.4f | %.4f ± %.4f | %.4f |" %
              (label, rise.mean(), *cells), flush=True)


def open_model(folder, args):
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16 if args.bf16 else torch.float32)
    return model.eval().requires_grad_(False)


def weigh_rules(table, calib, counts, other, rarity, args):
    """A row for each width and rule."""
    if args.cache and os.path.exists(args.cache):
        head, embedding, variances = torch.load(args.cache)
    else:
        head, embedding, variances = table.measure(calib, args.weigh)
        if args.cache:
            torch.save((head, embedding, variances), args.cache)
    moments = variances.mean() * head + embedding / table.rows
    costs = table.row_costs(head), table.row_costs(embedding)
    for width in args.widths.split(","):
        for rule in args.rules.split(","):
            of_embedding, of_head = (rule + ":").split(":")[:2]
            c = table.block_costs(*costs, smoothed(of_head, variances.double()),
                                  share(of_embedding, counts))
            chosen = choose(c, float(width))
            if rule == "uniform":
                chosen = np.full_like(chosen, round(float(width)))
            rarity.row("%.2f bits, %s" % (chosen.mean(), rule),
                       table.losses(table.compensated(chosen, moments), other))


def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("model")
    ap.add_argument("calib")
    ap.add_argument("other")
    ap.add_argument("--seqs", type=int, default=128, help="windows of CALIB")
    ap.add_argument("--others", type=int, default=96, help="windows of OTHER")
    ap.add_argument("--seqlen", type=int, default=512)
    ap.add_argument("--widths", default="3,4,5,6", help="mean bits of a code")
    ap.add_argument("--rules", default="uniform,counted,one,half")
    ap.add_argument("--made", nargs="+", default=[], metavar="FOLDER",
                    help="measure these models instead (one table for embedding and head)")
    ap.add_argument("--block", type=int, default=128)
    ap.add_argument("--bf16", action="store_true", help="compute in bfloat16")
    ap.add_argument("--weigh", action="store_true",
                    help="states count by the variance of what they predict, 1 - sum of p^2")
    ap.add_argument("--cache", help="file for the statistics")
    args = ap.parse_args()
    table = Table(open_model(args.model, args), args.block)
    calib, other = (windows(path, count, args.seqlen)
                    for path, count in ((args.calib, args.seqs), (args.other, args.others)))
    counts = torch.bincount(calib.flatten(), minlength=table.rows).double()
    print("%d tokens of calibration, with %.1f%% of the vocabulary." %
          (calib.numel(), 100 * (counts > 0).double().mean()))
    rarity = Rarity(counts, table.losses(table.weights, other), other)
    for folder in args.made:
        made = Table(open_model(folder, args), args.block)
        rarity.row(os.path.basename(folder.rstrip("/")), made.losses(made.weights, other))
    if not args.made:
        weigh_rules(table, calib, counts, other, rarity, args)


if __name__ == "__main__":
    main()
