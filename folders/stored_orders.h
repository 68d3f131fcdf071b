/* The orders of an indexed model in an output folder (docs/format.md): tensors of kind "order", one
 * frame each, behind those of the architecture. The order of a matrix with a single block column
 * (or row) changes nothing and is left out. Local, except where said. */
#ifndef SB_FOLDERS_STORED_ORDERS_H
#define SB_FOLDERS_STORED_ORDERS_H

#include "io/manifest.h"
#include "io/shards.h"
#include "io/shardset.h"
#include "model/model.h"

/* Number of stored orders; 0 unless the model is indexed. */
size_t sb_stored_orders_count(const sb_model *model);
/* Fills the manifest's tensors from model->arch.count on, and refers to them from the matrices. */
sb_status sb_stored_orders_describe(const sb_model *model, sb_manifest *manifest);
/* Adds this rank's orders to its shard: order k belongs to rank k mod ranks. */
sb_status sb_stored_orders_write(const sb_model *model, sb_shard_writer *writer);

/* Sets the reorder mode of `model`, whose architecture and blocking are known, from the manifest of
 * folder `path`; the orders are not read yet. SB_ERR_FORMAT, naming the tensor, unless the manifest
 * has either all orders or none. */
sb_status sb_stored_orders_check(sb_model *model, const sb_manifest *manifest, const char *path);
/* Holds the size of every order's frame to its channels. SB_ERR_FORMAT names the shard. */
sb_status sb_stored_orders_check_frames(const sb_model *model, const sb_shardset *shards);
/* Reads the orders, whose frames were checked. SB_ERR_FORMAT names a tensor that is damaged or no
 * permutation. */
sb_status sb_stored_orders_read(sb_model *model, const sb_shardset *shards);
/* Sends the orders that rank 0 has read to all ranks. Collective. */
sb_status sb_stored_orders_share(sb_model *model);

#endif
