/* Models and profiles for the tests of this room: a Llama of given sizes, and divergences that are
 * functions of a seed. */
#ifndef SB_TESTS_POLICY_RANDOM_PROFILE_H
#define SB_TESTS_POLICY_RANDOM_PROFILE_H

#include "policy/profile_file.h"
#include "tests/support/assertions.h"
#include "tests/support/random.h"

typedef struct llama_sizes {
  size_t layers, hidden, kv, intermediate;
} llama_sizes;

/* The seven linears of every layer, named as the model's tensors are. */
static inline sb_linears llama_linears(llama_sizes s) {
  const struct {
    const char *name;
    size_t rows, cols;
  } kinds[] = {
      {"self_attn.q_proj", s.hidden, s.hidden},    {"self_attn.k_proj", s.kv, s.hidden},
      {"self_attn.v_proj", s.kv, s.hidden},        {"self_attn.o_proj", s.hidden, s.hidden},
      {"mlp.gate_proj", s.intermediate, s.hidden}, {"mlp.up_proj", s.intermediate, s.hidden},
      {"mlp.down_proj", s.hidden, s.intermediate}};
  sb_linears out = {.architecture = "LlamaForCausalLM",
                    .layers = s.layers,
                    .hidden = s.hidden,
                    .intermediate = s.intermediate,
                    .vocab = 1000,
                    .count = 7 * s.layers};
  out.linears = calloc(out.count, sizeof *out.linears);
  assert_non_null(out.linears);
  for (size_t i = 0; i < out.count; i++) {
    sb_linear *linear = &out.linears[i];
    linear->layer = i / 7;
    linear->rows = kinds[i % 7].rows;
    linear->cols = kinds[i % 7].cols;
    snprintf(linear->name, sizeof linear->name, "model.layers.%zu.%s", i / 7, kinds[i % 7].name);
  }
  return out;
}

/* A number in (0, 1], heavy-tailed: small ones are common. */
static inline double heavy(uint64_t *random) {
  const double u = 0.5 + 0.5 * (double)uniform(random);
  return 1e-4 + (1 - 1e-4) * u * u * u * u;
}

/* Precisions of fewer bits diverge more. "all" is the sum of the three GEMMs. */
static inline sb_profile random_profile(llama_sizes sizes, const sb_precision *precisions,
                                        size_t count, bool truth, uint64_t seed) {
  sb_linears linears = llama_linears(sizes);
  sb_profile p;
  assert_ok(sb_profile_create(&linears, precisions, count, &p));
  free(linears.linears);
  p.step = 2000;
  p.loss = 3.125;
  p.batch = 8;
  p.seqlen = 256;
  p.has_metric[SB_METRIC_EXACT] = p.has_metric[SB_METRIC_NORMS] = true;
  p.has_truth = truth;
  for (size_t i = 0; i < p.model.count; i++) {
    p.norms[i] = (sb_profile_norms){heavy(&seed), heavy(&seed), heavy(&seed),
                                    heavy(&seed), heavy(&seed), heavy(&seed)};
    for (size_t k = 0; k < count; k++) {
      sb_profile_entry *e = sb_profile_at(&p, i, k);
      const double low = sb_precision_bits(precisions[k]) == 4 ? 1 : 0.1;
      e->abs_error = low * heavy(&seed);
      e->rel_error = low * heavy(&seed);
      for (int m = 0; m < SB_METRIC_COUNT; m++)
        for (int g = 0; g < SB_GEMM_KINDS; g++) {
          sb_divergence *all = &e->parts[m][SB_PART_ALL], *part = &e->parts[m][g];
          *part = (sb_divergence){low * heavy(&seed), low * heavy(&seed)};
          all->loss += part->loss;
          all->weight += part->weight;
        }
      if (truth) e->truth = (sb_divergence){low * heavy(&seed), low * heavy(&seed)};
    }
  }
  return p;
}

#endif
