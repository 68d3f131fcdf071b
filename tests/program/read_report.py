"""read_report.py PAGE JSON...: reads a report as XML, which is stricter than HTML, and looks its numbers up in the runs' JSON."""
import json
import math
import sys
import xml.etree.ElementTree as xml

page, files = sys.argv[1], sys.argv[2:]
with open(page, encoding="utf-8") as file:
    text = file.read()
assert text.startswith("<!DOCTYPE html>\n")
for word in ("<script", "http:", "https:", "src=", "@import", "url("):  # nothing that a network would be asked for
    assert word not in text, word
root = xml.fromstring(text.split("\n", 1)[1])
runs = []
for name in files:
    with open(name, encoding="utf-8") as file:
        runs.append(json.load(file))
quantized = [r for r in runs if r["command"] == "quantize"]
evals = {r["model"]: r for r in runs if r["command"] == "eval"}


def words(element):
    return "".join(element.itertext())


def near(shown, value, digits):
    return abs(float(shown) - value) <= 0.5000001 * 10.0 ** -digits * 10 ** len(str(int(abs(value)))) if value else float(shown) == 0


# Ids are there once, and what is referred to is there.
ids = [e.get("id") for e in root.iter() if e.get("id")]
assert len(ids) == len(set(ids))
for element in root.iter("svg"):
    if element.get("role") == "img":
        assert set(element.get("aria-labelledby").split()) <= set(ids)
    else:
        assert element.get("aria-hidden") == "true"

figures = {}
for figure in root.iter("figure"):
    figures.setdefault(words(figure.find("h4")), []).append(figure)

# The table of runs.
table = next(root.iter("table"))
head = [words(th) for th in table.find("thead/tr")]
rows = {words(tr[0]): dict(zip(head, map(words, tr))) for tr in table.find("tbody")}
assert len(rows) == len(quantized), rows.keys()
for run in quantized:
    row = rows[run["out"].rstrip("/").split("/")[-1]]
    measured = evals[run["out"]]
    assert near(row["Bits a weight"], run["effective_bits"], 4), row
    assert near(row["Of the file"], run["file_bits"], 4), row
    assert near(row["Perplexity"], measured["perplexity"], 5), row
    assert float(row["Mean KL"]) == float("%.4g" % measured["mean_kl"]), row
    assert row["Content hash"] == run["content_hash"] and int(row["Ranks"]) == run["ranks"]
    assert row["File"] == "%.4g MB" % (run["file_bytes"] / 1e6), row

# Behind the figure of losses there are these points.
points = {(words(tr[0]), words(tr[1]), words(tr[2])) for tr in figures["Loss against budget"][0].iter("tr")}
for run in quantized:
    x, y = "%.6g" % run["effective_bits"], "%.6g" % evals[run["out"]]["mean_kl"]
    assert any(p[1:] == (x, y) for p in points), (x, y, points)

# Widths by layer and matrix; shares of widths add up.
run = next(r for r in quantized if r["method"] != "rtn")
widths = run["widths"]
body = figures["Mean bits by layer and matrix"][0].find(".//tbody")
assert [[float(words(td)) for td in tr[1:]] for tr in body] == [[float("%.3g" % v) for v in row] for row in widths["mean"]]
for tr in figures["Widths of each kind of matrix"][0].find(".//tbody"):
    counts = widths["weights_by_bits"][words(tr[0])]
    shown = [0.0 if words(td) == "\u2013" else float(words(td)) for td in tr[1:]]
    assert all(abs(s - 100 * c / sum(counts)) < 0.06 for s, c in zip(shown, counts)), (shown, counts)
total = sum(widths["weights"])
mean = sum(b * c for counts in widths["weights_by_bits"].values() for b, c in enumerate(counts, 1)) / total
assert total == run["layer_weights"]
# code_bits is the mean width of the same weights
assert abs(mean - run["code_bits"]) < 1e-9, (mean, run["code_bits"])

# The picture, as stored, is made of its cells: every cell is painted once, by the shade of its width.
picture = widths["picture"]
for key, title in (("stored", ", as stored"), ("source", "in the model's own order")):
    cells = [[float(v) for v in row.split()] for row in picture[key]]
    figure = next(f for t, fs in figures.items() for f in fs if t.endswith(title))
    svg = figure.find("svg")
    painted = {}
    for path in svg.iter("path"):
        for part in path.get("d").split("M")[1:]:
            x, rest = part.split(" ", 1)
            y, rest = rest.split("h", 1)
            for i in range(int(rest.split("v")[0])):
                place = (int(y), int(x) + i)
                assert place not in painted
                painted[place] = path.get("fill")
    assert len(painted) == sum(map(len, cells))
    shades = {}
    for (i, j), fill in painted.items():
        shades.setdefault(fill, set()).add(cells[i][j])
    ranges = sorted((min(s), max(s)) for s in shades.values())
    assert all(a[1] <= b[0] for a, b in zip(ranges, ranges[1:])), ranges  # shades do not overlap
# Both pictures show the same weights, so they have the same mean; cells are rounded to a hundredth.
def sides(size, cells):
    return [(i + 1) * size // cells - i * size // cells for i in range(cells)]


def mean_of(rows):
    down, across = (sides(size, cells) for size, cells in zip(picture["shape"], (len(rows), len(rows[0].split()))))
    cells = [[float(v) for v in row.split()] for row in rows]
    return sum(h * w * v for h, row in zip(down, cells) for w, v in zip(across, row)) / (sum(down) * sum(across))


assert abs(mean_of(picture["stored"]) - mean_of(picture["source"])) < 0.005
assert picture["stored"] != picture["source"]

# Errors of layers: those measured, and what widths alone say, with the same mean logarithm.
shown = {}
for tr in list(figures["Error a layer, predicted and measured"][0].iter("tr"))[1:]:
    shown.setdefault(words(tr[0]), []).append(words(tr[2]))
assert shown["measured"] == ["%.6g" % e for e in run["layer_errors"]] and all(0 < e < 1 for e in run["layer_errors"])
predicted = [float(v) for v in shown["predicted by widths alone"]]
assert len(predicted) == len(widths["noise"])
for i, noise in enumerate(widths["noise"]):
    assert abs(predicted[i] / predicted[0] - noise / widths["noise"][0]) < 1e-4 * noise / widths["noise"][0]
logs = [sum(math.log(v) for v in values) for values in (predicted, run["layer_errors"])]
assert abs(logs[0] - logs[1]) < 1e-4, logs

# The search and the phases.
steps = [tr for tr in figures["The search"][0].iter("tr")][1:]
assert sorted(float(words(tr[1])) for tr in steps) == sorted(float(s["step"]) for s in run["search"])
assert {"%.6g" % s["loss"] for s in run["search"]} == {words(tr[2]) for tr in steps}
phases = {words(tr[0]) for tr in figures["Time and memory by phase"][0].iter("tr")}
for phase in run["phases"]:
    assert (phase["name"] in phases) == (phase["seconds"] >= 0.005), phase["name"]
    assert len(phase["ranks"]["seconds"]) == run["ranks"] and phase["seconds"] == max(phase["ranks"]["seconds"])
print("%d runs, %d figures" % (len(quantized), sum(map(len, figures.values()))))
