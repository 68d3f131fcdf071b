/* A model whose layers have matrices of different shapes, and one of equal layers that computes the
 * same function: where a matrix of the first is smaller, the second has it with rows that reach
 * nothing. What takes layer 0 for all layers fails on the first and not on the second.
 *
 *   layer          0     1     2     3
 *   hidden of MLP  80    40    80    80
 *   query heads    4     4     2     4      two per key-value head */
#ifndef SB_TESTS_SUPPORT_LAYERS_DIFFER_H
#define SB_TESTS_SUPPORT_LAYERS_DIFFER_H

#include <math.h>
#include <string.h>

#include "model/family.h"
#include "model/model.h"
#include "pass/pass.h"
#include "pass/sequences.h"
#include "tests/support/ranks.h"

enum { DIFFER_LAYERS = 4, DIFFER_SEQLEN = 24, DIFFER_SEQUENCES = 5, DIFFER_VOCAB = 50 };

static const sb_config differ_config = {.architecture = "LayersDiffer",
                                        .function = "differ",
                                        .vocab = DIFFER_VOCAB,
                                        .hidden = 48,
                                        .intermediate = 80,
                                        .layers = DIFFER_LAYERS,
                                        .heads = 4,
                                        .kv_heads = 2,
                                        .head_dim = 12,
                                        .rms_eps = 1e-5,
                                        .rope_theta = 1e4,
                                        .tie_embeddings = true};

/* What a layer is made for. */
static inline sb_config differ_layer(const sb_config *config, size_t layer) {
  sb_config own = *config;
  if (layer == 1) own.intermediate = 40;
  if (layer == 2) own.heads = 2, own.kv_heads = 1;
  return own;
}

static inline bool differ_tensor(const sb_config *config, size_t layer, size_t index,
                                 sb_layer_tensor *out) {
  const sb_config own = differ_layer(config, layer);
  return sb_family_llama.tensor(&own, layer, index, out);
}

static inline sb_family differ_family(bool differ) {
  sb_family f = sb_family_llama;
  f.architecture = differ_config.architecture;
  if (differ) f.tensor = differ_tensor;
  return f;
}

/* Weight (r, c) of a tensor: a function of these alone, in both models. */
static inline float differ_weight(const sb_model_tensor *t, size_t r, size_t c) {
  const sb_config own = differ_layer(&differ_config, t->layer);
  uint64_t state = mix(mix((uint64_t)t->role * 1000 + t->layer % 1000) + r * 4096 + c);
  const float x = uniform(&state);
  if (t->dims == 1) return 1.0f + 0.1f * x;
  if (t->role == SB_ROLE_O && c >= own.heads * own.head_dim) return 0;
  if (t->role == SB_ROLE_DOWN && c >= own.intermediate) return 0;
  return x * (t->is_linear ? 1.7f / sqrtf((float)differ_config.hidden) : 1.0f);
}

static inline sb_status differ_fill(void *context, sb_model *m, const sb_place *place, size_t unit,
                                    void *data) {
  const sb_model_tensor *t = &m->arch.tensors[place->tensor];
  size_t first, rows;
  (void)context;
  sb_place_rows(m, place, unit, &first, &rows);
  for (size_t r = 0; r < rows; r++)
    for (size_t c = 0; c < t->cols; c++)
      ((float *)data)[r * t->cols + c] = differ_weight(t, first + r, c);
  return SB_OK;
}

/* The model of different layers, or of equal ones. `family` lives as long as the model. */
static inline sb_model *differ_model(const sb_world *of, const sb_family *family) {
  sb_model *m = NULL;
  EXPECT_OK(sb_alloc(&m, 1, sizeof *m, "model"));
  m->world = of;
  m->config = differ_config;
  m->blocking = (sb_blocking){16, 32, SB_GRID_ASYMMETRIC};
  m->coding = SB_CODING_SOURCE;
  EXPECT_OK(sb_arch_create_of(family, &m->config, &m->arch));
  EXPECT_OK(sb_alloc(&m->dtypes, m->arch.count, sizeof *m->dtypes, "types"));
  for (size_t i = 0; i < m->arch.count; i++) m->dtypes[i] = SB_F32;
  EXPECT_OK(sb_model_lay_out(m, NULL, NULL));
  EXPECT_OK(sb_model_visit_owned(m, differ_fill, NULL));
  return m;
}

/* This rank's sequences; release with sb_sequences_free. */
static inline sb_sequences differ_sequences(const sb_world *of) {
  sb_sequences q = {.count = DIFFER_SEQUENCES, .seqlen = DIFFER_SEQLEN};
  q.local = sb_pass_local(of, q.count);
  EXPECT_OK(sb_alloc(&q.tokens, q.local * q.seqlen + 1, sizeof *q.tokens, "tokens"));
  for (size_t s = 0; s < q.local; s++)
    for (size_t t = 0; t < q.seqlen; t++)
      q.tokens[s * q.seqlen + t] =
          (uint32_t)(mix((s * (size_t)of->size + (size_t)of->rank) * 100 + t) % DIFFER_VOCAB);
  return q;
}

static inline sb_pass *differ_pass(sb_model *m, sb_backend *b, const sb_sequences *q) {
  const sb_pass_setup setup = {.model = m,
                               .backend = b,
                               .tokens = q->tokens,
                               .sequences = q->count,
                               .seqlen = q->seqlen,
                               .gradients = true,
                               .activation_bytes = (size_t)1 << 30};
  sb_pass *pass = NULL;
  EXPECT_OK(sb_pass_create(&setup, &pass));
  return pass;
}

#endif
