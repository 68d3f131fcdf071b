/* Gradients of norms, embedding and LM head against differences of the loss: of likelihood and of
 * divergence, with a table of its own for the head and with one for both, in one wave and in
 * several. The teacher of a divergence predicts with the head as it is, so that its loss does not
 * move with a head as the gradient says, which holds the teacher. */
#include "tests/support/golden.h"
#include "tests/support/shared_scratch.h"

#include <math.h>

#include "io/safetensors.h"
#include "io/safetensors_writer.h"

enum { SEQUENCES = 2 };

/* A golden model in float32 whose head is its embedding: the weights without lm_head.weight. */
static void tied_weights(const char *from, const char *to) {
  sb_safetensors *source = NULL;
  sb_safetensors_writer *writer = NULL;
  sb_tensor_spec specs[64];
  size_t count = 0;
  EXPECT_OK(sb_safetensors_open(from, &source));
  for (size_t i = 0; i < sb_safetensors_count(source); i++) {
    const sb_tensor_info *t = sb_safetensors_at(source, i);
    if (strcmp(t->name, "lm_head.weight") == 0) continue;
    specs[count++] = (sb_tensor_spec){t->name, t->dtype, t->dims, {t->shape[0], t->shape[1]}};
  }
  EXPECT_OK(sb_safetensors_writer_create(to, specs, count, NULL, &writer));
  for (size_t i = 0; i < count; i++) {
    const sb_tensor_info *t = sb_safetensors_find(source, specs[i].name);
    void *data = malloc(t->bytes);
    EXPECT_OK(sb_safetensors_read(source, t, 0, t->bytes, data));
    EXPECT_OK(sb_safetensors_writer_write(writer, i, 0, t->bytes, data));
    free(data);
  }
  EXPECT_OK(sb_safetensors_writer_finish(writer));
  sb_safetensors_writer_free(&writer);
  sb_safetensors_close(&source);
}

static const char *make_tied(void) {
  const char *folder = scratch_path("tied"), *from = SB_SOURCE_DIR "/tests/golden/f32-single";
  char path[2048], source[2048];
  if (world.rank == 0) {
    snprintf(path, sizeof path, "mkdir '%s' && cp '%s/tokens.bin' '%s'", folder, from, folder);
    EXPECT(system(path) == 0);
    snprintf(path, sizeof path, "%s/config.json", from);
    json_t *config = json_load_file(path, 0, NULL);
    json_object_set_new(config, "tie_word_embeddings", json_true());
    snprintf(path, sizeof path, "%s/config.json", folder);
    EXPECT(json_dump_file(config, path, 0) == 0);
    json_decref(config);
    snprintf(source, sizeof source, "%s/model.safetensors", from);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    tied_weights(source, path);
  }
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
  return folder;
}

/* A direction of change: an entry's is a number in [-1, 1] of its tensor and position alone. */
static double direction(size_t tensor, size_t index) {
  return 2.0 * ((double)(mix(tensor * 1000003 + index) >> 11) / 9007199254740992.0) - 1.0;
}

typedef struct move {
  size_t tensor;
  float step;
  int sign;    /* 1: w + step, -1: w - step, 0: back */
  float *kept; /* [rows, cols] the weights as they were; of owned units */
} move;

static sb_status move_unit(void *context, sb_model *model, const sb_place *place, size_t unit,
                           void *data) {
  const move *m = context;
  const size_t cols = model->arch.tensors[place->tensor].cols;
  size_t first, count;
  if (place->tensor != m->tensor) return SB_OK;
  EXPECT(model->dtypes[place->tensor] == SB_F32);
  sb_place_rows(model, place, unit, &first, &count);
  float *w = data;
  for (size_t i = 0; i < count * cols; i++) {
    const size_t at = first * cols + i;
    if (m->sign == 1) m->kept[at] = w[i];
    w[i] = m->kept[at] + (float)m->sign * m->step * (float)direction(m->tensor, at);
  }
  return SB_OK;
}

static double loss_at(golden *g, move *m, int sign, float step) {
  double loss = NAN;
  m->step = step;
  m->sign = sign;
  EXPECT_OK(sb_model_visit_owned(g->model, move_unit, m));
  sb_pass_forget(g->pass);
  EXPECT_OK(sb_pass_loss(g->pass, &loss));
  return loss;
}

typedef struct slopes {
  const golden *g;
  double *along; /* [tensors] sum over this rank's sequences of gradient x direction */
  size_t *rows;  /* [tensors] seen */
  size_t *ended; /* [tensors] rows whose sequences have all been seen, once per wave */
} slopes;

static sb_status parameter(void *context, sb_stream stream, size_t tensor, size_t first_row,
                           size_t rows, const float *gradient) {
  slopes *s = context;
  const size_t cols = s->g->model->arch.tensors[tensor].cols, first = first_row * cols;
  (void)stream;
  for (size_t i = 0; i < rows * cols; i++)
    s->along[tensor] += (double)gradient[i] * direction(tensor, first + i);
  s->rows[tensor] += rows;
  return SB_OK;
}

/* A rank's sequences are dealt to waves in order, so by the end of its rows a wave has shown them
 * once for each sequence that the rank has had so far. */
static sb_status end_parameter(void *context, size_t tensor, size_t first_row, size_t rows) {
  slopes *s = context;
  const size_t all = s->g->model->arch.tensors[tensor].rows, wave = s->ended[tensor] / all;
  EXPECT(first_row == s->ended[tensor] % all);
  s->ended[tensor] += rows;
  const size_t waves = sb_pass_waves(s->g->pass), local = s->g->sequences.local,
               had = waves == 1 ? local : sb_min_size(wave + 1, local),
               before = waves == 1 ? 0 : sb_min_size(wave, local);
  EXPECT(s->rows[tensor] == before * all + (had - before) * (first_row + rows));
  return SB_OK;
}

static double difference(golden *g, move *m, float step) {
  const double up = loss_at(g, m, 1, step), down = loss_at(g, m, -1, step);
  (void)loss_at(g, m, 0, step);
  return (up - down) / (2.0 * (double)step);
}

/* Central differences of two steps, with the error in their square taken out. The loss of a float32
 * pass is right to about 1e-7, so a slope to 1e-5; what else is measured (8.5e-5, and 3.3e-4 of the
 * slope, for the embedding) comes with the fourth power of the step. */
static void check_tensor(golden *g, size_t tensor, double along) {
  const sb_model_tensor *t = &g->model->arch.tensors[tensor];
  move m = {.tensor = tensor, .kept = calloc(t->rows * t->cols, sizeof(float))};
  const double slope = (4.0 * difference(g, &m, 0.005f) - difference(g, &m, 0.01f)) / 3.0;
  if (!(fabs(slope - along) < 5e-5 + 1e-3 * fabs(slope)))
    print_error("%s: slope %.8f, gradient %.8f\n", t->name, slope, along);
  EXPECT(fabs(slope - along) < 5e-5 + 1e-3 * fabs(slope));
  free(m.kept);
}

/* `tables`: of embedding and head too, otherwise of norms alone. */
static void check_model(const char *name, bool divergence, bool tables, size_t activation_bytes) {
  golden g;
  golden_open(&g, &(golden_setup){.name = name,
                                  .gradients = true,
                                  .all_gradients = tables,
                                  .norm_gradients = !tables,
                                  .divergence = divergence,
                                  .threads = 1,
                                  .blocking = {16, 32, SB_GRID_ASYMMETRIC},
                                  .activation_bytes = activation_bytes});
  const sb_arch *arch = &g.model->arch;
  slopes s = {.g = &g,
              .along = calloc(arch->count, sizeof *s.along),
              .rows = calloc(arch->count, sizeof *s.rows),
              .ended = calloc(arch->count, sizeof *s.ended)};
  double loss = NAN;
  EXPECT(sb_pass_waves(g.pass) == 1 || activation_bytes == 1);
  if (divergence) { /* from which the source weights are at a distance by then */
    EXPECT_OK(sb_pass_learn(g.pass));
    golden_mixed_bits(g.model, 2, 4, 5);
    sb_pass_forget(g.pass);
  }
  const sb_pass_hooks hooks = {.context = &s,
                               .begin_layer = golden_begin_layer,
                               .end_sequence = golden_end_sequence,
                               .end_layer = golden_end_layer,
                               .parameter = parameter,
                               .end_parameter = end_parameter};
  EXPECT_OK(sb_pass_gradients(g.pass, &hooks, &loss));
  EXPECT(loss > 0.01);
  EXPECT(MPI_Allreduce(MPI_IN_PLACE, s.along, (int)arch->count, MPI_DOUBLE, MPI_SUM, world.comm) ==
         MPI_SUCCESS);
  for (size_t i = 0; i < arch->count; i++) {
    const sb_model_tensor *t = &arch->tensors[i];
    const bool told = tables ? !t->is_linear : t->dims == 1;
    EXPECT(s.rows[i] == (told ? t->rows * g.sequences.local : 0));
    EXPECT(s.ended[i] == (told && t->layer == SB_NONE ? t->rows * sb_pass_waves(g.pass) : 0));
    const bool held = divergence && i == sb_arch_index(arch, SB_ROLE_LM_HEAD, 0);
    if (told && !held) check_tensor(&g, i, s.along[i] / SEQUENCES);
  }
  free(s.along);
  free(s.rows);
  free(s.ended);
  golden_close(&g);
}

static void likelihood(void **state) {
  (void)state;
  check_model("f32-single", false, true, (size_t)1 << 30);
  check_model("f32-single", false, true, 1); /* one sequence at a time */
  all_ranks_passed();
}

static void tied(void **state) {
  (void)state;
  scratch_begin();
  const char *folder = make_tied();
  check_model(folder, false, true, (size_t)1 << 30);
  check_model(folder, true, true, 1);
  scratch_end();
  all_ranks_passed();
}

static void divergence(void **state) {
  (void)state;
  check_model("f32-single", true, true, (size_t)1 << 30);
  all_ranks_passed();
}

static void norms_alone(void **state) {
  (void)state;
  scratch_begin();
  check_model("f32-single", false, false, 1);
  check_model(make_tied(), true, false, (size_t)1 << 30);
  scratch_end();
  all_ranks_passed();
}

/* Who asks for what was not prepared is told so, and nobody waits. */
static void only_where_prepared(void **state) {
  (void)state;
  golden g;
  double loss;
  golden_open(&g, &(golden_setup){.name = "f32-single", .gradients = true, GOLDEN_DEFAULTS});
  const sb_pass_hooks hooks = {.begin_layer = golden_begin_layer,
                               .end_sequence = golden_end_sequence,
                               .end_layer = golden_end_layer,
                               .parameter = parameter};
  EXPECT(sb_pass_gradients(g.pass, &hooks, &loss) == SB_ERR_INTERNAL);
  golden_close(&g);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(likelihood), cmocka_unit_test(tied), cmocka_unit_test(divergence),
    cmocka_unit_test(norms_alone), cmocka_unit_test(only_where_prepared)};
RANKS_MAIN(tests)
