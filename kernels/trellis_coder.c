#include "kernels/trellis_coder.h"

#include "base/memory.h"

sb_status sb_trellis_coders_create(size_t threads, sb_code_kind code_kind, const uint8_t *bits,
                                   size_t blocks, sb_trellis_coder **out) {
  bool occurs[SB_WIDTHS] = {false};
  sb_status status = SB_OK;
  for (size_t k = 0; k < blocks; k++) occurs[bits[k]] = true;
  SB_TRY(sb_alloc(out, threads, sizeof **out, "trellis coders"));
  for (size_t t = 0; t < threads; t++)
    for (unsigned width = SB_MIN_BITS; width <= SB_MAX_BITS; width++) {
      const sb_trellis trellis = sb_trellis_of(code_kind, width);
      if (occurs[width]) SB_GO(sb_viterbi_create(&trellis, &(*out)[t].of[width]));
    }
done:
  if (status != SB_OK) sb_trellis_coders_free(threads, out);
  return status;
}

void sb_trellis_coders_free(size_t threads, sb_trellis_coder **coders) {
  if (!*coders) return;
  for (size_t t = 0; t < threads; t++)
    for (unsigned width = 0; width < SB_WIDTHS; width++)
      sb_viterbi_destroy(&(*coders)[t].of[width]);
  sb_free(coders);
}
