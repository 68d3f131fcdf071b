/* Weights that training begins with: as Hugging Face transformers initialises a model, in kind (its
 * `_init_weights`, not its random numbers). Matrices, embedding and LM head are normal with mean 0
 * and standard deviation `initializer_range` of config.json, 0.02 where it has none; norms are 1.
 * (The row of a padding token, which transformers sets to 0, is like the others here.)
 *
 * A weight is a function of seed, tensor name and index alone: the same on any number of ranks and
 * threads. It comes from the logarithm and cosine of the C library, so another library may give
 * another last bit. */
#ifndef SB_FOLDERS_FRESH_MODEL_H
#define SB_FOLDERS_FRESH_MODEL_H

#include <stdint.h>

#include "base/status.h"
#include "model/model.h"

/* *out = a model with random weights in f32; `config` is config.json or the folder it is in.
 * SB_ERR_IO, SB_ERR_FORMAT and SB_ERR_UNSUPPORTED name the file. Collective; all ranks fail
 * together. O(weights / ranks). */
sb_status sb_fresh_model(const sb_world *world, const char *config, uint64_t seed,
                         sb_blocking blocking, sb_model **out);

#endif
