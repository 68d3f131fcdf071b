/* Reading a Hugging Face folder into the parameter store. */
#ifndef SB_FOLDERS_HF_LOAD_H
#define SB_FOLDERS_HF_LOAD_H

#include <stdbool.h>

#include "base/status.h"
#include "model/model.h"
#include "model/orders.h"
#include "mpi/world.h"

/* Reads a Hugging Face folder: every rank its own rows, nothing twice. All bits start at 0. With
 * `check_finite`, every weight is looked at, and NaN or infinity refused by tensor and index.
 * Collective. */
sb_status sb_hf_load(const sb_world *world, const char *folder, sb_blocking blocking,
                     bool check_finite, sb_model **out);
/* The same with rows and columns of all tensors in `orders`, which fit the folder's architecture
 * and are copied: a row is read from where the file has it, so that every rank still reads its own
 * rows and nothing is sent. Collective. */
sb_status sb_hf_load_ordered(const sb_world *world, const char *folder, sb_blocking blocking,
                             bool check_finite, const sb_orders *orders, sb_model **out);

#endif
