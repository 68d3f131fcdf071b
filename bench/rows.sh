# shellcheck shell=bash disable=SC2154
# Sourced by the scripts that measure tables: $work, $ranks and $shardbits are theirs, and tools/setup.sh is read before.

once() { # FILE COMMAND ...: unless FILE is there
  local file=$1
  shift
  [ -s "$file" ] || { "$@" >&2 && [ -s "$file" ]; }
}
run() { on_ranks "$ranks" "$shardbits" "$@"; }
number() { json_number "$work/$1.json" "$2"; }

# Uniform widths are blocks of 128 x C with the smallest C that fits the budget at the largest width that fits, so that all
# rows of a budget have nearly the same effective bits; prints C, or nothing where no width fits.
finest() { # MODEL BUDGET
  local cols best="" most=0 bits
  for cols in 32 40 48 56 64 72 80 88 96 104 112 120 128; do
    run inspect "$1" --block "128x$cols" --quiet --json "$work/inspect.$$.json" >/dev/null
    bits=$(tr -d ' \n' <"$work/inspect.$$.json" | sed 's/.*"uniform_effective_bits":\[\([^]]*\)\].*/\1/' | tr , '\n' |
      awk -v budget="$2" '$1 <= budget { n = NR } END { print n + 0 }')
    [ "$bits" -gt "$most" ] && best=$cols most=$bits
  done
  echo "$best"
}
