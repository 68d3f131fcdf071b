/* What a rank owns of a model that is trained. All tensors of the model are f32 in the store
 * (folders/hf_load.h, sb_hf_load_f32; folders/fresh_model.h), and the units that a rank owns there
 * are its master weights. They are numbered in store order; so are their elements, and everything
 * that goes with an element (gradient, moments) is an array in this order. */
#ifndef SB_TRAIN_SHARES_H
#define SB_TRAIN_SHARES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "model/model.h"

/* A unit that this rank owns: whole rows of one tensor. */
typedef struct sb_share {
  float *master;    /* [count], in the store: written only while no group is held */
  size_t tensor;    /* index into arch.tensors */
  size_t first_row; /* of the tensor */
  size_t rows;
  size_t first; /* number of its first element among those of this rank */
  size_t count; /* rows x cols of the tensor */
} sb_share;

typedef struct sb_shares {
  sb_model *model;
  sb_share *units;
  size_t count;    /* units of this rank */
  size_t elements; /* of all of them */
  size_t *before;  /* [groups + 1] of its elements in the groups before each */
} sb_shares;

/* The numbers that size what lies beside the shares of a rank, for the `_bytes()` of this room. */
typedef struct sb_share_sizes {
  size_t ranks, groups;
  size_t units, elements; /* of this rank */
  size_t largest_group;   /* elements of a group at most */
  size_t most_of_a_group; /* of this rank's */
  bool unified;           /* the backend's memory is the host's */
} sb_share_sizes;

/* `model` is borrowed. SB_ERR_INTERNAL for tensors of another type than f32, SB_ERR_MEMORY.
 * Local. O(units of this rank + groups). sb_shares_free also releases what a failed call has
 * allocated. */
sb_status sb_shares_create(sb_model *model, sb_shares *out);
void sb_shares_free(sb_shares *shares);
/* Bytes that sb_shares_create takes. Pure, as all `_bytes()` of this room. */
size_t sb_shares_bytes(const sb_share_sizes *sizes);
/* Sizes of a loaded model; `unified` is left to the caller. Local. */
sb_share_sizes sb_shares_sizes(const sb_shares *shares);
/* Sizes of a planned run: an even share of elements and one unit more; as many units as that is
 * about. O(tensors). */
sb_share_sizes sb_share_sizes_even(const sb_arch *arch, const sb_blocking *blocking, size_t ranks);

/* starts[ranks + 1]: of the elements of a group's image, rank r owns [starts[r], starts[r + 1]).
 * Local. O(ranks). */
void sb_shares_starts(const sb_shares *shares, size_t group, size_t *starts);
/* The place of rows [first_row, ...) of a tensor in its group's image: *group, and the number of
 * its first element there. Rows are those of a chunk for embedding and LM head, and 0 for others.
 * Local. O(chunks). */
size_t sb_shares_locate(const sb_shares *shares, size_t tensor, size_t first_row, size_t *group);
/* The most elements that any group has; that this rank owns of any group. Local. O(groups). */
size_t sb_shares_largest_group(const sb_shares *shares);
size_t sb_shares_most_of_a_group(const sb_shares *shares);

#endif
