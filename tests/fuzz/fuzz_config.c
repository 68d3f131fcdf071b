/* config.json (model/config_read.h), and what follows from an accepted one: the table of tensors
 * and the angles of the rotary embedding. Input: the JSON. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io/json_python.h"
#include "model/arch.h"
#include "model/config_read.h"
#include "model/rope_table.h"
#include "tests/fuzz/target.h"

enum { MOST = 4096, MOST_LAYERS = 40, POSITIONS = 4 };

static const char *const golden[] = {
#include "tests/golden/names.inc"
};

static void seeds(fuzz_take take, void *context) {
  static const char odd[] =
      "\xef\xbb\xbf{\"x\":NaN,\"y\":[1e999,-Infinity],\"x\":\"\\u0000\\ud800\",\"architectures\":"
      "[\"MistralForCausalLM\"],\"model_type\":\"mistral\",\"vocab_size\":8,\"hidden_size\":4,"
      "\"intermediate_size\":4,\"num_hidden_layers\":1,\"num_attention_heads\":2,"
      "\"num_key_value_heads\":1,\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2.0}}";
  take(context, odd, sizeof odd - 1);
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
  const float most = c->rope_kind == SB_ROPE_YARN ? (float)c->rope_attention : 1.0f;
  for (size_t i = 0; i < POSITIONS * c->head_dim; i++) fuzz_require(fabsf(angles[i]) <= most);
  free(angles);
  sb_arch arch;
  if (c->layers > MOST_LAYERS || !fuzz_settle(sb_arch_create(c, &arch))) return;
  fuzz_require(arch.count > 0 && arch.matrix_count >= c->layers);
  sb_arch_free(&arch);
}

/* What is written of it can be written, and means the same. */
static void restate(json_t *object, const sb_config *config) {
  sb_config again;
  sb_config_restate(object, config);
  char *text = json_dumps(object, 0);
  fuzz_require(text != NULL);
  free(text);
  fuzz_require(sb_config_parse(object, "config.json", &again) == SB_OK);
  fuzz_require(sb_config_fingerprint(&again) == sb_config_fingerprint(config));
}

static void run(const uint8_t *data, size_t size) {
  json_t *object = NULL;
  sb_config config;
  char *text = malloc(size + 1);
  fuzz_require(text != NULL);
  memcpy(text, data, size);
  text[size] = '\0';
  if (fuzz_settle(sb_json_python_parse("config.json", text, size, &object)) &&
      fuzz_settle(sb_config_parse(object, "config.json", &config))) {
    use(&config);
    restate(object, &config);
  }
  json_decref(object);
  free(text);
}

const fuzz_target fuzz_config = {"config", MOST, NULL, seeds, NULL, run};
