/* Token sources of a training run, and the batches that are read from them.
 *
 * A source is one token file (io/tokens.h), or all files that a pattern matches, in the order of
 * their names. A file of n tokens has floor(n / seqlen) windows of seqlen tokens; in the first pass
 * the first window begins at the file's beginning, in later passes at one of the n mod seqlen + 1
 * possible tokens, drawn by seed, source, file and pass. train/data_order.h says which window
 * is sample n; batch `step` is the samples step x batch and on. So a batch depends on the files,
 * their weights, seqlen, batch and seed, and neither on ranks nor on what was read before. */
#ifndef SB_TRAIN_DATA_H
#define SB_TRAIN_DATA_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "io/tokens.h"
#include "mpi/world.h"

enum { SB_TRAIN_SOURCES = 64 };

typedef struct sb_train_source {
  const char *path; /* of a file, or a pattern of glob(3) */
  double weight;    /* share of the samples, in any unit; all sources have one, or none (0) */
} sb_train_source;

typedef struct sb_train_data_setup {
  const sb_world *world;
  const sb_train_source *sources;
  size_t count; /* 1 .. SB_TRAIN_SOURCES */
  sb_token_width width;
  size_t vocab;  /* ids of the model */
  size_t seqlen; /* tokens of a window */
  size_t batch;  /* sequences per step */
  uint64_t seed;
} sb_train_data_setup;

typedef struct sb_train_data sb_train_data;

/* Opens all files; rank 0 finds out what they are, for all. Without weights a source's weight is
 * its number of windows, so that a pass through all of them takes each once. SB_ERR_USAGE for
 * weights of some sources only; SB_ERR_RANGE for a file shorter than one window; errors of
 * sb_tokens_open. Collective; all ranks fail together. O(files) open files per rank, for which the
 * process' soft limit is raised where it can be. */
sb_status sb_train_data_open(const sb_train_data_setup *setup, sb_train_data **out);
/* Local. *data may be NULL. */
void sb_train_data_close(sb_train_data **data);

/* tokens [sb_pass_local(world, batch), seqlen] = this rank's sequences of batch `step`: its samples
 * rank, rank + ranks, ... SB_ERR_RANGE for a token that is not below the vocabulary, by file and
 * position; SB_ERR_IO. Lets the system fetch what the next step will read. Local. */
sb_status sb_train_data_read(const sb_train_data *data, uint64_t step, uint32_t *tokens);

/* Tokens of all files; windows of all files. Local, equal on all ranks. */
uint64_t sb_train_data_tokens(const sb_train_data *data);
uint64_t sb_train_data_windows(const sb_train_data *data);

/* Hashes by which a saved state knows the sources: *files of the files' sizes and of 256 pieces
 * of 1024 tokens, or 2 per file where that is more, spread evenly over them; *weights of the
 * weights and of which file belongs to which source. Names and element types do not count.
 * Collective. */
sb_status sb_train_data_fingerprint(const sb_train_data *data, uint64_t *files, uint64_t *weights);

#endif
