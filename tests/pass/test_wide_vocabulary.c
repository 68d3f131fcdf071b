/* A vocabulary in several chunks: embedding, logits, loss and gradients, from the golden files of a
 * model whose vocabulary is the same over and over (wide.h). */
#include "tests/support/wide.h"

#include <math.h>

/* As in test_golden_forward.c and test_golden_gradients.c. */
static const double logit_tolerance = 1e-4, loss_tolerance = 1e-5, gradient_tolerance = 2e-5;

static void check_logits(const golden *g, const char *name) {
  char path[2048], *data = NULL;
  size_t bytes, wide = g->model->config.vocab, vocab = wide / WIDE_COPIES;
  double worst = 0;
  float *ours = calloc(48 * wide, sizeof *ours);
  snprintf(path, sizeof path, "%s/tests/golden/%s/logits.bin", SB_SOURCE_DIR, name);
  EXPECT_OK(sb_file_read_all(path, 1 << 24, &data, &bytes));
  EXPECT(bytes == 2 * 48 * vocab * sizeof(float));
  EXPECT_OK(sb_pass_logits(g->pass, 0, ours));
  for (size_t i = 0; world.rank < 2 && i < 48 * wide; i++) {
    const size_t row = (size_t)world.rank * 48 + i / wide;
    const float theirs = ((const float *)data)[row * vocab + i % wide % vocab];
    worst = fmax(worst, fabs((double)ours[i] - (double)theirs));
  }
  EXPECT(worst < logit_tolerance);
  free(ours);
  sb_free(&data);
}

typedef struct checker {
  const golden *g;
  sb_safetensors *expected;
  float
      *tables[2]; /* [golden vocabulary, hidden] gradients of embedding and LM head, copies added */
  size_t pieces;
} checker;

/* The copies of a token share its gradient. */
static sb_status parameter(void *context, sb_stream stream, size_t tensor, size_t first_row,
                           size_t rows, const float *got) {
  checker *c = context;
  const sb_model *m = c->g->model;
  const sb_role role = m->arch.tensors[tensor].role;
  const size_t h = m->config.hidden, vocab = m->config.vocab / WIDE_COPIES;
  (void)stream;
  if (role != SB_ROLE_EMBED && role != SB_ROLE_LM_HEAD) return SB_OK;
  float *table = c->tables[role == SB_ROLE_LM_HEAD];
  for (size_t i = 0; i < rows; i++)
    for (size_t j = 0; j < h; j++) table[(first_row + i) % vocab * h + j] += got[i * h + j];
  c->pieces++;
  return SB_OK;
}

static void check_table(const checker *c, sb_role role) {
  const sb_model *m = c->g->model;
  const size_t count = m->config.vocab / WIDE_COPIES * m->config.hidden;
  const char *name = sb_arch_tensor(&m->arch, role, 0)->name;
  const float *ours = c->tables[role == SB_ROLE_LM_HEAD];
  float *theirs = calloc(count, sizeof *theirs);
  double worst = 0, largest = 0;
  EXPECT_OK(sb_safetensors_read(c->expected, sb_safetensors_find(c->expected, name), 0,
                                count * sizeof *theirs, theirs));
  for (size_t k = 0; k < count; k++) {
    worst = fmax(worst, fabs((double)ours[k] - (double)theirs[k]));
    largest = fmax(largest, fabs((double)theirs[k]));
  }
  EXPECT(worst <= gradient_tolerance * largest && largest > 0);
  free(theirs);
}

static sb_status matrix(void *context, sb_stream stream, size_t layer, size_t which,
                        const float *got) {
  checker *c = context;
  const sb_matrix *mine = sb_model_matrix(c->g->model, layer, which);
  const char *name = c->g->model->arch.tensors[mine->tensor].name;
  const size_t count = mine->tiling.rows * mine->tiling.cols;
  float *theirs = calloc(count, sizeof *theirs);
  double worst = 0, largest = 0;
  (void)stream;
  EXPECT_OK(sb_safetensors_read(c->expected, sb_safetensors_find(c->expected, name), 0,
                                count * sizeof *theirs, theirs));
  for (size_t k = 0; k < count; k++) {
    worst = fmax(worst, fabs((double)got[k] - (double)theirs[k]));
    largest = fmax(largest, fabs((double)theirs[k]));
  }
  if (!(worst <= gradient_tolerance * largest))
    print_error("%s: largest difference %g of %g\n", name, worst, largest);
  EXPECT(worst <= gradient_tolerance * largest && largest > 0);
  free(theirs);
  return SB_OK;
}

static void check_gradients(const golden *g, const char *name, double loss) {
  char path[2048];
  double got = NAN;
  checker c = {.g = g};
  snprintf(path, sizeof path, "%s/tests/golden/%s/grads.safetensors", SB_SOURCE_DIR, name);
  EXPECT_OK(sb_safetensors_open(path, &c.expected));
  const sb_pass_hooks hooks = {.context = &c,
                               .begin_layer = golden_begin_layer,
                               .matrix = matrix,
                               .end_sequence = golden_end_sequence,
                               .end_layer = golden_end_layer,
                               .parameter = parameter};
  for (int i = 0; i < 2; i++)
    c.tables[i] = calloc(g->model->config.vocab * g->model->config.hidden, sizeof(float));
  EXPECT_OK(sb_pass_gradients(g->pass, &hooks, &got));
  EXPECT(fabs(got - loss) < loss_tolerance);
  const bool tied = g->model->head_first == g->model->embed_first;
  EXPECT(c.pieces ==
         (world.rank > 0 ? 0 : g->model->embed_count + (tied ? 0 : g->model->head_count)));
  if (world.rank == 0) check_table(&c, SB_ROLE_EMBED);
  if (world.rank == 0 && !tied) check_table(&c, SB_ROLE_LM_HEAD);
  for (int i = 0; i < 2; i++) free(c.tables[i]);
  sb_safetensors_close(&c.expected);
}

static void as_the_golden_model(void **state) {
  /* Chunks are whole units of rows, at most 8192: with 16 rows per unit they end inside a copy. */
  static const char *const names[] = {"mha-untied", "gqa-tied", "rope-parameters"};
  (void)state;
  scratch_begin();
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    const char *folder = wide_make(names[i]);
    golden small, g;
    double expected[2], loss = NAN;
    golden_open(&small, &(golden_setup){.name = names[i], .sequences = 1, GOLDEN_DEFAULTS});
    golden_losses(&small, expected);
    golden_close(&small);
    expected[0] += log(WIDE_COPIES);
    expected[1] += log(WIDE_COPIES);

    golden_open(&g, &(golden_setup){.name = folder, GOLDEN_DEFAULTS});
    EXPECT(g.model->head_count > 2 && g.model->embed_count > 2);
    check_logits(&g, names[i]);
    EXPECT_OK(sb_pass_loss(g.pass, &loss));
    EXPECT(fabs(loss - 0.5 * (expected[0] + expected[1])) < loss_tolerance);
    golden_close(&g);

    golden_open(&g, &(golden_setup){.name = folder,
                                    .sequences = 1,
                                    .gradients = true,
                                    .all_gradients = true,
                                    GOLDEN_DEFAULTS});
    check_gradients(&g, names[i], expected[0]);
    golden_close(&g);
  }
  scratch_end();
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(as_the_golden_model)};
RANKS_MAIN(tests)
