/* Patterns of modules: what they match, by the C library's expressions, and what they do not. */
#include "folders/module_names.h"

#include <regex.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/assertions.h"
#include "tests/support/config_json.h"

/* Whether `pattern` matches `name`. "(?:" is of Perl and Python; here "(" does as well. */
static bool matches(const char *pattern, const char *name) {
  char posix[SB_MODULE_PATTERN];
  size_t n = 0;
  regex_t regex;
  for (const char *p = pattern; *p; p++) {
    posix[n++] = *p;
    if (*p == '(') p += 2;
  }
  posix[n] = 0;
  assert_int_equal(regcomp(&regex, posix, REG_EXTENDED), 0);
  const bool found = regexec(&regex, name, 0, NULL, 0) == 0;
  regfree(&regex);
  return found;
}

static void patterns(void **state) {
  static const char *const modules[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                        "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                        "mlp.down_proj"};
  static const int sets[] = {0, 0, 0, 1, 2, 2, 3};
  static const char *const fused_names[] = {"self_attn.qkv_proj", NULL, "mlp.gate_up_proj", NULL};
  sb_arch arch;
  (void)state;
  llama31_arch("{\"num_hidden_layers\": 12}", &arch);
  for (size_t i = 0; i < arch.matrix_count; i++) {
    const sb_model_tensor *t = &arch.tensors[arch.matrices[i]];
    const int set = sets[i % 7];
    sb_fused_modules fused;
    char pattern[SB_MODULE_PATTERN], name[128];
    const bool is_fused = sb_fused_modules_of(&arch, arch.matrices[i], &fused);
    assert_int_equal(is_fused, fused_names[set] != NULL);
    sb_module_pattern(&arch, arch.matrices[i], is_fused ? &fused : NULL, pattern);
    for (size_t l = 0; l < arch.config.layers; l++)
      for (size_t k = 0; k < 7; k++) {
        snprintf(name, sizeof name, "model.layers.%zu.%s", l, modules[k]);
        assert_int_equal(matches(pattern, name), l == t->layer && sets[k] == set);
        assert_true(l != t->layer || k != i % 7 ||
                    (strncmp(name, t->name, strlen(name)) == 0 &&
                     sb_module_length(t) == (int)strlen(name)));
        snprintf(name, sizeof name, "model.layers.%zu.%s2", l, modules[k]);
        assert_false(matches(pattern, name));
      }
    for (int s = 0; s < 4; s++) {
      snprintf(name, sizeof name, "model.layers.%zu.%s", t->layer,
               fused_names[s] ? fused_names[s] : "none");
      assert_int_equal(matches(pattern, name), fused_names[s] && s == set);
    }
    snprintf(name, sizeof name, "model_layers_%zu_%s", t->layer, modules[i % 7]);
    assert_false(matches(pattern, name)); /* a point is a point */
  }
  sb_arch_free(&arch);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(patterns)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
