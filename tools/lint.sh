#!/usr/bin/env bash
# lint.sh [--analyze] [FILE ...]: formatter (clang-format), linter (clang-tidy), rooms and sizes (check_house.py) and shellcheck over
# these files, or over all. --analyze adds clang's static analyzer, which takes some 5 s per source file.
# clang-tidy reads the flags of build/test (cmake --preset test). Without it, or without one of the programs, that check says so and fails.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/.." || exit 1
analyze='' failed=0
[ "${1:-}" != --analyze ] || { analyze=',clang-analyzer-*,-clang-analyzer-security.insecureAPI.*,-clang-analyzer-optin.mpi.MPI-Checker,-clang-analyzer-optin.performance.Padding'; shift; }

if [ $# -gt 0 ]; then
  files=("$@")
else
  mapfile -t files < <(git ls-files -co --exclude-standard)
fi
# of PATTERN: those of the files that are there and whose names match
of() {
  local file
  for file in "${files[@]}"; do [[ ! $file =~ $1 ]] || [ ! -f "$file" ] || printf '%s\0' "$file"; done
}
check() { # WHAT COMMAND ...
  local what=$1 at=$SECONDS
  shift
  if "$@"; then
    printf '%-12s fine (%d s)\n' "$what" $((SECONDS - at))
  else
    printf '%-12s FAILED\n' "$what"
    failed=1
  fi
}

format() { of '\.(c|h|cpp|cu|cuh)$' | xargs -0r clang-format --dry-run -Werror; }
tidy() { # what clang itself counts as warnings ("3 warnings generated") goes to stderr
  of '\.c$' | xargs -0r -n 8 -P "$(nproc)" clang-tidy -p build/test --quiet --checks="$analyze" 2>build/lint.log ||
    { grep -E "error|cannot|such file" build/lint.log | head -n 20; return 1; }
}
scripts() { of '\.(sh|sbatch)$|^\.ci/run$' | xargs -0r shellcheck -x -S warning; }

mkdir -p build
check "format" format
check "house" python3 tools/check_house.py
check "clang-tidy" tidy
check "shellcheck" scripts
exit $failed
