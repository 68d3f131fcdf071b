/* What a thread needs to code blocks of a trellis to nearest: a Viterbi (kernels/cpu/cpu_viterbi.h)
 * for every width. */
#ifndef SB_KERNELS_TRELLIS_CODER_H
#define SB_KERNELS_TRELLIS_CODER_H

#include "base/status.h"
#include "kernels/cpu/cpu_viterbi.h"

typedef struct sb_trellis_coder {
  sb_viterbi *of[SB_WIDTHS]; /* by width; NULL where it does not occur */
} sb_trellis_coder;

/* *out = coders for `threads` threads, for the widths that occur among bits [blocks], 0 aside.
 * SB_ERR_MEMORY. Release with sb_trellis_coders_free. Local. */
sb_status sb_trellis_coders_create(size_t threads, sb_code_kind code_kind, const uint8_t *bits,
                                   size_t blocks, sb_trellis_coder **out);
void sb_trellis_coders_free(size_t threads, sb_trellis_coder **coders);

#endif
