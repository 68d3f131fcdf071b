/* shardbits quantize: the widths of embedding and LM head. */
#include <string.h>

#include "cli/quantize.h"

static void set_width(sb_model *m, sb_table *table, unsigned bits) {
  const sb_tiling *tiling = &table->matrix.tiling;
  table->coded = bits < SB_SOURCE_BITS;
  if (table->coded)
    memset(m->bits + table->matrix.first_block, (int)bits,
           sb_tiling_block_rows(tiling) * sb_tiling_block_cols(tiling));
}

sb_status sb_quantize_tables(sb_quantize_run *u) {
  sb_model *m = u->model;
  set_width(m, &m->tables[0], u->r->embed_bits);
  if (m->table_count > 1) set_width(m, &m->tables[1], u->r->head_bits);
  return SB_OK;
}
