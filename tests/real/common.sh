# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by the tests with a real model, whose folder SHARDBITS_SMOLLM2 names.
. "$(dirname "$0")/../support/shell.sh"
model=${SHARDBITS_SMOLLM2:-}
if [ ! -e "$model/config.json" ]; then
  echo "no model: SHARDBITS_SMOLLM2 is '$model'; it must name the folder that tools/get_smollm2.sh makes"
  exit 1
fi
# Two ranks of one thread each.
on_two() { run 2 "$@" --threads 1; }
