#!/usr/bin/env python3
"""read_trace.py TRACE RANKS [PHASE ...]: checks a trace file of shardbits.

Every rank is a process with a name; spans of a rank nest and are in order; with phases given, all of
them are there, all categories that this number of ranks has, and little of the time is in phases
alone. Exit code 1 with one line per fault.
"""
import json
import sys

# Of a rank's time from its first span to its last one: in phases, but in nothing within them.
MOST_UNACCOUNTED = 0.1
ROUNDING = 2e-3  # microseconds: times have three places


def process_names(events):
    return {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}


def check_nesting(spans):
    """Faults of one rank's spans, which come in the order of their beginnings."""
    open_spans, last = [], float("-inf")
    for span in spans:
        begin, end = span["ts"], span["ts"] + span["dur"]
        if begin < last - ROUNDING or span["dur"] < 0:
            yield f"{span['name']} at {begin} is out of order"
        last = begin
        while open_spans and open_spans[-1][1] <= begin + ROUNDING and open_spans[-1][1] < end:
            open_spans.pop()
        if open_spans and end > open_spans[-1][1] + ROUNDING:
            yield f"{span['name']} at {begin} leaves {open_spans[-1][0]}"
        open_spans.append((span["name"], end))


def unaccounted(spans):
    """Share of the time that no span but phases covers."""
    covered, until = 0.0, float("-inf")
    for span in spans:
        if span["cat"] == "phase":
            continue
        begin, end = max(span["ts"], until), span["ts"] + span["dur"]
        covered += max(0.0, end - begin)
        until = max(until, end)
    first = min(s["ts"] for s in spans)
    return 1 - covered / (max(s["ts"] + s["dur"] for s in spans) - first)


def faults(trace, ranks, phases):
    events = trace["traceEvents"]
    names = process_names(events)
    if sorted(names) != list(range(ranks)):
        yield f"processes {sorted(names)}, expected {ranks}"
    if trace["otherData"]["ranks"] != ranks or trace["otherData"]["dropped"] != 0:
        yield f"totals: {trace['otherData']}"
    expected = {"phase", "compute", "disk", "exchange"} | ({"wait", "gather"} if ranks > 1 else set())
    for rank in range(ranks):
        if not names.get(rank, "").startswith(f"rank {rank} on "):
            yield f"rank {rank} is called {names.get(rank)}"
        spans = [e for e in events if e["ph"] == "X" and e["pid"] == rank]
        yield from (f"rank {rank}: {fault}" for fault in check_nesting(spans))
        found = {s["name"] for s in spans if s["cat"] == "phase"}
        if "shardbits" not in found or set(phases) - found:
            yield f"rank {rank}: phases {sorted(set(phases) - found)} are missing"
        if len(phases) < 2:
            continue
        categories = {s["cat"] for s in spans}
        if expected - categories or categories - expected - {"wait", "gather"}:
            yield f"rank {rank}: categories {sorted(categories)}"
        share = unaccounted(spans)
        print(f"rank {rank}: {len(spans)} spans, {100 * share:.1f}% of the time in phases alone")
        if share > MOST_UNACCOUNTED:
            yield f"rank {rank}: {100 * share:.1f}% of the time is in phases alone"


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        trace = json.load(file)
    found = list(faults(trace, int(sys.argv[2]), sys.argv[3:]))
    for fault in found[:20]:
        print(fault)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
