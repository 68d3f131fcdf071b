/* The orders of an indexed model in an output folder (docs/format.md): tensors of kind "order", one
 * frame each, that follow the architecture's. An order of one block only says nothing and is left
 * out. Local, except where said. */
#ifndef SB_FOLDERS_STORED_ORDERS_H
#define SB_FOLDERS_STORED_ORDERS_H

#include "io/manifest.h"
#include "io/shards.h"
#include "io/shardset.h"
#include "model/model.h"

/* Their number: 0 unless the model is indexed. */
size_t sb_stored_orders_count(const sb_model *model);
/* Fills the manifest's tensors from model->arch.count on, and tells the matrices before them which
 * are theirs. */
sb_status sb_stored_orders_describe(const sb_model *model, sb_manifest *manifest);
/* Adds this rank's share to its shard: the k-th order is rank (k mod ranks)'s. */
sb_status sb_stored_orders_write(const sb_model *model, sb_shard_writer *writer);

/* Gives `model`, whose architecture and blocking are known, the mode that the manifest's tensors
 * speak of, orders still unread. SB_ERR_FORMAT where they are neither none nor all of them, naming
 * the first that is wrong. `path` is the folder. */
sb_status sb_stored_orders_check(sb_model *model, const sb_manifest *manifest, const char *path);
/* Reads them. SB_ERR_FORMAT with the tensor's name where one is damaged or no permutation. */
sb_status sb_stored_orders_read(sb_model *model, const sb_shardset *shards);
/* What rank 0 has read, to all. Collective. */
sb_status sb_stored_orders_share(sb_model *model);

#endif
