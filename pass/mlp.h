/* The gated MLP of a layer (SwiGLU), between the norm before it and the residual stream:
 *
 *   gate, up = n Wg', n Wu';   gated = silu(gate) * up;   y = y + gated Wd'
 *
 * n [T, hidden] is the normed input (operands), y [T, hidden] the residual stream (activations).
 * All functions are local. */
#ifndef SB_PASS_MLP_H
#define SB_PASS_MLP_H

#include "pass/buffers.h"
#include "pass/layer_call.h"

/* Scratch of one sequence, [T, intermediate] each; all pointers are device memory. */
typedef struct sb_mlp_work {
  void *gate, *up;
  void *d_gated;
  /* operands where these are another type than activations, else NULL */
  void *gated, *d_gate, *d_up;
} sb_mlp_work;

enum { SB_MLP_BUFFERS = 6 };
/* The table of its buffers, with room for every layer; `arch` NULL: their places only. */
void sb_mlp_buffers(const sb_arch *arch, sb_buffer out[SB_MLP_BUFFERS]);

/* Fills gate and up, which a backward pass recomputes, too. */
sb_status sb_mlp_begin(const sb_layer_step *step, sb_mlp_work *work, const void *n);
/* After sb_mlp_begin: y += gated Wd'. Overwrites gate, unless the scratch is for gradients. */
sb_status sb_mlp_end(const sb_layer_step *step, sb_mlp_work *work, void *y);
/* After sb_mlp_begin with the same n: dn [T, hidden] = dL/dn from dy = dL/dy
 * (activations). `dy_room` [T, hidden] holds dy as operands where these are another type.
 * Overwrites gate and up. */
sb_status sb_mlp_backward(const sb_layer_step *step, sb_mlp_work *work, void *dn, const void *dy,
                          void *dy_room, const void *n);

#endif
