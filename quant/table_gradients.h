/* Gradients of the scales of embedding and LM head, as far as these have codes: the sums of g w
 * over groups (quant/scale_gradients.h), g the gradients of their weights w, over all sequences
 * that a rank takes through a pass. Of a tied table the sums of both uses.
 *
 * As LM head, g = dlogits' x is made a piece of rows at a time. As embedding, g has rows for the
 * tokens of a sequence alone, and each is the gradient at the embedding's output where that token
 * stands: the products with that output, row by row, are added to the groups of the token. So no
 * gradient of a table is ever held. Products are f32, their sums whole multiples of
 * SB_SCALE_QUANTUM. All functions are local. */
#ifndef SB_QUANT_TABLE_GRADIENTS_H
#define SB_QUANT_TABLE_GRADIENTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "kernels/backend.h"
#include "pass/table_hooks.h"
#include "quant/scale_numbers.h"

typedef struct sb_table_gradients sb_table_gradients;

/* `coded` and `backend` are borrowed. SB_ERR_MEMORY. *out is released by the caller in any case. */
sb_status sb_table_gradients_create(const sb_model *coded, sb_trained, sb_backend *backend,
                                    sb_table_gradients **out);
/* Bytes that it takes: 8 per group of the tables that are trained on the host, 8 per group of the
 * head on the device, and pieces of 1024 rows. Pure. */
size_t sb_table_gradients_bytes(const sb_sizes *sizes, sb_trained);
void sb_table_gradients_free(sb_table_gradients **gradients);

/* All sums are 0. */
sb_status sb_table_gradients_begin(sb_table_gradients *gradients);
/* Listens to the pass that follows (sb_pass_tell_tables). SB_ERR_NUMERIC for the gradient of a
 * group of 64 or more. */
const sb_table_hooks *sb_table_gradients_hooks(sb_table_gradients *gradients);
/* *sums [rows of the table, block columns] = those of this rank's sequences; once after the pass,
 * for each table that is trained. The gradients'. */
sb_status sb_table_gradients_end(sb_table_gradients *gradients, size_t table, const int64_t **sums);
/* Seconds spent in the hooks so far. */
double sb_table_gradients_seconds(const sb_table_gradients *gradients);

#endif
