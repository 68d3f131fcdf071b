/* The allocation file: written and read on any ranks, and refused where it was
 * made for something else. */
#include "io/atomic.h"
#include "tests/support/golden.h"
#include "folders/bits_file.h"
#include "tests/support/random_orders.h"
#include "tests/support/shared_scratch.h"

static void round_trip(void **state) {
  (void)state;
  scratch_begin();
  const char *path = scratch_path("bits.json"), *path_alone = scratch_path("alone.json");
  for (size_t i = 0; i < GOLDENS; i++) {
    golden from, to, alone;
    golden_setup setup = {.name = golden_names[i], GOLDEN_DEFAULTS};
    if (i % 2) setup.blocking.code_kind = SB_TRELLIS_16;
    golden_open(&from, &setup);
    golden_open(&to, &setup);
    const size_t blocks = from.model->all_blocks;
    golden_mixed_bits(from.model, 1, 8, i);
    if (i % 3) golden_mixed_tables(from.model, 1, 8, i);
    EXPECT_OK(sb_bits_file_write(from.model, path));
    EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
    EXPECT_OK(sb_bits_file_read(to.model, path));
    EXPECT(memcmp(to.model->bits, from.model->bits, blocks) == 0);
    for (size_t k = 0; k < to.model->table_count; k++)
      EXPECT(to.model->tables[k].coded == from.model->tables[k].coded);
    if (world.rank == 0) {
      char *ours = NULL, *theirs = NULL;
      size_t bytes = 0, bytes_alone = 1;
      setup.world = world_alone();
      golden_open(&alone, &setup);
      EXPECT_OK(sb_bits_file_read(alone.model, path));
      EXPECT(memcmp(alone.model->bits, from.model->bits, blocks) == 0);
      EXPECT_OK(sb_bits_file_write(alone.model, path_alone));
      EXPECT_OK(sb_file_read_all(path, 1 << 24, &ours, &bytes));
      EXPECT_OK(sb_file_read_all(path_alone, 1 << 24, &theirs, &bytes_alone));
      EXPECT(bytes == bytes_alone && memcmp(ours, theirs, bytes) == 0);
      sb_free(&ours);
      sb_free(&theirs);
      golden_close(&alone);
    }
    golden_close(&from);
    golden_close(&to);
  }
  scratch_end();
  all_ranks_passed();
}

/* The file, read as its header describes it: one digit per block. */
static void as_documented(void **state) {
  golden g;
  (void)state;
  scratch_begin();
  const char *path = scratch_path("bits.json");
  golden_open(&g, &(golden_setup){.name = "sharded-f16", GOLDEN_DEFAULTS});
  golden_mixed_bits(g.model, 1, 8, 4);
  EXPECT_OK(sb_bits_file_write(g.model, path));
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
  json_t *json = json_load_file(path, 0, NULL);
  const json_t *matrices = json_object_get(json, "matrices");
  const uint8_t *bits = g.model->bits;
  EXPECT(json_array_size(matrices) == 3 * 7);
  const json_t *down = json_array_get(matrices, 13); /* the last of layer 1 */
  EXPECT(strcmp(json_string_value(json_object_get(down, "name")),
                "model.layers.1.mlp.down_proj.weight") == 0);
  EXPECT(json_integer_value(json_array_get(json_object_get(down, "shape"), 0)) == 32);
  EXPECT(json_integer_value(json_array_get(json_object_get(down, "shape"), 1)) == 136);
  for (size_t i = 0; i < json_array_size(matrices); i++) {
    const char *digits = json_string_value(json_object_get(json_array_get(matrices, i), "bits"));
    while (*digits) EXPECT(*digits++ == '0' + *bits++);
  }
  EXPECT(bits == g.model->bits + g.model->blocks);
  json_decref(json);
  golden_close(&g);
  scratch_end();
  all_ranks_passed();
}

/* Of an untied model with a coded head alone: its entry stands in "tables", and nothing is said of
 * the embedding, which stays as it is in the model that the file is read into. */
static void one_table(void **state) {
  golden from, to;
  (void)state;
  scratch_begin();
  const char *path = scratch_path("bits.json");
  golden_open(&from, &(golden_setup){.name = "mha-untied", GOLDEN_DEFAULTS});
  golden_open(&to, &(golden_setup){.name = "mha-untied", GOLDEN_DEFAULTS});
  sb_model *m = from.model;
  golden_mixed_bits(m, 1, 8, 4);
  golden_mixed_tables(m, 1, 8, 4);
  m->tables[0].coded = false;
  const size_t head = m->tables[1].matrix.first_block;
  memset(m->bits + m->blocks, 0, head - m->blocks);
  EXPECT_OK(sb_bits_file_write(m, path));
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
  json_t *json = json_load_file(path, 0, NULL);
  const json_t *tables = json_object_get(json, "tables"), *entry = json_array_get(tables, 0);
  EXPECT(json_integer_value(json_object_get(json, "version")) == 3);
  EXPECT(json_array_size(tables) == 1);
  EXPECT(strcmp(json_string_value(json_object_get(entry, "name")), "lm_head.weight") == 0);
  const char *digits = json_string_value(json_object_get(entry, "bits"));
  EXPECT(strlen(digits) == m->all_blocks - head);
  for (size_t k = head; *digits; k++) EXPECT(*digits++ == '0' + m->bits[k]);
  json_decref(json);
  EXPECT_OK(sb_bits_file_read(to.model, path));
  EXPECT(!to.model->tables[0].coded && to.model->tables[1].coded);
  EXPECT(memcmp(to.model->bits, m->bits, m->all_blocks) == 0);
  golden_mixed_tables(to.model, 5, 5, 0); /* the embedding stays coded where it was */
  EXPECT_OK(sb_bits_file_read(to.model, path));
  EXPECT(to.model->tables[0].coded && to.model->bits[m->blocks] == 5);
  EXPECT(memcmp(to.model->bits + head, m->bits + head, m->all_blocks - head) == 0);
  golden_close(&from);
  golden_close(&to);
  scratch_end();
  all_ranks_passed();
}

/* Reading fails on all ranks with one line that has both texts. */
static void refuse(const golden_setup *setup, const char *path, const char *says,
                   const char *also) {
  golden g;
  golden_open(&g, setup);
  EXPECT(sb_bits_file_read(g.model, path) != SB_OK);
  const bool said =
      strstr(sb_message(), says) && strstr(sb_message(), also) && !strchr(sb_message(), '\n');
  if (!said) print_error("'%s' and '%s' are not in: %s\n", says, also, sb_message());
  EXPECT(said);
  golden_close(&g);
}

/* The text of the file with the first `from` replaced, in a file of its own. Collective. */
static const char *edited(const char *path, const char *from, const char *to) {
  char *text = NULL;
  const char *out = scratch_path("edited.json");
  size_t bytes;
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
  if (world.rank == 0) {
    EXPECT_OK(sb_file_read_all(path, 1 << 24, &text, &bytes));
    const char *at = memmem(text, bytes, from, strlen(from));
    EXPECT(at != NULL);
    const size_t before = at ? (size_t)(at - text) : 0, after = before + strlen(from);
    char *all = malloc(bytes + strlen(to) + 1);
    memcpy(all, text, before);
    memcpy(all + before, to, strlen(to));
    memcpy(all + before + strlen(to), text + after, bytes - after);
    EXPECT_OK(sb_file_write_atomic(out, all, bytes - strlen(from) + strlen(to)));
    free(all);
    sb_free(&text);
  }
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
  return out;
}

static void made_for_something_else(void **state) {
  golden g;
  (void)state;
  scratch_begin();
  const char *path = scratch_path("bits.json");
  golden_setup setup = {.name = "mha-untied", GOLDEN_DEFAULTS}, other = setup;
  golden_open(&g, &setup);
  memset(g.model->bits, 3, g.model->blocks);
  EXPECT_OK(sb_bits_file_write(g.model, path));
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
  golden_close(&g);

  other.name = "sharded-f16"; /* three layers */
  refuse(&other, path, "made for another model", "14 matrices where this one has 21");
  other.name = "llama3-rope"; /* other shapes */
  refuse(&other, path, "made for another model", "k_proj");
  other = setup;
  other.blocking.cols = 16;
  refuse(&other, path, "made for blocks of 16x32", "--block 16x32");
  other = setup;
  other.blocking.code_kind = SB_GRID_SYMMETRIC;
  refuse(&other, path, "made for asymmetric grids", "drop --symmetric");
  other.blocking.code_kind = SB_GRID_SIGNED;
  refuse(&other, path, "made for codes of grid, here they are of signed-grid", "--grid-kind");
  other.blocking.code_kind = SB_GRID_BY_WIDTH_BF16;
  refuse(&other, path, "made for codes of grid, here they are of by-width-grid", "--grid-kind");

  other.blocking.code_kind = SB_TRELLIS_14;
  refuse(&other, path, "made for codes of grid, here they are of trellis-14", "--trellis-states");

  refuse(&setup, edited(path, "\"bits\": \"3", "\"bits\": \"9"), "edited.json", "'9' bits");
  other.blocking.code_kind = SB_TRELLIS_14;
  refuse(&other, path, "made for codes of grid, here they are of trellis-14", "--trellis-states");

  refuse(&setup, edited(path, "\"bits\": \"3", "\"bits\": \""), "edited.json", "need one each");
  refuse(&setup, edited(path, "\"version\": 1", "\"version\": 4"), "version 4", "reads up to 3");
  refuse(&setup, edited(path, "shardbits allocation", "shopping list"), "not an allocation file",
         "edited.json");
  refuse(&setup, edited(path, "q_proj", "x_proj"), "made for another model", "x_proj");
  refuse(&setup, edited(path, "\"name\": ", "\"nom\": "), "lacks name", "q_proj");
  refuse(&setup, edited(path, "{", ""), "edited.json", "line");
  refuse(&setup, scratch_path("absent.json"), "absent.json", "No such file");
  scratch_end();
  all_ranks_passed();
}

/* A file with tables that a model does not have, or has otherwise. */
static void tables_of_something_else(void **state) {
  golden g;
  (void)state;
  scratch_begin();
  const char *path = scratch_path("bits.json");
  golden_setup setup = {.name = "mha-untied", GOLDEN_DEFAULTS};
  golden_open(&g, &setup);
  memset(g.model->bits, 3, g.model->blocks);
  golden_mixed_tables(g.model, 4, 4, 1);
  EXPECT_OK(sb_bits_file_write(g.model, path));
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
  golden_close(&g);
  refuse(&setup, edited(path, "lm_head", "lm_hat"), "made for another model", "table 1");
  refuse(&setup, edited(path, "\"model.embed_tokens.weight\"", "\"model.norm.weight\""),
         "made for another model", "table 0");
  refuse(&setup, edited(path, "\"bits\": \"4", "\"bits\": \"0"), "embed_tokens", "'0' bits");
  refuse(&setup, edited(path, "\"bits\": \"4", "\"bits\": \""), "embed_tokens", "need one each");
  refuse(&setup, edited(path, "\"tables\": [", "\"tables\": 3, \"were\": ["),
         "made for another model", "table 0");
  scratch_end();
  all_ranks_passed();
}

/* The file at `path`, which was made for the orders of `mode`, is no one else's: not `plain`'s,
 * which has none, nor `reordered`'s, which has others; nor with orders that were edited. */
static void others_are_refused(sb_reorder mode, const char *path, const sb_arch *arch,
                               const golden_setup *plain, const golden_setup *reordered) {
  sb_orders read;
  const char *made =
      mode == SB_REORDER_FUSED ? "made with --reorder fused" : "made with --reorder indexed";
  const sb_reorder wrong = mode == SB_REORDER_FUSED ? SB_REORDER_INDEXED : SB_REORDER_FUSED;
  EXPECT(sb_bits_file_orders(&world, path, arch, wrong, &read) == SB_ERR_FORMAT);
  EXPECT(strstr(sb_message(), made) != NULL && read.numbers == NULL);
  refuse(plain, path, made, "not none");
  refuse(reordered, path, "made for channels in another order", "orders_hash");
  const char *changed =
      edited(path, "\"orders_hash\": \"", "\"orders_hash\": \"0123456789abcdef\", \"was\": \"");
  EXPECT(sb_bits_file_orders(&world, changed, arch, (sb_reorder)mode, &read) == SB_ERR_FORMAT);
  EXPECT(strstr(sb_message(), "orders_hash does not fit") != NULL);
  changed = edited(path, "\"channels\": \"", "\"channels\": \"0 ");
  EXPECT(sb_bits_file_orders(&world, changed, arch, (sb_reorder)mode, &read) == SB_ERR_FORMAT);
  EXPECT(strstr(sb_message(), "is no list of") != NULL);
  changed = edited(path, "\"channels\": \"", "\"channels\": \"x");
  EXPECT(sb_bits_file_orders(&world, changed, arch, (sb_reorder)mode, &read) == SB_ERR_FORMAT);
  EXPECT(strstr(sb_message(), "is no list of") != NULL);
  changed = edited(path, "\"channels\": \"", "\"channels\": \"9");
  EXPECT(sb_bits_file_orders(&world, changed, arch, (sb_reorder)mode, &read) == SB_ERR_FORMAT);
  EXPECT(strstr(sb_message(), ": channel ") != NULL ||
         strstr(sb_message(), "orders_hash does not fit") != NULL);
}

/* A bit map that belongs to an order of channels: both come back, and neither
 * is taken for another. */
static void orders_too(void **state) {
  (void)state;
  scratch_begin();
  char path[1024];
  snprintf(path, sizeof path, "%s",
           scratch_path("bits.json")); /* scratch_path's own memory is used again */
  for (int mode = SB_REORDER_FUSED; mode <= SB_REORDER_INDEXED; mode++) {
    golden_setup setup = {.name = "llama3-rope", GOLDEN_DEFAULTS}, plain = setup;
    golden natural, from, to;
    sb_orders orders, read, other;
    golden_open(&natural, &plain);
    const sb_arch *arch = &natural.model->arch;
    EXPECT_OK(mode == SB_REORDER_FUSED ? random_fused(arch, ALL_CLASSES, 3, &orders)
                                       : random_indexed(arch, 16, 32, 3, &orders));
    EXPECT_OK(mode == SB_REORDER_FUSED ? random_fused(arch, ALL_CLASSES, 4, &other)
                                       : random_indexed(arch, 16, 32, 4, &other));
    setup.orders = &orders;
    golden_open(&from, &setup);
    golden_mixed_bits(from.model, 1, 8, 6);
    EXPECT_OK(sb_bits_file_write(from.model, path));
    EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
    EXPECT_OK(sb_bits_file_orders(&world, path, arch, (sb_reorder)mode, &read));
    EXPECT(sb_orders_hash(&read) == sb_orders_hash(&orders));
    setup.orders = &read;
    golden_open(&to, &setup);
    EXPECT_OK(sb_bits_file_read(to.model, path));
    EXPECT(memcmp(to.model->bits, from.model->bits, from.model->blocks) == 0);
    sb_orders_free(&read);

    setup.orders = &other;
    others_are_refused((sb_reorder)mode, path, arch, &plain, &setup);
    sb_orders_free(&orders);
    sb_orders_free(&other);
    golden_close(&natural);
    golden_close(&from);
    golden_close(&to);
  }
  scratch_end();
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(round_trip),
                                          cmocka_unit_test(as_documented),
                                          cmocka_unit_test(one_table),
                                          cmocka_unit_test(made_for_something_else),
                                          cmocka_unit_test(tables_of_something_else),
                                          cmocka_unit_test(orders_too)};
RANKS_MAIN(tests)
