/* A search on disk, so that one that was cut off goes on where it stood, on any number of ranks, to
 * the same bits.
 *
 * A JSON file: what the search depends on, how far it is, and the bits. Written anew after every
 * step, complete or not at all. What it costs on resuming is one gradient pass: gains are not kept.
 */
#ifndef SB_ALLOC_CHECKPOINT_H
#define SB_ALLOC_CHECKPOINT_H

#include <stdint.h>

#include "alloc/search.h"
#include "base/status.h"
#include "model/model.h"

/* What must be the same for a search to go on. */
typedef struct sb_search_checkpoint_key {
  /* fingerprints (pass/fingerprint.h): of the model as its files have it, of the same in the order
   * of its channels, of tokens; check is 0 where the calibration loss decides */
  uint64_t model, ordered, calibration, check;
  double bits; /* budget */
  unsigned min_bits, max_bits, start_bits;
  int strides;
  const char *estimator, *grid, *compute;
} sb_search_checkpoint_key;

/* Writes the model's present bits. Collective: rank 0 writes. SB_ERR_IO. O(blocks). */
sb_status sb_search_checkpoint_write(const char *path, const sb_search_checkpoint_key *key,
                                     const sb_search_progress *progress, const sb_model *model);
/* Reads into *progress and model->bits (of all blocks). SB_ERR_FORMAT names what differs between
 * the file and this run, or what is wrong with the file. Collective. */
sb_status sb_search_checkpoint_read(const char *path, const sb_search_checkpoint_key *key,
                                    sb_search_progress *progress, sb_model *model);

#endif
