# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by the tests of this folder, which are called as TEST.sh SHARDBITS MPIRUN SOURCE.
. "$(dirname "$0")/../program/common.sh"

tiny=$source/tests/golden/gqa-tied
tiny_tokens=$tiny/tokens.bin
out=$dir/OUT

# tell RANKS ARGUMENT ...: runs the program ("1": without mpirun) for at most a minute: $code, $dir/stdout, $dir/stderr
tell() {
  local ranks=$1
  shift
  if [ "$ranks" = 1 ]; then
    timeout 60 "$shardbits" "$@" --quiet >"$dir/stdout" 2>"$dir/stderr"
  else
    timeout 60 "$mpirun" "$ranks" -q "$shardbits" "$@" --quiet >"$dir/stdout" 2>"$dir/stderr"
  fi
  code=$?
  sed -i '/^\[warn\] Epoll MOD/d' "$dir/stderr" # Open MPI's own, now and then
}
# one_line WHAT TEXT: exit code 1 and one line on stderr, ours, that holds TEXT
one_line() {
  [ "$code" = 1 ] || fail "$1: exit code $code, expected 1"
  [ "$(wc -l <"$dir/stderr")" = 1 ] || fail "$1: not one line: $(cat "$dir/stderr")"
  grep -q "^shardbits: .*$2" "$dir/stderr" || fail "$1: no '$2' in: $(cat "$dir/stderr")"
}
# refused TEXT ARGUMENT ...: on 1 rank and on 3, with one line that holds TEXT; $out is not made
refused() {
  local text=$1 ranks
  shift
  for ranks in 1 3; do
    tell $ranks "$@"
    one_line "$* on $ranks ranks" "$text"
    [ -z "$(find "$dir" -maxdepth 1 -name 'OUT*')" ] || fail "$* on $ranks ranks: left $(ls "$dir")"
  done
}
hash_of() { # FOLDER: of all its files, names and content
  (cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum)
}
