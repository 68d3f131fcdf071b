#include "kernels/cpu/cpu_level.h"

bool sb_cpu_runs(sb_cpu_level level) {
  __builtin_cpu_init();
  switch (level) {
  case SB_CPU_AVX512:
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512vbmi") &&
           __builtin_cpu_supports("avx512vnni");
  case SB_CPU_AVX2:
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  default:
    return true;
  }
}

sb_cpu_level sb_cpu_best(void) {
  int level = SB_CPU_LEVELS - 1;
  while (!sb_cpu_runs((sb_cpu_level)level)) level--;
  return (sb_cpu_level)level;
}
