/* Loading a Hugging Face folder into the parameter store. */
#ifndef SB_FOLDERS_HF_LOAD_H
#define SB_FOLDERS_HF_LOAD_H

#include <stdbool.h>

#include "base/status.h"
#include "model/model.h"
#include "model/orders.h"
#include "mpi/world.h"

/* *out = the model in `folder`, coding SB_CODING_SOURCE, all bits 0. Every rank reads its own rows;
 * nothing is read twice or sent. `check_finite` refuses NaN and infinity by tensor and index
 * (SB_ERR_NUMERIC). SB_ERR_IO, SB_ERR_FORMAT and SB_ERR_UNSUPPORTED name the file. Collective; all
 * ranks fail together. */
sb_status sb_hf_load(const sb_world *world, const char *folder, sb_blocking blocking,
                     bool check_finite, sb_model **out);
/* The same with the rows and columns of all tensors in `orders`, which fit the
 * folder's architecture and are copied. Rows are read from their places in the file,
 * so still nothing is sent. */
sb_status sb_hf_load_ordered(const sb_world *world, const char *folder, sb_blocking blocking,
                             bool check_finite, const sb_orders *orders, sb_model **out);
/* The same with every tensor in f32, whatever its type in the file: the weights that training
 * changes. NaN and infinity are refused. */
sb_status sb_hf_load_f32(const sb_world *world, const char *folder, sb_blocking blocking,
                         sb_model **out);

#endif
