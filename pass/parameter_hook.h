/* The listener to gradients of norms, embedding and LM head: the parameters that are no matrix of a
 * layer. Passes compute these gradients only for a listener. */
#ifndef SB_PASS_PARAMETER_HOOK_H
#define SB_PASS_PARAMETER_HOOK_H

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
} sb_parameter_hook;

#endif
