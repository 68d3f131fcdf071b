#!/usr/bin/env python3
"""Checks the house: which room may include which, circles, sizes, calls that one place makes for
all, and names of files that are gone (docs/architecture.md).

Reads all sources and documents, and prints one line for each breach; exit code 1 if there is any.
With --graph it prints the arrows between rooms and their counts instead.
"""
import argparse
import collections
import os
import re
import subprocess
import sys

# Bottom to top. A room includes itself and rooms before it.
ROOMS = ["base", "io", "mpi", "kernels", "python", "model", "folders", "pass", "quant", "sensitivity", "alloc",
         "train", "policy", "plan", "measure", "report", "cli"]
# Leaves: they know nothing of these, although those lie below.
NEVER = {"mpi": ["io"], "kernels": ["io", "mpi"], "folders": ["alloc"], "python": ["mpi"]}
# Inside kernels/ the two backends do not know each other, and what both share knows neither.
KERNELS_NEVER = {"kernels/cpu": ["kernels/cuda"], "kernels/cuda": ["kernels/cpu"]}
# (from, to): why the arrow may run that way.
ALLOWED = {
    ("kernels/device.c", "kernels/cuda/cuda.h"): "the one place that chooses a backend",
}
# (calls, the files that may make them, what the others do instead)
ONE_PLACE = [
    (re.compile(r'\b(?:open|openat|creat|freopen|mkstemp|fopen)\((?!"/(?:proc|sys)/)'),
     {"base/cleanup.c", "io/file.c", "io/atomic.c", "io/unfinished.c", "io/lock.c"},
     "files are opened by io/file.h, which waits for no pipe and writes through no link"),
    (re.compile(r"\b(?:printf|vprintf|puts|putchar)\(|\bfprintf\((?:stdout|out)\b"),
     {"base/text.c", "cli/main.c", "cli/options_help.c", "cli/completion.c"},
     "results are written by sb_text_print, which lets no control character through"),
    (re.compile(r"\b(?:getpid|tmpnam|tempnam|mktemp|mkdtemp)\("),
     {"io/unfinished.c", "io/lock.c"},
     "temporary names are made by io/unfinished.h, where nobody can guess them"),
]
CODE = (".c", ".h", ".cu", ".cuh", ".cpp")
MOST_LINES = 450  # of a file
MOST_FUNCTION = 60  # lines of a function, but tables of options
MOST_COLUMNS = 100
MOST_SHARE = 0.2  # of the code in one room, kernels aside
TABLES = re.compile(r"\bsb_option\b")  # a function that is a table of options


def files(root, endings=CODE):
    out = subprocess.run(["git", "-C", root, "ls-files", "-co", "--exclude-standard"], text=True,
                         stdout=subprocess.PIPE, check=False)
    if out.returncode == 0:
        names = out.stdout.split("\n")
    else:
        names = [os.path.relpath(os.path.join(d, f), root) for d, _, fs in os.walk(root) for f in fs]
    built = {n.split("/")[0] for n in names if n.endswith("CMakeCache.txt")}
    return sorted(n for n in names if n.endswith(endings) and not n.startswith("build")
                  and n.split("/")[0] not in built
                  and os.path.exists(os.path.join(root, n)))


MENTION = re.compile(r"(?<![\w/.-])((?:%s)/[a-z0-9_./-]*[a-z0-9_]\.(?:c|h|cuh?|cpp|py|sh|md|sbatch))\b"
                     % "|".join(ROOMS + ["tests", "bench", "tools", "docs", "slurm"]))
TEXTS = CODE + (".md", ".py", ".sh", ".txt", ".cmake", ".sbatch")


def stale_mentions(root):
    """(file, line, path) for every path of ours that a comment or a document names and that is not there."""
    for name in files(root, TEXTS):
        if name in ("CHANGELOG.md", "docs/recipes.md"):  # files that were, files that are to be made
            continue
        with open(os.path.join(root, name), encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                for path in MENTION.findall(line):
                    if not any(os.path.exists(os.path.join(root, at, path)) for at in ("", os.path.dirname(name))):
                        yield name, number, path


def room_of(path):
    return path.split("/")[0]


def includes_of(lines):
    for number, line in enumerate(lines, 1):
        found = re.match(r'#include "([a-z_0-9]+/[^"]+)"', line)
        if found:
            yield number, found[1]


def arrow_error(name, target):
    """Why `name` may not include `target`, or None."""
    if (name, target) in ALLOWED:
        return None
    here, there = room_of(name), room_of(target)
    if here in ("tests", "bench"):
        return None
    if there in ("tests", "bench"):
        return "the program includes tests or benchmarks"
    if here not in ROOMS or there not in ROOMS:
        return f"no room is called {here if here not in ROOMS else there}"
    if ROOMS.index(there) > ROOMS.index(here):
        return f"{here}/ lies under {there}/"
    if there in NEVER.get(here, []):
        return f"{here}/ knows nothing of {there}/"
    for folder, never in KERNELS_NEVER.items():
        if name.startswith(folder + "/") and any(target.startswith(n + "/") for n in never):
            return f"{folder}/ knows nothing of {target}"
    return None


def circles(graph):
    """Strongly connected components of more than one file (Tarjan, without recursion)."""
    index, low, on, stack, out = {}, {}, set(), [], []
    for root in graph:
        if root in index:
            continue
        work = [(root, iter(graph[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on.add(root)
        while work:
            node, rest = work[-1]
            for target in rest:
                if target not in index:
                    index[target] = low[target] = len(index)
                    stack.append(target)
                    on.add(target)
                    work.append((target, iter(graph.get(target, []))))
                    break
                if target in on:
                    low[node] = min(low[node], index[target])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    part = []
                    while True:
                        part.append(stack.pop())
                        on.discard(part[-1])
                        if part[-1] == node:
                            break
                    if len(part) > 1:
                        out.append(sorted(part))
    return out


def concept(path):
    """A .c, its .h and its _impl.h are one thing; circles are looked for between things."""
    return re.sub("_impl$", "", os.path.splitext(path)[0])


def functions(lines):
    """(first line, lines, text) of every function: it begins in column 0 and ends with a brace there."""
    start = None
    for number, line in enumerate(lines, 1):
        if start is None and re.match(r"[A-Za-z_].*\)\s*\{\s*$|\s+.*\)\s*\{\s*$", line):
            first = number
            while first > 1 and lines[first - 1][:1] in (" ", "\t"):
                first -= 1
            if re.match(r"[A-Za-z_]", lines[first - 1]) and not lines[first - 1].startswith("#"):
                start = first
        elif start is not None and line.startswith("}"):
            yield start, number - start + 1, "\n".join(lines[start - 1:number])
            start = None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", nargs="?", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    parser.add_argument("--graph", action="store_true", help="print the arrows between rooms")
    options = parser.parse_args()
    breaches, graph, sizes = [], collections.defaultdict(set), collections.Counter()
    arrows = collections.Counter()
    for name in files(options.root):
        with open(os.path.join(options.root, name), encoding="utf-8") as file:
            lines = file.read().split("\n")
        if lines and lines[-1] == "":
            lines.pop()
        here = room_of(name)
        sizes[here] += len(lines)
        for number, line in enumerate(lines, 1):
            if len(line) > MOST_COLUMNS:
                breaches.append(f"{name}:{number}: {len(line)} columns, at most {MOST_COLUMNS}")
        if len(lines) > MOST_LINES:
            breaches.append(f"{name}: {len(lines)} lines, at most {MOST_LINES}")
        for first, count, text in functions(lines):
            if count > MOST_FUNCTION and not TABLES.search(text):
                breaches.append(f"{name}:{first}: a function of {count} lines, at most {MOST_FUNCTION}")
        for number, line in enumerate(lines, 1) if here in ROOMS else ():
            for calls, places, instead in ONE_PLACE:
                if calls.search(line) and name not in places:
                    breaches.append(f"{name}:{number}: {instead}")
        for number, target in includes_of(lines):
            why = arrow_error(name, target)
            if why:
                breaches.append(f"{name}:{number}: includes {target}: {why}")
            if here != "tests" and concept(name) != concept(target):
                graph[concept(name)].add(concept(target))
                if here != room_of(target):
                    arrows[here, room_of(target)] += 1
    for name, number, path in stale_mentions(options.root):
        breaches.append(f"{name}:{number}: names {path}, which is not there")
    for part in circles({n: sorted(t) for n, t in sorted(graph.items())}):
        breaches.append("a circle of files: " + ", ".join(part))
    code = {r: n for r, n in sizes.items() if r in ROOMS and r != "kernels"}
    for room, count in code.items():
        if count > MOST_SHARE * sum(code.values()):
            breaches.append(f"{room}/: {count} of {sum(code.values())} lines, at most a fifth")
    if options.graph:
        for (here, there), count in sorted(arrows.items(), key=lambda a: (ROOMS + [a[0][0]]).index(a[0][0])):
            print(f"{here:12} -> {there:12} {count}")
        for room in ROOMS:
            print(f"{room:12} {sizes[room]} lines")
        return 0
    print("\n".join(breaches) if breaches else f"the house stands: {sum(sizes.values())} lines in order")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
