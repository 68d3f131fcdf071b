/* A synthetic model of any accepted architecture, with random weights (folders/random_weights.h),
 * as a Hugging Face folder or in memory. For benchmarks without weights at hand, and for single
 * layers of models that would not fit. It computes finite losses, but has learned nothing. */
#ifndef SB_FOLDERS_SYNTH_H
#define SB_FOLDERS_SYNTH_H

#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/status.h"
#include "base/ticker.h"
#include "folders/hf_folder.h"
#include "model/config.h"
#include "model/model.h"
#include "mpi/world.h"

typedef struct sb_synth_setup {
  const char *config;  /* config.json, or the folder it is in */
  sb_destination *out; /* begun; sb_synth_make commits it */
  size_t layers;       /* the first `layers` only; 0: all that the configuration has */
  sb_dtype dtype;      /* a weight type */
  uint64_t seed;
  uint64_t tokens; /* random ids to write into tokens.bin, of 16 bits, or 32 where the vocabulary
                      needs them; 0: no file */
  uint64_t file_bytes; /* as in folders/hf_folder.h */
  sb_ticker ticker;    /* told the share of this rank's weights that is written */
} sb_synth_setup;

/* Writes the folder. Its files are the same, byte for byte, on any number of ranks; each rank makes
 * and writes its share of the weights. *parameters = the number of weights. SB_ERR_RANGE for more
 * layers than the configuration has. Collective. Memory of a rank: 4 M weights of 8 bytes at most,
 * and 4 bytes per row and column of a tensor. */
sb_status sb_synth_make(const sb_world *world, const sb_synth_setup *setup,
                        sb_hf_folder_stats *stats, uint64_t *parameters);

/* *out = the same weights as a model in memory, coding SB_CODING_SOURCE, all bits 0; every rank
 * makes the rows it owns. Collective. */
sb_status sb_synth_load(const sb_world *world, const sb_config *config, sb_dtype dtype,
                        uint64_t seed, sb_blocking blocking, sb_model **out);

#endif
