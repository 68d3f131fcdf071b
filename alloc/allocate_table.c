#include "alloc/allocate_table.h"

#include "alloc/budget.h"
#include "alloc/choose_blocks.h"
#include "alloc/choose_items.h"
#include "alloc/items.h"
#include "alloc/owned.h"
#include "base/clock.h"
#include "base/memory.h"
#include "sensitivity/loss_table.h"

static sb_budget budget_of(const sb_allocate_table_options *o) {
  return (sb_budget){o->bits, o->min_bits, o->max_bits, o->scope};
}

static sb_status choose(sb_model *m, const sb_owned *mine, const sb_losses *losses,
                        const sb_allocate_table_options *o, uint8_t *bits,
                        sb_choose_result *chosen) {
  const sb_budget of = budget_of(o);
  const uint64_t budget = sb_budget_storage(m, &of);
  if (o->scope == SB_WIDTH_OF_BLOCK)
    return sb_choose_blocks(m->world, &mine->blocks, losses, budget, bits, chosen);
  sb_item_part part = {
      .blocks = &mine->blocks, .losses = losses, .widths = o->widths, .bits = bits};
  uint32_t *item = NULL;
  SB_AGREE(m->world, sb_items_number(m, mine, o->scope, &item, &part.items));
  part.item = item;
  const sb_status status = sb_choose_items(m->world, &part, 1, budget, chosen);
  sb_free(&item);
  return status;
}

sb_status sb_allocate_table(sb_model *m, sb_backend *backend, const sb_sequences *calibration,
                            const sb_allocate_table_options *o, sb_allocate_table_result *result) {
  sb_pass_setup setup = sb_sequences_setup(calibration, m, backend, o->activation_bytes, o->ticker);
  setup.gradients = true;
  sb_owned mine = {0};
  sb_pass *pass = NULL;
  sb_loss_table *table = NULL;
  uint8_t *bits = NULL;
  sb_choose_result chosen;
  const double start = sb_now();
  *result = (sb_allocate_table_result){0};
  const sb_budget budget = budget_of(o);
  SB_TRY(sb_budget_check(&m->arch, &m->blocking, m->orders.mode, &budget));
  sb_status status = sb_owned_create(m, o->min_bits, o->max_bits, &mine);
  SB_THEN(sb_alloc(&bits, mine.blocks.count, 1, "bits of the blocks"));
  status = sb_world_agree(m->world, status);
  SB_THEN(sb_pass_create(&setup, &pass));
  SB_THEN(sb_loss_table_create(m, backend, o->estimator, o->min_bits, o->max_bits, &table));
  SB_THEN(sb_loss_table_measure(table, pass, true, &result->loss));
  if (status == SB_OK) {
    result->score_seconds = sb_loss_table_seconds(table);
    result->gradient_seconds = sb_now() - start;
    status = choose(m, &mine, sb_loss_table_losses(table), o, bits, &chosen);
  }
  if (status == SB_OK) {
    result->predicted = chosen.loss;
    result->gap = chosen.gap;
    status = sb_model_set_bits(m, bits);
  }
  sb_loss_table_free(&table);
  sb_pass_free(&pass);
  sb_owned_free(&mine);
  sb_free(&bits);
  return status;
}
