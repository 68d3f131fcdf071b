#!/usr/bin/env bash
# `cmake --install` is complete, wherever it goes; what packagers read (module file, Spack's package.py, Apptainer's definition) agrees with
# the build. debian_package.sh makes a package.
. "$(dirname "$0")/../support/shell.sh"

build=$4 prefix="$dir/a prefix"
version=$("$shardbits" --version | cut -d' ' -f2)
cmake --install "$build" --prefix "$prefix" >"$dir/log" || { cat "$dir/log"; exit 1; }
for file in bin/shardbits share/man/man1/shardbits.1 share/bash-completion/completions/shardbits share/zsh/site-functions/_shardbits \
  "share/shardbits/modulefiles/shardbits/$version.lua" share/doc/shardbits/{README,CHANGELOG,CONTRIBUTING}.md share/doc/shardbits/LICENSE; do
  [ -s "$prefix/$file" ] || fail "$file is not installed"
done
for file in "$source"/slurm/*.sbatch; do
  cmp "$file" "$prefix/share/shardbits/slurm/$(basename "$file")" || fail "$file is not installed"
done
while read -r link; do
  [ -e "$prefix/share/doc/shardbits/$link" ] || fail "README.md links to $link, which is not installed"
done < <(grep -o '](docs/[^)#]*' "$source/README.md" | cut -c3- | sort -u)
[ "$("$prefix/bin/shardbits" --version)" = "shardbits $version" ] || fail "the installed program"
cmp <("$shardbits" completion bash) "$prefix/share/bash-completion/completions/shardbits" || fail "another completion for bash"
cmp <("$shardbits" completion zsh) "$prefix/share/zsh/site-functions/_shardbits" || fail "another completion for zsh"

# ---- every command has its place in the man page ----
for command in $("$shardbits" --help | sed -n '/^commands:/,/^$/s/^  \([a-z]*\) .*/\1/p'); do
  grep -q "^\.B[IR]* $command\b" "$source/docs/shardbits.1" || fail "shardbits.1 says nothing of $command"
done

# ---- module file: what Lmod is told, by functions in place of Lmod's ----
luac5.4 -p "$prefix/share/shardbits/modulefiles/shardbits/$version.lua" || fail "the module file is no Lua"
told() { # FILE SHELL
  lua5.4 - "$1" "$2" <<'EOF'
local file, shell = arg[1], arg[2]
function myFileName() return file end
function myShellName() return shell end
function pathJoin(a, b) return a .. "/" .. b end
function help(text) assert(#text > 100) end
function whatis(text) print("whatis", text) end
for _, name in ipairs{"conflict", "setenv", "prepend_path"} do _G[name] = function(...) print(name, ...) end end
function execute(t) print("execute", t.cmd, t.modeA[1]) end
dofile(file)
EOF
}
module="$prefix/share/shardbits/modulefiles/shardbits/$version.lua"
told "$module" bash >"$dir/told" || fail "the module file fails"
for line in "setenv	SHARDBITS_ROOT	$prefix" "prepend_path	PATH	$prefix/bin" "whatis	Version: $version" "conflict	shardbits" \
  "execute	source $prefix/share/bash-completion/completions/shardbits	load"; do
  grep -qxF "$line" "$dir/told" || fail "the module file does not say: $line"
done
told "$module" zsh | grep -qxF "prepend_path	FPATH	$prefix/share/zsh/site-functions" || fail "the module file in zsh"
cp "$module" "$dir/elsewhere.lua"
told "$dir/elsewhere.lua" bash | grep -qxF "setenv	SHARDBITS_ROOT	$(sed -n 's/^CMAKE_INSTALL_PREFIX:PATH=//p' "$build/CMakeCache.txt")" ||
  fail "a module file at another place"

# ---- Spack: what it calls, by modules in place of Spack's; each option that it sets is one of CMake's ----
mkdir -p "$dir/spack/spack" "$dir/spack/spack_repo/builtin/build_systems"
touch "$dir/spack/spack/__init__.py" "$dir/spack/spack_repo/__init__.py" "$dir/spack/spack_repo/builtin/__init__.py" \
  "$dir/spack/spack_repo/builtin/build_systems/__init__.py"
echo 'class CMakePackage: pass' >"$dir/spack/spack_repo/builtin/build_systems/cmake.py"
echo 'class CudaPackage: pass' >"$dir/spack/spack_repo/builtin/build_systems/cuda.py"
cat >"$dir/spack/spack/package.py" <<'EOF'
seen = []
def _record(name): return lambda *a, **k: seen.append((name, a, k))
license, version, variant, depends_on, requires, conflicts = map(_record, "license version variant depends_on requires conflicts".split())
def run_after(phase): return lambda f: f
EOF
PYTHONPATH=$dir/spack /usr/bin/python3 - "$source" <<'EOF' || fail "package.py"
import os, re, subprocess, sys, types
source = sys.argv[1]
path = source + "/packaging/spack/spack_repo/shardbits/packages/shardbits/package.py"
names = {"__file__": path, "__name__": "package"}
exec(compile(open(path).read(), path, "exec"), names)
package = names["Shardbits"]
assert os.path.samefile(package.git[len("file://"):], source), package.git
cmake = open(source + "/CMakeLists.txt").read() + open(source + "/cmake/Cuda.cmake").read()
for cuda in False, True:
    self = package()
    self.spec = types.SimpleNamespace(satisfies=lambda what: {"+cuda": cuda}[what], variants={"cuda_arch": types.SimpleNamespace(value=("90",))})
    self.define = lambda name, value: (name, value)
    self.define_from_variant = lambda name, variant: (name, variant)
    given = dict(self.cmake_args())
    assert given["SB_CUDA"] == ("ON" if cuda else "OFF"), given
    for name in given:
        assert re.search(r"(option|set)\(%s\b" % name, cmake), name + " is no option of CMake's"
import spack.package
needs = {a[0].split("@")[0].split()[0] for name, a, k in spack.package.seen if name == "depends_on"}
assert needs >= {"mpi", "openblas", "scalapack", "zstd", "jansson", "xxhash", "cmake", "pkgconfig"}, needs
EOF

# ---- Apptainer: its commands are shell, and it installs what the build needs ----
post=$(sed -n '/^%post/,/^%/p' "$source/packaging/shardbits.def" | sed '1d;$d')
sh -n <<<"$post" || fail "%post of shardbits.def"
needed=$(. "$source/tools/setup.sh" && echo "$build_packages")
for package in $needed; do grep -qw -- "$package" <<<"$post" || fail "shardbits.def lacks $package"; done
grep '^%' "$source/packaging/shardbits.def" | grep -qvxE '%(files|post|environment|runscript|test|help|labels)' && fail "sections of shardbits.def"

# ---- a package of a program for this processor alone ----
if grep -q '^SB_NATIVE:BOOL=ON' "$build/CMakeCache.txt"; then
  (cd "$dir" && cpack --config "$build/CPackConfig.cmake" -B "$dir/packages") >"$dir/log" 2>&1 && fail "a package of a native build"
  grep -q 'cmake --preset portable' "$dir/log" || fail "a package of a native build: $(cat "$dir/log")"
fi
finish
