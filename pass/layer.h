/* One decoder layer on one sequence: forward, and backward, which recomputes what the forward part
 * computed or finds it kept.
 *
 *   n1 = rmsnorm(x) w1;     x1 = x + attention(n1)      pass/attention.h
 *   n2 = rmsnorm(x1) w2;    y = x1 + mlp(n2)            pass/mlp.h
 *
 * This file has the frame: norms, the residual stream, and the scratch. All functions are local;
 * they queue on the call's stream and do not wait. x and y are activations [T, hidden]. */
#ifndef SB_PASS_LAYER_H
#define SB_PASS_LAYER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "kernels/backend.h"
#include "model/arch.h"
#include "pass/layer_call.h"

/* Most rows or columns of a matrix of the layers. */
size_t sb_layer_widest_side(const sb_arch *arch);

/* Scratch of one sequence through one layer; memory linear in T. */
typedef struct sb_layer_work sb_layer_work;

/* *out = scratch that fits every layer of `arch`, whose widths may differ. `with_backward` adds the
 * buffers of the backward pass, among them one gradient of the largest matrix (f32). `ordered` adds
 * those that weights in an order of their own need. */
sb_status sb_layer_work_create(sb_backend *backend, const sb_arch *arch, size_t T,
                               bool with_backward, bool ordered, sb_layer_work **out);
void sb_layer_work_free(sb_layer_work **work);
/* Device bytes that sb_layer_work_create takes of a backend with these types, without the gradient
 * of a matrix. */
size_t sb_layer_work_bytes(sb_dtype act, sb_dtype operand, const sb_arch *arch, size_t T,
                           bool with_backward, bool ordered);

/* *out = scratch of another sequence or layer, whose forward part stays until its backward part has
 * used it. It shares with `base`, scratch with gradients of the same T, all that only lives during
 * a call, and is outlived by it. */
sb_status sb_layer_work_create_kept(const sb_layer_work *base, const sb_arch *arch, size_t T,
                                    sb_layer_work **out);
/* Bytes that it takes. */
size_t sb_layer_work_kept_bytes(sb_dtype act, sb_dtype operand, const sb_arch *arch, size_t T);

/* y = layer(x); y may be x. The call's input hook hears of every input. */
sb_status sb_layer_forward(const sb_layer_call *call, sb_layer_work *work, void *y, const void *x);

/* dy = dL/dx from dy = dL/dy and the layer's input x. `kept`: the work still has what
 * sb_layer_forward put there for this x, and loses it now; otherwise the layer is recomputed, to
 * the same bits, without the input hook. The call's other hooks hear of every matrix. */
sb_status sb_layer_backward(const sb_layer_call *call, sb_layer_work *work, void *dy, const void *x,
                            bool kept);

#endif
