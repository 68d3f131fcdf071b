/* Every promise of a model, broken one by one: the check finds each and says which. */
#include "model/model_check.h"

#include "tests/support/golden.h"

#include <math.h>

#include "quant/encode.h"

/* Sets `place` to `value`: the reason must hold `word`. Then all is as before, and valid. */
#define EXPECT_FLAW(place, value, word)                                                            \
  do {                                                                                             \
    const __typeof__(place) kept = (place);                                                        \
    sb_flaw flaw = {""};                                                                           \
    (place) = (value);                                                                             \
    EXPECT(!sb_model_is_valid(m, &flaw));                                                          \
    if (!strstr(flaw.text, (word)) && failures++ < 5)                                              \
      print_error("%s = %s: no '%s' in: %s\n", #place, #value, (word), flaw.text);                 \
    (place) = kept;                                                                                \
    EXPECT(sb_model_is_valid(m, &flaw));                                                           \
  } while (0)

static void expect_valid(const sb_model *m) {
  sb_flaw flaw = {""};
  EXPECT(sb_model_is_valid(m, &flaw));
  if (flaw.text[0]) print_error("rank %d: %s\n", world.rank, flaw.text);
  sb_model_check(m);
}

static void all_golden_models(void **state) {
  (void)state;
  for (int i = 0; i < GOLDENS; i++) {
    golden g;
    golden_open(&g, &(golden_setup){GOLDEN_DEFAULTS, .name = golden_names[i]});
    expect_valid(g.model);
    golden_mixed_bits(g.model, 1, 8, 3);
    expect_valid(g.model);
    golden_close(&g);
  }
  all_ranks_passed();
}

/* A model whose head is a matrix of its own, and one that has none. */
static void broken_places(void **state) {
  static const char *const names[] = {"mha-untied", "gqa-tied"};
  (void)state;
  for (int i = 0; i < 2; i++) {
    golden g;
    golden_open(&g, &(golden_setup){GOLDEN_DEFAULTS, .name = names[i]});
    sb_model *m = g.model;
    sb_place *first = &m->places[0], *last = &m->places[m->place_count - 1],
             *layer = &m->places[m->group_place[m->layer_first]];
    EXPECT_FLAW(m->embed_first, 1, "embedding at 1");
    EXPECT_FLAW(m->norm_group, m->norm_group + 1, "norm at");
    EXPECT_FLAW(m->layer_first, m->layer_first + 1, "layers at");
    if (i == 0) EXPECT_FLAW(m->head_count, m->head_count + 1, "head at");
    EXPECT_FLAW(m->group_place[0], 1, "groups have places");
    EXPECT_FLAW(m->group_place[1], 0, "group 0 has no place");
    EXPECT_FLAW(m->group_place[m->groups], m->place_count - 1, "groups have places");
    EXPECT_FLAW(first->tensor, m->arch.count, "tensor");
    EXPECT_FLAW(first->group, 1, "place 0: group 1");
    EXPECT_FLAW(layer[1].first_unit, 0, "unit 0, expected");
    EXPECT_FLAW(first->first_row, 1, "rows 1 to");
    EXPECT_FLAW(first->rows, first->rows + 1, "place 0: rows");
    EXPECT_FLAW(last->rows, last->rows - 1, "place");
    EXPECT_FLAW(layer[1].units, layer[1].units + 1, "units for");
    EXPECT_FLAW(m->config.layers, m->config.layers + 1, "norm at");
    golden_close(&g);
  }
  all_ranks_passed();
}

static void broken_blocks(void **state) {
  golden g;
  (void)state;
  golden_open(&g, &(golden_setup){GOLDEN_DEFAULTS, .name = "mha-untied"});
  sb_model *m = g.model;
  float importance = 1;
  EXPECT_FLAW(m->matrices[1].tensor, m->matrices[0].tensor, "matrix 1 is tensor");
  EXPECT_FLAW(m->matrices[1].first_block, m->matrices[1].first_block + 1, "its first block");
  EXPECT_FLAW(m->matrices[1].first_group, m->matrices[1].first_group + 1, "its first group");
  EXPECT_FLAW(m->quant_groups, m->quant_groups + 1, "groups, the model");
  EXPECT_FLAW(m->matrices[2].tiling.rows, 1, "1x");
  EXPECT_FLAW(m->matrices[2].tiling.block_cols, 64, "16x64");
  EXPECT_FLAW(m->blocks, m->blocks - 1, "the model");
  EXPECT_FLAW(m->bits[m->blocks - 1], 9, "has 9 bits");
  EXPECT_OK(sb_alloc(&m->importance, m->arch.channels, sizeof *m->importance, "importance"));
  EXPECT_FLAW(m->importance[0], -importance, "importance of channel 0 is -1");
  EXPECT_FLAW(m->importance[3], NAN, "importance of channel 3 is");
  EXPECT_FLAW(m->importance[m->arch.channels - 1], INFINITY, "is inf");
  EXPECT_OK(sb_alloc(&m->col_factors, m->arch.channels, sizeof *m->col_factors, "factors"));
  for (size_t i = 0; i < m->arch.channels; i++) m->col_factors[i] = i % 2 ? 0x3c00 : 0xbc00;
  EXPECT_FLAW(m->col_factors[1], 0x8000, "column factor of channel 1 is 0x8000");
  EXPECT_FLAW(m->col_factors[2], 0x7c00, "column factor of channel 2 is 0x7c00");
  golden_close(&g);
  all_ranks_passed();
}

/* The first byte of the first block row that this rank owns: bits of a block. */
static sb_status first_matrix_unit(void *context, sb_model *m, const sb_place *place, size_t unit,
                                   void *data) {
  uint8_t **out = context;
  (void)unit;
  if (!*out && m->arch.tensors[place->tensor].is_linear) *out = data;
  return SB_OK;
}

static void broken_block_rows(void **state) {
  golden g;
  sb_model *m = NULL;
  uint8_t *row = NULL;
  (void)state;
  golden_open(&g, &(golden_setup){GOLDEN_DEFAULTS, .name = "mha-untied"});
  golden_mixed_bits(g.model, 2, 4, 5);
  EXPECT_OK(sb_encode_nearest(g.model, &m));
  expect_valid(m);
  EXPECT_OK(sb_model_visit_owned(m, first_matrix_unit, &row));
  EXPECT(row != NULL);
  EXPECT_FLAW(m->bits[0], 0, "block 0 of"); /* may only be in a model of source rows */
  EXPECT_FLAW(*row, 9, "9 bits");
  EXPECT_FLAW(*row, (uint8_t)(*row - 1), "its bit map asks for");
  if (world.rank == 0) { /* owns the first block */
    const uint8_t bits = m->bits[0];
    EXPECT_FLAW(m->bits[0], (uint8_t)(bits + 1), "has other bits than the model");
  }
  sb_model_free(&m);
  golden_close(&g);
  all_ranks_passed();
}

static void bits_of_blocks(void **state) {
  const uint8_t bits[4] = {1, 8, 0, 3};
  sb_flaw flaw;
  (void)state;
  EXPECT(sb_bits_are_valid(bits, 2, false, &flaw));
  EXPECT(sb_bits_are_valid(bits, 4, true, &flaw));
  EXPECT(!sb_bits_are_valid(bits, 4, false, &flaw));
  EXPECT(strcmp(flaw.text, "block 2 of 4 has 0 bits") == 0);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(all_golden_models), cmocka_unit_test(broken_places),
    cmocka_unit_test(broken_blocks), cmocka_unit_test(broken_block_rows),
    cmocka_unit_test(bits_of_blocks)};
RANKS_MAIN(tests)
