# Of this source tree, as it is committed:
#
#   spack repo add packaging/spack/spack_repo/shardbits
#   spack install shardbits            # or +cuda cuda_arch=90, +onednn
#
# Or `spack develop --path $PWD shardbits@main` for what is not committed yet.
import os

from spack_repo.builtin.build_systems.cmake import CMakePackage
from spack_repo.builtin.build_systems.cuda import CudaPackage

from spack.package import *

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 6))


class Shardbits(CMakePackage, CudaPackage):
    """Best bit allocation for language models: quantizes them to 2 to 4 bits per weight, over MPI
    and CUDA, with the same result on any number of ranks."""

    git = "file://" + ROOT

    license("Apache-2.0")

    version("main", branch="main")

    variant("onednn", default=False, description="bf16 matrix products through oneDNN")

    depends_on("c", type="build")
    depends_on("cxx", type="build", when="+cuda")
    depends_on("cmake@3.22:", type="build")
    depends_on("pkgconfig", type="build")
    depends_on("mpi")
    # Kernels call it from inside OpenMP regions, where another build would start threads of its own.
    depends_on("openblas threads=openmp")
    depends_on("scalapack")
    depends_on("zstd")
    depends_on("jansson")
    depends_on("xxhash")
    depends_on("onednn", when="+onednn")
    depends_on("cuda@12:", when="+cuda")
    depends_on("python@3.8:", type="run")  # tokenizes text; its package `tokenizers` comes by pip

    requires("target=x86_64_v3:", msg="its kernels are written for processors with AVX2")
    conflicts("cuda_arch=none", when="+cuda", msg="say for which GPUs: cuda_arch=80,90")

    def cmake_args(self):
        args = [
            self.define("SB_NATIVE", False),
            self.define("SB_MARCH", ""),  # Spack's compilers know the target
            self.define("SB_TESTS", False),
            self.define("SB_BENCH", False),
            self.define_from_variant("SB_ONEDNN", "onednn"),
            self.define("SB_CUDA", "ON" if self.spec.satisfies("+cuda") else "OFF"),
        ]
        if self.spec.satisfies("+cuda"):
            args.append(self.define("CMAKE_CUDA_ARCHITECTURES", self.spec.variants["cuda_arch"].value))
        return args

    def setup_run_environment(self, env):
        env.prepend_path("FPATH", os.path.join(self.prefix.share, "zsh", "site-functions"))

    @run_after("install")
    def check_install(self):
        Executable(self.prefix.bin.shardbits)("--version")
