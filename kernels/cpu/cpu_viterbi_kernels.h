/* A step of Viterbi's algorithm (cpu_viterbi.h) in each kind of vectors: what cpu_viterbi.c and the
 * kernels agree on. All kinds give the same bits.
 *
 * Order of walks. With G = 2^(L - K) groups in a row of M and Q = 2^(L - 2K), M(g) is at place
 * (g mod 2^K) Q + floor(g / 2^K). So what group g wants of code o, M of (g 2^K + o) mod G, is at
 * o Q + g mod Q, and groups that follow one another read what lies side by side; a step spreads its
 * results over 2^K runs. Where 2K > L, M(g) is at g. A row has room for 32 numbers at least.
 *
 * Order of levels. 32 groups after one another make a piece; that of state g 2^K + o is at
 * (floor(g / 32) 2^K + o) 32 + g mod 32, so a step reads them in order. Fewer groups than 32 are
 * repeated to fill the piece. */
#ifndef SB_KERNELS_CPU_CPU_VITERBI_KERNELS_H
#define SB_KERNELS_CPU_CPU_VITERBI_KERNELS_H

#include <stddef.h>
#include <stdint.h>

enum { SB_VITERBI_LANES = 32 };

/* The place of M(g) in a row of `groups`. */
static inline size_t sb_viterbi_place(size_t groups, unsigned width, size_t g) {
  const size_t run = groups >> width;
  return run == 0 ? g : (g & (((size_t)1 << width) - 1)) * run + (g >> width);
}

typedef struct sb_viterbi_step {
  const int16_t *levels;
  const uint16_t *now; /* M before the step */
  uint16_t *next;      /* M after it */
  size_t groups;       /* G */
  unsigned width;      /* K */
  int shift;           /* h */
  int16_t target;
} sb_viterbi_step;

typedef struct sb_viterbi_kernels {
  const char *name;
  void (*step)(const sb_viterbi_step *);
} sb_viterbi_kernels;

extern const sb_viterbi_kernels sb_viterbi_plain, sb_viterbi_avx2, sb_viterbi_avx512;

#endif
