/* optimizer.safetensors as another program may write it: read by the owners of weights, on any
 * number of ranks; what is missing, of another model or no number is refused by name. */
#include "train/optimizer_file.h"

#include <math.h>

#include "io/safetensors_writer.h"
#include "tests/support/shared_scratch.h"
#include "tests/train/runs.h"

static const sb_optimizer_info info = {.step = 123,
                                       .updates = 120,
                                       .adamw = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8},
                                       .rate = 0.0123456789012345678,
                                       .clip = 0,
                                       .batch = 64,
                                       .seqlen = 2048};

/* Element i of part `part` of tensor t. */
static float value(size_t part, size_t t, size_t i) {
  const float x = (float)(mix(part * 1000003 + t * 1009 + i * 31) % 4093);
  return part == 1 ? x : x - 2000;
}

/* How a file differs from a good one. */
typedef struct spoil {
  bool masters;            /* it has them */
  const char *key, *value; /* of the metadata, replaced; value NULL: left out */
  size_t missing;          /* tensor of the file that it lacks; SIZE_MAX: none */
  bool half;               /* tensor 3 is bf16 */
  bool longer;             /* tensor 3 has a row more */
  float first;             /* of the second moment of tensor 0, if not 0 */
} spoil;
static const spoil good = {.missing = SIZE_MAX};

static void put_metadata(const spoil *s, sb_optimizer_metadata *metadata) {
  const char **to = metadata->pairs;
  sb_optimizer_metadata_make(&info, metadata);
  for (const char **from = metadata->pairs; from[0]; from += 2) {
    const bool hit = s->key && strcmp(from[0], s->key) == 0;
    if (hit && !s->value) continue;
    to[0] = from[0];
    to[1] = hit ? s->value : from[1];
    to += 2;
  }
  *to = NULL;
}

static void put_values(sb_safetensors_writer *w, const sb_tensor_spec *spec, size_t k, size_t part,
                       size_t tensor, float first) {
  const size_t count = spec->shape[0] * (spec->dims == 2 ? spec->shape[1] : 1);
  float *values = calloc(count, sizeof *values);
  for (size_t i = 0; i < count; i++) values[i] = value(part, tensor, i);
  if (part == 1 && tensor == 0 && first != 0) values[0] = first;
  EXPECT_OK(sb_safetensors_writer_write(w, k, 0, count * sb_dtype_size(spec->dtype), values));
  free(values);
}

static void put(const char *path, const sb_arch *arch, const spoil *s) {
  const size_t parts = s->masters ? 3 : 2;
  sb_optimizer_specs specs;
  sb_tensor_spec list[300];
  size_t part[300], tensor[300], count = 0;
  char names[100][128];
  sb_optimizer_metadata metadata;
  sb_safetensors_writer *w = NULL;
  EXPECT_OK(sb_optimizer_specs_create(arch, &specs));
  put_metadata(s, &metadata);
  for (size_t k = 0; k < parts * arch->count; k++) {
    if (k == s->missing) continue;
    list[count] =
        specs.specs[k % arch->count + (k < 2 * arch->count ? k / arch->count : 0) * arch->count];
    part[count] = k / arch->count;
    tensor[count] = k % arch->count;
    if (part[count] == 2) {
      snprintf(names[tensor[count]], sizeof names[0], "%s.master",
               arch->tensors[k % arch->count].name);
      list[count].name = names[tensor[count]];
    }
    if (k == 3 && s->half) list[count].dtype = SB_BF16;
    if (k == 3 && s->longer) list[count].shape[0]++;
    count++;
  }
  remove(path);
  EXPECT_OK(sb_safetensors_writer_create(path, list, count, metadata.pairs, &w));
  for (size_t k = 0; w && k < count; k++) put_values(w, &list[k], k, part[k], tensor[k], s->first);
  EXPECT_OK(sb_safetensors_writer_finish(w));
  sb_safetensors_writer_free(&w);
  sb_optimizer_specs_free(&specs);
}

static const char *put_shared(const run *r, const spoil *s) {
  static char path[1024];
  snprintf(path, sizeof path, "%s", scratch_path("optimizer.safetensors"));
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
  if (world.rank == 0) put(path, &r->model->arch, s);
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
  return path;
}

static void numbers(const char *path) {
  sb_optimizer_info read;
  EXPECT_OK(sb_optimizer_file_info(path, &read));
  EXPECT(read.step == 123 && read.updates == 120 && read.batch == 64 && read.seqlen == 2048);
  EXPECT(read.rate == info.rate && read.clip == 0 && read.adamw.beta1 == 0.9);
  EXPECT(read.adamw.beta2 == 0.999 && read.adamw.eps == 1e-8 && read.adamw.decay == 0);
}

static void taken_up(void **state) {
  run r;
  (void)state;
  scratch_begin();
  run_open(&r, &world, "untied", 1, 0);
  const sb_optimizer *o = sb_trainer_optimizer(r.trainer);
  for (int with = 0; with < 2; with++) {
    spoil s = good;
    bool masters;
    s.masters = with;
    const char *path = put_shared(&r, &s);
    numbers(path);
    const float before = o->shares->count ? o->shares->units[0].master[0] : 0;
    EXPECT_OK(sb_optimizer_file_read(&world, path, sb_trainer_optimizer(r.trainer), &masters));
    EXPECT(masters == (with == 1) && o->updates == 120);
    if (!with && o->shares->count) EXPECT(o->shares->units[0].master[0] == before);
    for (size_t u = 0; u < o->shares->count; u++) {
      const sb_share *unit = &o->shares->units[u];
      const sb_optimizer_unit at = sb_optimizer_unit_at(o, u);
      const size_t first = unit->first_row * r.model->arch.tensors[unit->tensor].cols;
      size_t wrong = 0;
      for (size_t i = 0; i < unit->count; i++) {
        wrong += at.m[i] != value(0, unit->tensor, first + i);
        wrong += at.v[i] != value(1, unit->tensor, first + i);
        if (with) wrong += at.master[i] != value(2, unit->tensor, first + i);
      }
      EXPECT(wrong == 0);
    }
  }
  run_close(&r);
  scratch_end();
  all_ranks_passed();
}

static void expect(run *r, spoil s, sb_status status, const char *text) {
  bool masters;
  const char *path = put_shared(r, &s);
  const sb_status got =
      sb_optimizer_file_read(&world, path, sb_trainer_optimizer(r->trainer), &masters);
  if (got != status || !strstr(sb_message(), text))
    print_error("%d, not %d with '%s': %s\n", got, status, text, sb_message());
  EXPECT(got == status && strstr(sb_message(), text) && !strchr(sb_message(), '\n'));
}

static spoil with_pair(const char *key, const char *text) {
  spoil s = good;
  s.key = key;
  s.value = text;
  return s;
}

static void refused(void **state) {
  run r;
  (void)state;
  scratch_begin();
  run_open(&r, &world, "untied", 1, 0);
  const size_t tensors = r.model->arch.count;
  expect(&r, with_pair("format", NULL), SB_ERR_FORMAT, "its format is not said");
  expect(&r, with_pair("version", "2"), SB_ERR_UNSUPPORTED, "its version is 2, not 1");
  expect(&r, with_pair("optimizer", "muon"), SB_ERR_UNSUPPORTED,
         "its optimizer is muon, not adamw");
  expect(&r, with_pair("beta2", NULL), SB_ERR_FORMAT, "metadata 'beta2' is missing");
  expect(&r, with_pair("eps", "small"), SB_ERR_FORMAT, "metadata 'eps' is no such number: small");
  expect(&r, with_pair("step", "-3"), SB_ERR_FORMAT, "metadata 'step' is no such number: -3");
  expect(&r, with_pair("rate", "nan"), SB_ERR_FORMAT, "metadata 'rate' is no such number: nan");
  spoil s = good;
  s.missing = tensors + 2;
  expect(&r, s, SB_ERR_FORMAT, ".exp_avg_sq; is it of another model?");
  s = good;
  s.half = true;
  expect(&r, s, SB_ERR_FORMAT, ".exp_avg is BF16, F32 is read");
  s = good;
  s.longer = true;
  expect(&r, s, SB_ERR_FORMAT, ".exp_avg has another shape than the model's");
  s = good;
  s.masters = true;
  s.missing = 2 * tensors + 1;
  expect(&r, s, SB_ERR_FORMAT, "has masters of some tensors only");
  s = good;
  s.first = -1;
  expect(&r, s, SB_ERR_NUMERIC, ".exp_avg_sq holds -1");
  s.first = NAN;
  expect(&r, s, SB_ERR_NUMERIC, ".exp_avg_sq holds nan");
  run_close(&r);
  scratch_end();
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(taken_up), cmocka_unit_test(refused)};
RANKS_MAIN(tests)
