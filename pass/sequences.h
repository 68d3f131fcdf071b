/* Which windows of a token file a run uses, and this rank's share of them. */
#ifndef SB_PASS_SEQUENCES_H
#define SB_PASS_SEQUENCES_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/ticker.h"
#include "io/tokens.h"
#include "pass/pass.h"
#include "mpi/world.h"

typedef struct sb_sequences {
  size_t count; /* of all ranks */
  size_t local; /* of this rank */
  size_t seqlen;
  uint32_t *tokens; /* [local, seqlen], owned */
} sb_sequences;

/* Cuts the file into windows of seqlen tokens, one after another, and takes `most` of them (0:
 * all): spread evenly over the file when seed is 0, else a random sample without replacement, in
 * the file's order, the same on every machine. Window s goes to rank s mod ranks. The choice does
 * not depend on the number of ranks. Collective. */
sb_status sb_sequences_read(const sb_world *world, const char *path, sb_token_width width,
                            size_t vocab, size_t seqlen, size_t most, uint64_t seed,
                            sb_sequences *out);
/* The same choice of `most` + `check` windows, dealt into two disjoint sets: every so many windows
 * one goes into out_check. SB_ERR_RANGE where the file has fewer. Collective. */
sb_status sb_sequences_read_two(const sb_world *world, const char *path, sb_token_width width,
                                size_t vocab, size_t seqlen, size_t most, size_t check,
                                uint64_t seed, sb_sequences *out, sb_sequences *out_check);
/* How a pass over the sequences, which keep their tokens, is set up; without gradients. Pure. */
sb_pass_setup sb_sequences_setup(const sb_sequences *sequences, sb_model *model,
                                 sb_backend *backend, size_t activation_bytes, sb_ticker ticker);
void sb_sequences_free(sb_sequences *sequences);

#endif
