/* Budgets of whole files: the range is that of every width tried out, limits that a message names
 * are accepted, and what is left to the layers adds up to the size to the bit. */
#include "alloc/size_budget.h"

#include <math.h>
#include <stdlib.h>

#include "alloc/budget.h"
#include "alloc/owned.h"
#include "kernels/blockrow.h"
#include "tests/support/golden.h"

static const unsigned NONE[SB_TABLES] = {0};

static sb_size_budget budget_of(unsigned min_bits, sb_width_scope scope, const unsigned *tables) {
  sb_size_budget b = {.size = {1, "MiB"}, .min_bits = min_bits, .max_bits = 8, .scope = scope};
  memcpy(b.table_bits, tables, sizeof b.table_bits);
  return b;
}

static void open_model(golden *g, const char *name, sb_blocking blocking) {
  golden_open(g, &(golden_setup){.name = name,
                                 .threads = 1,
                                 .blocking = blocking,
                                 .activation_bytes = (size_t)1 << 30});
}

/* Each block at its cheapest width in [least, 8], one after another. */
static void cheapest(sb_model *m, const sb_matrix *matrix, unsigned least) {
  const sb_tiling *t = &matrix->tiling;
  const size_t across = sb_tiling_block_cols(t);
  for (size_t k = 0; k < across * sb_tiling_block_rows(t); k++) {
    size_t best = SIZE_MAX;
    for (unsigned bits = least; bits <= 8; bits++) {
      const size_t bytes =
          sb_block_bytes(sb_tiling_rows_of(t, k / across), sb_tiling_cols_of(t, k % across), bits,
                         sb_model_code_kind(m, matrix));
      if (bytes >= best) continue;
      best = bytes;
      m->bits[matrix->first_block + k] = (uint8_t)bits;
    }
  }
}

/* The smallest file that can be, by widths that are really set. */
static uint64_t smallest(sb_model *m, const sb_size_budget *b) {
  for (size_t i = 0; i < m->arch.matrix_count; i++) cheapest(m, &m->matrices[i], b->min_bits);
  for (size_t i = 0; i < m->table_count; i++) {
    sb_size_set_table(m, i, b->table_bits[i] ? b->table_bits[i] : 8);
    if (b->table_bits[i] == 0) cheapest(m, &m->tables[i].matrix, SB_TABLE_MIN_BITS);
  }
  return sb_file_bytes(m);
}

static uint64_t file_of(sb_model *m, const sb_size_budget *b, unsigned bits) {
  memset(m->bits, (int)bits, m->blocks);
  for (size_t i = 0; i < m->table_count; i++)
    sb_size_set_table(m, i, b->table_bits[i] ? b->table_bits[i] : bits);
  return sb_file_bytes(m);
}

/* Reads the two sizes of the message, and expects both, and sizes of the range, to be accepted. */
static void check_limits(const sb_file_shape *s, sb_size_budget b, uint64_t least, uint64_t most) {
  static const char *const units[] = {"GiB", "GB", "MiB", "MB"};
  for (int u = 0; u < 4; u++) {
    b.size = (sb_byte_size){least / 2, units[u]};
    EXPECT(sb_size_check(s, &b) == SB_ERR_RANGE);
    char text[1024];
    snprintf(text, sizeof text, "%s", sb_message());
    const char *from = strstr(text, "can have ");
    EXPECT(from != NULL);
    if (!from) continue;
    char *to = strstr(from, " to ");
    EXPECT(to != NULL);
    if (!to) continue;
    *to = 0;
    to[4 + strcspn(to + 4, " ")] = 0;
    sb_byte_size low, high;
    EXPECT(sb_byte_size_read(from + 9, &low) && sb_byte_size_read(to + 4, &high));
    EXPECT(low.bytes >= least && (double)low.bytes < 1.0011 * (double)least);
    EXPECT((double)high.bytes > 0.9989 * (double)most);
    const uint64_t accepted[] = {low.bytes, high.bytes, least, most, (least + most) / 2};
    for (int i = 0; i < 5; i++) {
      b.size.bytes = accepted[i];
      EXPECT_OK(sb_size_check(s, &b));
    }
    b.size.bytes = sb_max_size(most, low.bytes) + 1;
    EXPECT(sb_size_check(s, &b) == SB_ERR_RANGE);
  }
}

static void ranges(void **state) {
  static const sb_blocking blockings[] = {
      {16, 32, SB_GRID_ASYMMETRIC}, {128, 8, SB_GRID_ASYMMETRIC}, {32, 48, SB_TRELLIS_12}};
  static const unsigned tables[][SB_TABLES] = {{0, 0}, {5, 0}, {0, 16}, {16, 3}};
  (void)state;
  for (int b = 0; b < 3; b++)
    for (int tied = 0; tied < 2; tied++) {
      golden g;
      open_model(&g, tied ? "gqa-tied" : "mha-untied", blockings[b]);
      const sb_file_shape s = sb_file_shape_of(g.model, SB_REORDER_NONE);
      for (int t = 0; t < 4; t++)
        for (unsigned min_bits = 1; min_bits <= 2; min_bits++) {
          uint64_t least, most, one = UINT64_MAX;
          sb_size_budget of_blocks = budget_of(min_bits, SB_WIDTH_OF_BLOCK, tables[t]);
          sb_size_range(&s, &of_blocks, &least, &most);
          EXPECT(least == smallest(g.model, &of_blocks));
          EXPECT(most == file_of(g.model, &of_blocks, 8));
          check_limits(&s, of_blocks, least, most);
          sb_size_budget of_model = budget_of(min_bits, SB_WIDTH_OF_MODEL, tables[t]);
          sb_size_range(&s, &of_model, &least, &most);
          for (unsigned bits = min_bits; bits <= 8; bits++) {
            const uint64_t bytes = file_of(g.model, &of_model, bits);
            if (bytes < one) one = bytes;
          }
          EXPECT(least == one && most == file_of(g.model, &of_model, 8));
        }
      golden_close(&g);
    }
  all_ranks_passed();
}

/* The largest width that fits, wherever the size lies. */
static void uniform_widths(void **state) {
  (void)state;
  golden g;
  open_model(&g, "mha-untied", (sb_blocking){16, 32, SB_GRID_ASYMMETRIC});
  sb_size_budget b = budget_of(1, SB_WIDTH_OF_MODEL, NONE);
  b.size.bytes = file_of(g.model, &b, 1) - 1;
  EXPECT(sb_size_uniform(g.model, &b) == SB_ERR_RANGE);
  for (unsigned bits = 1; bits <= 7; bits++) {
    const uint64_t here = file_of(g.model, &b, bits), next = file_of(g.model, &b, bits + 1);
    const uint64_t sizes[] = {here, next - 1};
    for (int i = 0; i < 2; i++) {
      b.size.bytes = sizes[i];
      memset(g.model->bits, 9, g.model->all_blocks);
      EXPECT_OK(sb_size_uniform(g.model, &b));
      EXPECT(sb_file_bytes(g.model) == here);
    }
  }
  golden_close(&g);
  all_ranks_passed();
}

/* Bits that are given back as the same storage; widths within it make a file within the size. */
static void storage_of_layers(void **state) {
  (void)state;
  golden g;
  open_model(&g, "gqa-tied", (sb_blocking){16, 32, SB_GRID_ASYMMETRIC});
  sb_model *m = g.model;
  sb_size_budget b = budget_of(2, SB_WIDTH_OF_BLOCK, (const unsigned[SB_TABLES]){5, 0});
  for (uint64_t i = 0; i < 200; i++) {
    golden_mixed_bits(m, 2, 8, i);
    sb_size_set_table(m, 0, 5);
    const uint64_t bytes = sb_file_bytes(m), table = sb_table_bytes(m, &m->tables[0]);
    const uint64_t storage = sb_size_storage(m, &b, bytes, table);
    sb_owned mine = {0};
    uint64_t used = 0;
    EXPECT_OK(sb_owned_create(m, 2, 8, &mine));
    uint8_t *bits = NULL;
    EXPECT_OK(sb_alloc(&bits, mine.blocks.count, 1, "test"));
    sb_model_get_bits(m, bits);
    EXPECT_OK(sb_blocks_total(&world, &mine.blocks, bits, &used));
    EXPECT(used == storage);
    const sb_budget of_layers = {sb_owned_bits_for(m, storage), 2, 8, SB_WIDTH_OF_BLOCK};
    EXPECT(sb_budget_storage(m, &of_layers) == storage);
    EXPECT_OK(sb_budget_check(&m->arch, &m->blocking, m->orders.mode, &of_layers));
    sb_free(&bits);
    sb_owned_free(&mine);
  }
  /* no more than all blocks at 8 bits take */
  memset(m->bits, 8, m->blocks);
  const uint64_t bytes = sb_file_bytes(m), table = sb_table_bytes(m, &m->tables[0]);
  EXPECT(sb_size_storage(m, &b, bytes + 1000, table) == sb_size_storage(m, &b, bytes, table));
  const sb_budget all = {sb_owned_bits_for(m, sb_size_storage(m, &b, bytes, table)), 2, 8,
                         SB_WIDTH_OF_BLOCK};
  EXPECT_OK(sb_budget_check(&m->arch, &m->blocking, m->orders.mode, &all));
  EXPECT(sb_size_storage(m, &b, table, table) == 0);
  golden_close(&g);
  all_ranks_passed();
}

/* Exact where all widths are uniform, rising between. */
static void guesses(void **state) {
  (void)state;
  golden g;
  open_model(&g, "gqa-tied", (sb_blocking){16, 32, SB_GRID_ASYMMETRIC});
  sb_model *m = g.model;
  const sb_file_shape s = sb_file_shape_of(m, SB_REORDER_NONE);
  sb_size_budget b = budget_of(2, SB_WIDTH_OF_BLOCK, NONE);
  double before = 0;
  for (unsigned bits = 2; bits <= 7; bits++) {
    memset(m->bits, (int)bits, m->blocks);
    sb_size_set_table(m, 0, bits + SB_TABLE_LEAD);
    b.size.bytes = sb_file_bytes(m);
    EXPECT(fabs(sb_size_guess(&s, &b) - sb_model_uniform_bits(m, bits)) < 1e-12);
    b.size.bytes += 100;
    EXPECT(sb_size_guess(&s, &b) > sb_model_uniform_bits(m, bits));
    EXPECT(sb_size_guess(&s, &b) > before);
    before = sb_size_guess(&s, &b);
  }
  golden_close(&g);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(ranges), cmocka_unit_test(uniform_widths), cmocka_unit_test(storage_of_layers),
    cmocka_unit_test(guesses)};
RANKS_MAIN(tests)
