/* config.json (model/config_read.h), and what follows from an accepted one: the table of tensors
 * and the angles of the rotary embedding. Input: the JSON. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io/json.h"
#include "model/arch.h"
#include "model/config_read.h"
#include "model/rope_table.h"
#include "tests/fuzz/target.h"

enum { MOST = 4096, MOST_LAYERS = 40, POSITIONS = 4 };

static const char *const golden[] = {
#include "tests/golden/names.inc"
};

static void seeds(fuzz_take take, void *context) {
  for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
    char name[256];
    size_t bytes;
    snprintf(name, sizeof name, "tests/golden/%s/config.json", golden[i]);
    char *text = fuzz_source_file(name, &bytes);
    take(context, text, bytes);
    free(text);
  }
}

/* What the readers of a configuration may rely on. */
static void use(const sb_config *c) {
  fuzz_require(c->vocab > 0 && c->hidden > 0 && c->intermediate > 0 && c->layers > 0);
  fuzz_require(c->heads > 0 && c->kv_heads > 0 && c->heads % c->kv_heads == 0);
  fuzz_require(c->head_dim > 0 && c->head_dim <= 1024 && c->head_dim % 2 == 0);
  fuzz_require(c->rms_eps >= 0 && isfinite(c->rms_eps) && isfinite(c->rope_theta));
  float *angles = malloc(POSITIONS * c->head_dim * sizeof *angles);
  sb_rope_table(c, POSITIONS, angles);
  for (size_t i = 0; i < POSITIONS * c->head_dim; i++) fuzz_require(fabsf(angles[i]) <= 1);
  free(angles);
  sb_arch arch;
  if (c->layers > MOST_LAYERS || !fuzz_settle(sb_arch_create(c, &arch))) return;
  fuzz_require(arch.count > 0 && arch.matrix_count >= c->layers);
  sb_arch_free(&arch);
}

static void run(const uint8_t *data, size_t size) {
  json_t *object = NULL;
  sb_config config;
  if (!fuzz_settle(sb_json_parse("config.json", "", (const char *)data, size, &object))) return;
  if (fuzz_settle(sb_config_parse(object, "config.json", &config))) use(&config);
  json_decref(object);
}

const fuzz_target fuzz_config = {"config", MOST, NULL, seeds, NULL, run};
