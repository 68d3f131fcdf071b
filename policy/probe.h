/* The noise step of a profile: what a small change of all weights does to the factors x and dy of
 * every matrix. From it follows how an error at one place changes the update of all weights.
 *
 * Let r be random changes of the weights of all layers, with independent elements of mean 0 and
 * variance D^2 (policy/update_slope.h). An error e at some place of the network changes the
 * gradient by dg, and the mean of <r, dg>^2 over r is |D dg|^2: the square of what it changes in
 * AdamW's update. <r, dg> is a mixed derivative of the loss, along r and along e, so it can be read
 * at the place of the error from one step with the weights w + r, for all errors and precisions:
 *
 *   error at y = x W' on the way forward:  <r, dg> = <e, dy(w + r) - dy(w)>
 *   error at dx = dy W on the way back:    <r, dg> = <e, x(w + r) - x(w)>
 *
 * to first order in r, where the second line is the adjoint of the linear way back. Rounding errors
 * of different tokens are nearly independent, so squares are taken per token and added: one r, of
 * signs, then suffices, since the tokens are so many. This is Hutchinson's estimate of a trace, of
 * the second derivatives of the loss.
 *
 * The step comes before the one that it is compared with, because that one has the weights at which
 * errors are measured. So this keeps x and dy of the moved weights, of some tokens, in host
 * memory: sample x (channels of all inputs + rows of all matrices) numbers per sequence. */
#ifndef SB_POLICY_PROBE_H
#define SB_POLICY_PROBE_H

#include <stdint.h>

#include "base/status.h"
#include "pass/pass.h"

typedef struct sb_probe {
  const sb_model *model;
  sb_backend *backend;
  size_t T, local, sample; /* tokens; sequences of this rank; tokens of each that are kept */
  size_t rows;             /* of all matrices */
  size_t *first_row;       /* [matrices + 1] */
  uint32_t *tokens_dev;    /* [local, sample] which */
  char *x, *dy;   /* [local, sample x channels], [local, sample x rows] operands: per sequence
                     an input, or a matrix, after the other */
  void *room_dev; /* [sample, the largest dimension] operands */
  size_t *seen;   /* [layers] sequences of a layer in the pass at hand */
} sb_probe;

/* For passes like this one over `sequences`. `sample` of the first T - 1 tokens of a sequence are
 * kept, spread evenly from a place that follows from seed and sequence; the last token has no
 * target. SB_ERR_MEMORY. sb_probe_free also releases what a failed call has allocated. Local. */
sb_status sb_probe_create(const sb_model *model, sb_backend *backend, const sb_pass *pass,
                          size_t sample, uint64_t seed, sb_probe *out);
void sb_probe_free(sb_probe *probe);

/* The gradient pass through the moved weights; *loss is theirs. Collective. */
sb_status sb_probe_measure(sb_probe *probe, sb_pass *pass, double *loss);

/* For later passes over the same sequences, which call begin, then next after each sequence of a
 * layer: the number, among those of this rank, of the layer's sequence at hand. */
void sb_probe_begin(sb_probe *probe);
static inline size_t sb_probe_sequence(const sb_probe *probe, size_t layer) {
  return probe->seen[layer];
}
static inline void sb_probe_next(sb_probe *probe, size_t layer) {
  probe->seen[layer]++;
}

/* Queues: dst_dev [sample, width] = the sampled rows of src_dev [T, width]. */
sb_status sb_probe_sampled(const sb_probe *probe, sb_stream stream, size_t sequence, void *dst_dev,
                           const void *src_dev, sb_dtype dtype, size_t width);
/* Where x [sample, cols] and dy [sample, rows] of a matrix of the layer are kept. */
void *sb_probe_x(const sb_probe *probe, size_t sequence, size_t layer, size_t matrix);
void *sb_probe_dy(const sb_probe *probe, size_t sequence, size_t layer, size_t matrix);

#endif
