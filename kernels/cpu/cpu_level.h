/* What the processor can run. Kernels for packed weights are compiled several times and chosen at
 * run time, so that one program serves all x86-64 processors. */
#ifndef SB_KERNELS_CPU_CPU_LEVEL_H
#define SB_KERNELS_CPU_CPU_LEVEL_H

#include <stdbool.h>

/* Sets of instructions, the fastest last. */
typedef enum sb_cpu_level {
  SB_CPU_PLAIN,
  SB_CPU_AVX2,   /* AVX2 and FMA */
  SB_CPU_AVX512, /* AVX-512 F, BW, VL, DQ, CD, VBMI and VNNI */
  SB_CPU_LEVELS
} sb_cpu_level;

bool sb_cpu_runs(sb_cpu_level level);
/* The highest level that this processor can run. */
sb_cpu_level sb_cpu_best(void);

#endif
