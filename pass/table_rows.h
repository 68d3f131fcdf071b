/* Rows of a coded table (model/model.h) as floats: a chunk at a time, decoded from codes, or in a
 * model of source weights rounded at its present bits, as layers are (pass/device_layer.h). All
 * functions are local. */
#ifndef SB_PASS_TABLE_ROWS_H
#define SB_PASS_TABLE_ROWS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "kernels/backend.h"
#include "model/model.h"

/* Room to round source rows on fitted grids. To fit a chunk takes as long as its logits of a
 * sequence, and widths of tables seldom change: so fits are kept, with the widths that they are
 * for. Weights and importance of the model's tables stay as they are meanwhile. */
typedef struct sb_table_rows {
  sb_backend *backend;
  uint8_t *fits_dev; /* [groups of all tables] */
  uint8_t *bits;     /* [blocks of all tables] the widths of these fits; 0 where none is known */
  float *importance_dev; /* [hidden]: own copy; NULL on a unified backend */
} sb_table_rows;

/* `rounded`: some tables are source rows that have widths, else it allocates nothing.
 * sb_table_rows_free also releases the memory of a failed call. */
sb_status sb_table_rows_allocate(sb_table_rows *room, const sb_model *model, sb_backend *backend,
                                 bool rounded);
void sb_table_rows_free(sb_table_rows *room);
/* Bytes that sb_table_rows_allocate takes where a table is rounded. Pure. */
size_t sb_table_rows_bytes(const sb_backend *backend, const sb_blocking *blocking,
                           const sb_config *config);

/* True where rows of the place, a chunk of a table, are other than the source's: codes, or source
 * rows of which a block has bits. O(blocks of the chunk). */
bool sb_table_rows_are_coded(const sb_model *model, const sb_place *place);

/* out_dev [place->rows, hidden] of type `dtype` = the rows of such a place; bytes_dev: its units,
 * on the device, as an image has them. Queued on `stream`. O(rows x hidden). */
sb_status sb_table_rows_make(sb_table_rows *room, sb_stream stream, const sb_model *model,
                             const sb_place *place, const void *bytes_dev, void *out_dev,
                             sb_dtype dtype);

/* *packed, which is destroyed where it is not NULL, becomes the codes of such a place, of a model
 * of codes, ready for products and look-ups (kernels/ops/packed.h). It reads bytes_dev in place.
 * Local.
 */
sb_status sb_table_rows_keep(const sb_table_rows *room, sb_stream stream, const sb_model *model,
                             const sb_place *place, const void *bytes_dev, sb_packed *packed);

#endif
