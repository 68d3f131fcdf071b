/* The listener to gradients of norms, embedding and LM head: the parameters that are no matrix of a
 * layer. Passes compute these gradients only for a listener. */
#ifndef SB_PASS_PARAMETER_HOOK_H
#define SB_PASS_PARAMETER_HOOK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "kernels/backend.h"

typedef struct sb_parameter_hook {
  void *context;
  /* The gradient of rows [first_row, first_row + rows) of the tensor with this index in
   * arch.tensors, for ONE sequence; a norm is one row. g_dev: f32 [rows, cols] on the device, which
   * the next gradient overwrites: queue readers on `stream`. NULL: nobody. */
  sb_status (*gradient)(void *context, sb_stream stream, size_t tensor, size_t first_row,
                        size_t rows, const float *g_dev);
  /* All sequences of the wave have been seen for these rows. NULL: nobody. Collective. */
  sb_status (*end)(void *context, size_t tensor, size_t first_row, size_t rows);
  bool norms_only; /* nobody hears of embedding and LM head */
} sb_parameter_hook;

/* True where somebody listens to the gradients of embedding and LM head. */
static inline bool sb_parameter_tables(const sb_parameter_hook *hook) {
  return hook->gradient && !hook->norms_only;
}

/* Calls `end`, where somebody listens. Collective. */
static inline sb_status sb_parameter_end(const sb_parameter_hook *hook, size_t tensor,
                                         size_t first_row, size_t rows) {
  return hook->gradient && hook->end ? hook->end(hook->context, tensor, first_row, rows) : SB_OK;
}

#endif
