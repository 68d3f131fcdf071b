# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by the tests of this folder, which are called as TEST.sh SHARDBITS MPIRUN SOURCE.
. "$(dirname "$0")/../program/common.sh"

tiny=$source/tests/golden/gqa-tied
tiny_tokens=$tiny/tokens.bin

hash_of() { # FOLDER: of all its files, names and content
  (cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum)
}
