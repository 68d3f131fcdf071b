/* shardbits quantize: the widths of embedding and LM head. */
#include "alloc/size_budget.h"
#include "cli/quantize.h"

sb_status sb_quantize_tables(sb_quantize_run *u) {
  sb_model *m = u->model;
  sb_size_set_table(m, 0, u->r->embed_bits);
  if (m->table_count > 1) sb_size_set_table(m, 1, u->r->head_bits);
  return SB_OK;
}
