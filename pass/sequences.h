/* The sequences of a token file that a run uses, and this rank's share of them. A file is cut into
 * *windows* of seqlen tokens, one after another without overlap; tokens after the last whole window
 * are left out. The choice of windows depends on the file, seqlen, number and seed, never on the
 * number of ranks. */
#ifndef SB_PASS_SEQUENCES_H
#define SB_PASS_SEQUENCES_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/ticker.h"
#include "io/tokens.h"
#include "mpi/world.h"
#include "pass/pass.h"

/* Chosen windows; the i-th goes to rank i mod ranks. Release with sb_sequences_free. */
typedef struct sb_sequences {
  size_t count; /* of all ranks */
  size_t local; /* of this rank */
  size_t seqlen;
  uint32_t *tokens; /* [local, seqlen] */
} sb_sequences;

/* Takes `most` windows (0: all; fewer where the file has fewer), in the file's order:
 * seed 0 spreads them evenly, any other seed draws a sample without replacement, the
 * same on every machine. Each rank reads its own. SB_ERR_RANGE for a token that is
 * not below `vocab`. Collective. */
sb_status sb_sequences_read(const sb_world *world, const char *path, sb_token_width width,
                            size_t vocab, size_t seqlen, size_t most, uint64_t seed,
                            sb_sequences *out);
/* Takes most + check windows by the same rule and deals them into two disjoint sets, evenly along
 * the file. SB_ERR_RANGE where the file has fewer. Collective. */
sb_status sb_sequences_read_two(const sb_world *world, const char *path, sb_token_width width,
                                size_t vocab, size_t seqlen, size_t most, size_t check,
                                uint64_t seed, sb_sequences *out, sb_sequences *out_check);
/* The setup of a pass over these sequences, without gradients. The sequences
 * outlive the pass. Pure. */
sb_pass_setup sb_sequences_setup(const sb_sequences *sequences, sb_model *model,
                                 sb_backend *backend, size_t activation_bytes, sb_ticker ticker);
void sb_sequences_free(sb_sequences *sequences);

#endif
