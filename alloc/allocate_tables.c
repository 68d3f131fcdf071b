#include "alloc/allocate_tables.h"

#include <string.h>

#include "alloc/budget.h"
#include "alloc/choose_blocks.h"
#include "alloc/choose_items.h"
#include "alloc/items.h"
#include "alloc/owned.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/trace.h"
#include "kernels/blockrow.h"
#include "sensitivity/loss_table.h"
#include "sensitivity/table_costs.h"

typedef struct driver {
  sb_model *m;
  sb_backend *backend;
  const sb_sequences *calibration;
  const sb_allocate_tables_options *o;
  sb_allocate_tables_result *result;
  sb_size_budget budget;
  sb_owned layers, tables; /* this rank's blocks; of coded tables */
  sb_losses *layer_costs, *table_costs;
  uint8_t *layer_bits, *table_bits;
} driver;

static bool chooses(const sb_model *m, const sb_allocate_tables_options *o) {
  for (size_t i = 0; i < m->table_count; i++)
    if (o->table_bits[i] == 0) return true;
  return false;
}

/* ---- costs ---- */

/* The one pass: costs of layers where they are asked for, statistics in any case. Collective. */
static sb_status measure_pass(driver *d, sb_loss_table *table) {
  sb_allocate_tables_result *r = d->result;
  sb_pass_setup setup =
      sb_sequences_setup(d->calibration, d->m, d->backend, d->o->activation_bytes, d->o->ticker);
  sb_pass *pass = NULL;
  setup.gradients = true;
  sb_status status = sb_pass_create(&setup, &pass);
  if (status == SB_OK) sb_pass_tell_tables(pass, sb_table_stats_hooks(r->stats));
  SB_THEN(sb_loss_table_measure(table, pass, true, &r->loss));
  sb_pass_free(&pass);
  SB_THEN(sb_table_stats_finish(r->stats, d->calibration));
  return status;
}

/* Without costs of layers. Collective. */
static sb_status measure_statistics(driver *d) {
  uint8_t *kept = NULL;
  SB_TRY(sb_model_lift_bits(d->m, &kept));
  sb_status status =
      sb_table_stats_measure(d->m, d->backend, d->calibration, d->o->activation_bytes,
                             d->o->statistics, d->o->ticker, &d->result->stats);
  sb_model_return_bits(d->m, &kept);
  if (d->o->fitted) SB_THEN(sb_table_stats_fit(d->result->stats, d->m));
  d->result->measured = status == SB_OK;
  return status;
}

static sb_status allocate(driver *d) {
  const sb_allocate_tables_options *o = d->o;
  SB_TRY(sb_owned_create(d->m, o->min_bits, o->max_bits, &d->layers));
  SB_TRY(sb_owned_create_tables(d->m, SB_TABLE_MIN_BITS, SB_TABLE_MAX_BITS, &d->tables));
  const size_t layers = d->layers.blocks.count, tables = d->tables.blocks.count;
  SB_TRY(sb_alloc(&d->layer_costs, layers, sizeof *d->layer_costs, "costs of widths"));
  SB_TRY(sb_alloc(&d->table_costs, tables, sizeof *d->table_costs, "costs of widths"));
  SB_TRY(sb_alloc(&d->layer_bits, layers, 1, "bits of the blocks"));
  return sb_alloc(&d->table_bits, tables, 1, "bits of the blocks");
}

/* Collective. */
static sb_status measure_costs(driver *d) {
  sb_allocate_tables_result *r = d->result;
  sb_loss_table *table = NULL;
  sb_status status =
      sb_table_stats_create(d->m, d->backend, d->calibration->seqlen, d->o->statistics, &r->stats);
  SB_THEN(allocate(d));
  status = sb_world_agree(d->m->world, status);
  SB_THEN(sb_loss_table_create(d->m, d->backend, SB_ESTIMATOR_DIAGONAL, d->o->min_bits,
                               d->o->max_bits, &table));
  SB_THEN(measure_pass(d, table));
  if (status == SB_OK) {
    r->score_seconds = sb_loss_table_seconds(table);
    memcpy(d->layer_costs, sb_loss_table_losses(table),
           d->layers.blocks.count * sizeof *d->layer_costs);
  }
  sb_loss_table_free(&table);
  if (d->o->fitted) SB_THEN(sb_table_stats_fit(r->stats, d->m));
  SB_THEN(sb_table_costs(d->m, d->backend, r->stats, SB_TABLE_MIN_BITS, SB_TABLE_MAX_BITS,
                         d->table_costs));
  return status;
}

/* ---- widths ---- */

/* Both ways where an item has one width. Collective. */
static sb_status choose_items(driver *d, sb_choose_result *chosen) {
  const sb_allocate_tables_options *o = d->o;
  const sb_budget of_layers = {o->bits, o->min_bits, o->max_bits, o->scope};
  sb_item_part parts[] = {{.blocks = &d->layers.blocks,
                           .losses = d->layer_costs,
                           .widths = o->widths,
                           .bits = d->layer_bits},
                          {.blocks = &d->tables.blocks,
                           .losses = d->table_costs,
                           .item = d->tables.matrix,
                           .items = d->m->table_count,
                           .widths = o->table_widths,
                           .bits = d->table_bits}};
  sb_choose_result tables = {0};
  uint32_t *item = NULL;
  SB_AGREE(d->m->world, sb_items_number(d->m, &d->layers, o->scope, &item, &parts[0].items));
  parts[0].item = item;
  const bool by_size = o->size.bytes > 0;
  const uint64_t room =
      by_size ? sb_size_room(d->m, &d->budget) : sb_budget_storage(d->m, &of_layers);
  sb_status status = sb_choose_items(d->m->world, parts, by_size ? 2 : 1, room, chosen);
  if (!by_size) SB_THEN(sb_choose_items_at_price(d->m->world, &parts[1], chosen->price, &tables));
  chosen->loss += tables.loss;
  sb_free(&item);
  return status;
}

/* The knapsack over all, whose widths of tables are taken. Collective. */
static sb_status choose_by_size(driver *d, sb_choose_result *chosen) {
  if (d->o->table_widths) return choose_items(d, chosen);
  const sb_choose_part parts[] = {{&d->layers.blocks, d->layer_costs, d->layer_bits},
                                  {&d->tables.blocks, d->table_costs, d->table_bits}};
  return sb_choose_parts(d->m->world, parts, 2, sb_size_room(d->m, &d->budget), chosen);
}

/* The layers' knapsack says what storage is worth. Collective. */
static sb_status choose_by_price(driver *d, sb_choose_result *chosen) {
  const sb_allocate_tables_options *o = d->o;
  const sb_budget of_layers = {o->bits, o->min_bits, o->max_bits, SB_WIDTH_OF_BLOCK};
  sb_choose_result tables;
  if (o->table_widths) return choose_items(d, chosen);
  SB_TRY(sb_choose_blocks(d->m->world, &d->layers.blocks, d->layer_costs,
                          sb_budget_storage(d->m, &of_layers), d->layer_bits, chosen));
  SB_TRY(sb_choose_at_price(d->m->world, &d->tables.blocks, d->table_costs, chosen->price,
                            d->table_bits, &tables));
  chosen->loss += tables.loss;
  return SB_OK;
}

/* Only the tables that are chosen are coded meanwhile. Collective. */
static sb_status choose(driver *d) {
  sb_allocate_tables_result *r = d->result;
  sb_choose_result chosen;
  SB_TRY(measure_costs(d));
  r->measured = r->chosen = true;
  SB_TRY(d->o->size.bytes > 0 ? choose_by_size(d, &chosen) : choose_by_price(d, &chosen));
  r->price = 8 * chosen.price;
  r->predicted = chosen.loss;
  r->gap = chosen.gap;
  return sb_model_set_table_bits(d->m, d->table_bits);
}

/* ---- all together ---- */

static double mean_width(const sb_model *m, const sb_table *table) {
  const sb_tiling *t = &table->matrix.tiling;
  const size_t across = sb_tiling_block_cols(t), count = across * sb_tiling_block_rows(t);
  uint64_t bits = 0;
  if (!table->coded) return SB_SOURCE_BITS;
  for (size_t k = 0; k < count; k++)
    bits += (uint64_t)m->bits[table->matrix.first_block + k] * sb_tiling_rows_of(t, k / across) *
            sb_tiling_cols_of(t, k % across);
  return (double)bits / ((double)t->rows * (double)t->cols);
}

/* What the tables take, and what the layers have beside them. Local. */
static void tell(driver *d) {
  const sb_model *m = d->m;
  sb_allocate_tables_result *r = d->result;
  const sb_file_shape shape = sb_file_shape_of(m, m->orders.mode);
  uint64_t tables = 0;
  for (size_t i = 0; i < m->table_count; i++) {
    tables += r->table_bytes[i] = sb_table_bytes(m, &m->tables[i]);
    r->table_mean_bits[i] = mean_width(m, &m->tables[i]);
  }
  r->bits = d->o->bits;
  if (d->o->size.bytes > 0)
    r->bits = sb_owned_bits_for(m, sb_size_storage(m, &d->budget, d->o->size.bytes, tables));
  const sb_budget of_layers = {r->bits, d->o->min_bits, d->o->max_bits, d->o->scope};
  const uint64_t storage = sb_budget_storage(m, &of_layers);
  r->bytes = sb_file_fixed_bytes(&shape) + tables + sb_size_overhead(m) + storage / 8;
}

/* Collective. */
static sb_status run(driver *d) {
  sb_model *m = d->m;
  const sb_allocate_tables_options *o = d->o;
  const sb_file_shape shape = sb_file_shape_of(m, m->orders.mode);
  const sb_budget of_layers = {o->bits, o->min_bits, o->max_bits, o->scope};
  bool coded = false;
  SB_TRY(o->size.bytes > 0 ? sb_size_check(&shape, &d->budget)
                           : sb_budget_check(&m->arch, &m->blocking, m->orders.mode, &of_layers));
  for (size_t i = 0; i < m->table_count; i++)
    sb_size_set_table(m, i, o->table_bits[i] ? SB_SOURCE_BITS : SB_TABLE_MAX_BITS);
  if (chooses(m, o)) SB_TRY(choose(d));
  for (size_t i = 0; i < m->table_count; i++) {
    if (o->table_bits[i]) sb_size_set_table(m, i, o->table_bits[i]);
    coded = coded || m->tables[i].coded;
  }
  if (coded && o->statistics && !d->result->measured) SB_TRY(measure_statistics(d));
  tell(d);
  return SB_OK;
}

size_t sb_allocate_tables_bytes(const sb_sizes *z, unsigned widths, size_t chunk, size_t owned,
                                bool statistics) {
  const size_t all = z->owned + owned;
  return sb_table_stats_bytes(z->arch, &z->blocking, statistics) + sb_owned_bytes(all) +
         all * (sizeof(sb_losses) + 1) +
         sb_max_size(sb_loss_table_bytes(z, SB_ESTIMATOR_DIAGONAL, widths, false),
                     sb_max_size(sb_table_costs_bytes(z, chunk), sb_choose_blocks_bytes(all)));
}

sb_status sb_allocate_tables(sb_model *m, sb_backend *backend, const sb_sequences *calibration,
                             const sb_allocate_tables_options *o,
                             sb_allocate_tables_result *result) {
  driver d = {.m = m, .backend = backend, .calibration = calibration, .o = o, .result = result};
  const double start = sb_now();
  *result = (sb_allocate_tables_result){0};
  d.budget = (sb_size_budget){.size = o->size,
                              .min_bits = o->min_bits,
                              .max_bits = o->max_bits,
                              .scope = o->scope,
                              .widths = o->widths,
                              .table_widths = o->table_widths};
  memcpy(d.budget.table_bits, o->table_bits, sizeof o->table_bits);
  const sb_status status = run(&d);
  sb_owned_free(&d.layers);
  sb_owned_free(&d.tables);
  sb_free(&d.layer_costs);
  sb_free(&d.table_costs);
  sb_free(&d.layer_bits);
  sb_free(&d.table_bits);
  if (result->measured) result->gradient_seconds = sb_now() - start;
  if (status != SB_OK) sb_table_stats_free(&result->stats);
  return status;
}
