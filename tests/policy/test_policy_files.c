/* Profiles and policies on disk: what is written is read again, and what is damaged or foreign is
 * refused by one line that names it. */
#include "policy/policy_file.h"
#include "random_profile.h"
#include "tests/support/config_json.h"
#include "tests/support/files.h"
#include "tests/support/scratch.h"

static const sb_precision pair[] = {SB_PRECISION_FP8_128, SB_PRECISION_NVFP4};
static const llama_sizes sizes = {3, 64, 32, 160};

static void test_linears_of_an_architecture(void **state) {
  sb_config config;
  sb_arch arch;
  sb_linears linears;
  (void)state;
  assert_ok(parse_config(smollm2, "{}", false, &config));
  assert_ok(sb_arch_create(&config, &arch));
  assert_ok(sb_linears_of(&arch, &linears));
  assert_int_equal(linears.count, 30 * 7);
  assert_string_equal(linears.architecture, "LlamaForCausalLM");
  assert_string_equal(linears.linears[7 * 11 + 1].name, "model.layers.11.self_attn.k_proj");
  assert_string_equal(sb_linear_kind(&linears.linears[7 * 11 + 1]), "k_proj");
  assert_int_equal(linears.linears[7 * 11 + 1].layer, 11);
  assert_int_equal(linears.linears[7 * 11 + 1].rows, 192);
  assert_int_equal(linears.linears[7 * 11 + 1].cols, 576);
  assert_int_equal(sb_linear_work(&linears.linears[7 * 11 + 6]), 576 * 1536);
  sb_linears_free(&linears);
  sb_arch_free(&arch);
}

static void test_profile_round_trip(void **state) {
  const char *path = scratch_path("p.json");
  (void)state;
  for (int truth = 0; truth < 2; truth++) {
    sb_profile p = random_profile(sizes, pair, 2, truth, 5), q;
    p.combine = truth ? SB_COMBINE_SQUARES : SB_COMBINE_SUM;
    p.has_metric[SB_METRIC_NORMS] = truth;
    sb_profile_at(&p, 4, 1)->parts[SB_METRIC_EXACT][SB_DGRAD].loss = -1e-300;
    assert_ok(sb_profile_write(path, &p));
    assert_ok(sb_profile_read(path, &q));
    assert_ok(sb_linears_check(path, &q.model, &p.model));
    assert_int_equal(q.step, 2000);
    assert_int_equal(q.batch, 8);
    assert_int_equal(q.seqlen, 256);
    assert_true(q.loss == 3.125 && q.combine == p.combine);
    assert_true(q.has_metric[0] && q.has_metric[1] == truth && q.has_truth == truth);
    assert_int_equal(q.precision_count, 2);
    assert_memory_equal(q.precisions, pair, sizeof pair);
    assert_memory_equal(q.norms, p.norms, p.model.count * sizeof *p.norms);
    if (!truth) /* the metric that was not written */
      for (size_t i = 0; i < 2 * p.model.count; i++)
        memset(p.entries[i].parts[SB_METRIC_NORMS], 0, sizeof p.entries[i].parts[0]);
    assert_memory_equal(q.entries, p.entries, 2 * p.model.count * sizeof *p.entries);
    assert_int_equal(sb_profile_find(&q, SB_PRECISION_NVFP4), 1);
    assert_true(sb_profile_find(&q, SB_PRECISION_MXFP4) == SB_NONE);
    sb_profile_free(&p);
    sb_profile_free(&q);
  }
}

static void test_profile_numbers(void **state) {
  sb_profile p = random_profile(sizes, pair, 2, false, 5);
  const char *path = scratch_path("nan.json");
  (void)state;
  sb_profile_at(&p, 9, 1)->parts[SB_METRIC_NORMS][SB_PART_ALL].weight = 0.0 / 0.0;
  assert_fails(sb_profile_write(path, &p), SB_ERR_NUMERIC, path, "model.layers.1.self_attn.v_proj",
               "nvfp4", "not finite");
  sb_profile_at(&p, 9, 1)->parts[SB_METRIC_NORMS][SB_PART_ALL].weight = 0;
  p.norms[2].dy = 1.0 / 0.0;
  assert_fails(sb_profile_write(path, &p), SB_ERR_NUMERIC, "model.layers.0.self_attn.v_proj");
  p.norms[2].dy = 0;
  p.loss = 0.0 / 0.0;
  assert_fails(sb_profile_write(path, &p), SB_ERR_NUMERIC, "loss");
  assert_true(access(path, F_OK) != 0);
  sb_profile_free(&p);
}

static void test_policy_round_trip(void **state) {
  sb_linears linears = llama_linears(sizes);
  const char *path = scratch_path("policy.json");
  sb_policy p, q;
  uint64_t low = 0, all = 0;
  (void)state;
  assert_ok(sb_policy_create(&linears, &p));
  assert_true(sb_policy_share(&p, 4) == 0 && sb_policy_share(&p, 16) == 1);
  for (size_t i = 0; i < p.model.count; i++)
    for (int g = 0; g < SB_GEMM_KINDS; g++) {
      p.choices[i].gemm[g] = (sb_precision)((i + 2 * (size_t)g) % SB_PRECISION_COUNT);
      all += sb_linear_work(&p.model.linears[i]);
      if (p.choices[i].gemm[g] >= SB_PRECISION_MXFP4) low += sb_linear_work(&p.model.linears[i]);
    }
  p.about = json_pack("{s:s, s:s}", "method", "by hand", "format", "never this one");
  assert_true(sb_policy_share(&p, 4) == (double)low / (double)all);
  assert_ok(sb_policy_write(path, &p));
  assert_ok(sb_policy_read(path, &q));
  assert_ok(sb_linears_check(path, &q.model, &linears));
  assert_memory_equal(p.choices, q.choices, p.model.count * sizeof *p.choices);
  assert_false(sb_policy_choice_is_uniform(&q.choices[0]));
  assert_string_equal(json_string_value(json_object_get(q.about, "method")), "by hand");
  assert_int_equal(json_object_size(q.about), 1);
  sb_policy_free(&p);
  sb_policy_free(&q);
  free(linears.linears);
}

/* A policy's text with one piece replaced. */
static const char *changed(const char *from, const char *to) {
  static const char text[] =
      "{\"format\":\"shardbits-policy\",\"version\":1,\"model\":{\"architecture\":"
      "\"LlamaForCausalLM\",\"layers\":2,\"hidden\":64,\"intermediate\":96,\"vocab\":300,"
      "\"linears\":2},\"linears\":[{\"name\":\"a.up\",\"layer\":0,\"rows\":96,\"cols\":64,"
      "\"fprop\":\"nvfp4\",\"dgrad\":\"high\",\"wgrad\":\"f32\"},{\"name\":\"b.up\",\"layer\":1,"
      "\"rows\":96,\"cols\":64,\"fprop\":\"bf16\",\"dgrad\":\"mxfp8\",\"wgrad\":\"mxfp4\"}]}";
  static char out[2048];
  const char *at = strstr(text, from);
  assert_non_null(at);
  snprintf(out, sizeof out, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
  const char *path = scratch_path("changed.json");
  put_text(path, out);
  return path;
}

static void test_policy_by_hand(void **state) {
  sb_policy p;
  (void)state;
  assert_ok(sb_policy_read(changed("nvfp4", "nvfp4"), &p));
  assert_int_equal(p.choices[0].gemm[SB_FPROP], SB_PRECISION_NVFP4);
  assert_int_equal(p.choices[0].gemm[SB_DGRAD], SB_PRECISION_HIGH);
  assert_int_equal(p.choices[0].gemm[SB_WGRAD], SB_PRECISION_HIGH);
  assert_int_equal(p.choices[1].gemm[SB_WGRAD], SB_PRECISION_MXFP4);
  sb_policy_free(&p);
}

static void test_policy_refusals(void **state) {
  const struct {
    const char *from, *to;
    sb_status status;
    const char *says;
  } cases[] = {
      {"shardbits-policy", "shardbits-profile", SB_ERR_FORMAT, "not shardbits-policy"},
      {"\"version\":1", "\"version\":2", SB_ERR_UNSUPPORTED, "version 2"},
      {"\"version\":1", "\"version\":\"1\"", SB_ERR_FORMAT, "version"},
      {"\"layers\":2", "\"layers\":0", SB_ERR_FORMAT, "\"layers\" is 0"},
      {"\"hidden\":64", "\"hidden\":-64", SB_ERR_FORMAT, "\"hidden\""},
      {"\"linears\":2", "\"linears\":3", SB_ERR_FORMAT,
       "there are 3 linear layers, and describes 2"},
      {"\"linears\":2", "\"linears\":9223372036854775807", SB_ERR_FORMAT, "\"linears\""},
      {"b.up", "a.up", SB_ERR_FORMAT, "a.up stands in it twice"},
      {"b.up", "", SB_ERR_FORMAT, "\"name\" has 0 bytes"},
      {"\"layer\":1", "\"layer\":0}, {\"layer\":1", SB_ERR_FORMAT, "describes 3"},
      {"\"layer\":1", "\"layer\":2", SB_ERR_FORMAT, "\"layer\" is 2"},
      {"\"rows\":96", "\"rows\":0", SB_ERR_FORMAT, "\"rows\" is 0"},
      {"\"cols\":64", "\"cols\":6.5", SB_ERR_FORMAT, "\"cols\" is not an integer"},
      {"\"fprop\":\"nvfp4\"", "\"fprop\":\"fp4\"", SB_ERR_FORMAT, "a.up: fp4 is no precision"},
      {"\"wgrad\":\"f32\"", "\"grad\":\"f32\"", SB_ERR_FORMAT, "\"wgrad\" (a string) is missing"},
  };
  sb_policy p;
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const char *path = changed(cases[i].from, cases[i].to);
    assert_fails(sb_policy_read(path, &p), cases[i].status, path, cases[i].says);
    assert_null(p.choices);
  }
  assert_fails(sb_policy_read(scratch_path("absent.json"), &p), SB_ERR_IO, "absent.json");
}

static void test_other_models(void **state) {
  sb_linears a = llama_linears(sizes), b = llama_linears((llama_sizes){3, 64, 32, 161}),
             c = llama_linears(sizes);
  (void)state;
  assert_fails(sb_linears_check("p.json", &a, &b), SB_ERR_FORMAT, "p.json: made for another model",
               "160 channels of the MLP where this one has 161");
  c.linears[8].cols = 65;
  assert_fails(sb_linears_check("p.json", &a, &c), SB_ERR_FORMAT,
               "model.layers.1.self_attn.k_proj is 32 x 64 where this one has 32 x 65");
  strcpy(c.architecture, "MistralForCausalLM");
  assert_fails(sb_linears_check("p.json", &a, &c), SB_ERR_FORMAT, "LlamaForCausalLM", "Mistral");
  free(a.linears);
  free(b.linears);
  free(c.linears);
}

/* A profile whose JSON is changed by `change`, a function of the object. */
typedef void changer(json_t *object);
static json_t *entry_of(json_t *object, size_t i) {
  return json_object_get(json_array_get(json_object_get(object, "linears"), i), "precisions");
}
static void no_metric(json_t *object) {
  json_object_del(json_object_get(entry_of(object, 5), "nvfp4"), "norms");
}
static void no_precision(json_t *object) {
  json_object_del(entry_of(object, 5), "fp8-128");
}
static void high_precision(json_t *object) {
  json_array_append_new(json_object_get(object, "precisions"), json_string("bf16"));
}
static void twice(json_t *object) {
  json_array_append_new(json_object_get(object, "precisions"), json_string("nvfp4"));
}
static void none(json_t *object) {
  json_array_clear(json_object_get(object, "precisions"));
}
static void odd_combine(json_t *object) {
  json_object_set_new(object, "combine", json_string("product"));
}
static json_t *divergence_of(json_t *object) {
  json_t *exact = json_object_get(json_object_get(entry_of(object, 2), "nvfp4"), "exact");
  return json_object_get(exact, "all");
}
static void text_loss(json_t *object) {
  json_object_set_new(divergence_of(object), "loss", json_string("much"));
}
static void great_weight(json_t *object) {
  json_object_set_new(divergence_of(object), "weight", json_real(1e308));
}
static void negative_weight(json_t *object) {
  json_object_set_new(divergence_of(object), "weight", json_real(-0.5));
}
static void great_loss(json_t *object) {
  json_object_set_new(divergence_of(object), "loss", json_real(-1e101));
}
static void negative_error(json_t *object) {
  json_object_set_new(json_object_get(entry_of(object, 2), "nvfp4"), "rel_error", json_real(-1));
}
static void negative_norm(json_t *object) {
  json_t *entry = json_array_get(json_object_get(object, "linears"), 2);
  json_object_set_new(json_object_get(entry, "norms"), "dy", json_integer(-3));
}

static void test_profile_refusals(void **state) {
  const struct {
    changer *change;
    const char *says[2];
  } cases[] = {
      {no_metric, {"model.layers.0.mlp.up_proj: nvfp4", "\"norms\" (an object) is missing"}},
      {no_precision, {"model.layers.0.mlp.up_proj", "\"fp8-128\" (an object) is missing"}},
      {high_precision, {"\"precisions\"", "bf16, which is no low precision"}},
      {twice, {"\"precisions\"", "nvfp4 twice"}},
      {none, {"\"precisions\" is empty", ""}},
      {odd_combine, {"\"combine\" is product", "sum or squares"}},
      {text_loss, {"model.layers.0.self_attn.v_proj: nvfp4: exact: all", "\"loss\""}},
      {great_weight, {"v_proj: nvfp4: exact: all: \"weight\" is 1e+308", "in 0 .. 1e+100"}},
      {negative_weight, {"v_proj: nvfp4: exact: all: \"weight\" is -0.5", "in 0 .. 1e+100"}},
      {great_loss, {"v_proj: nvfp4: exact: all: \"loss\" is -1e+101", "in -1e+100 .. 1e+100"}},
      {negative_error, {"v_proj: nvfp4: \"rel_error\" is -1", "in 0 .. 1e+100"}},
      {negative_norm, {"v_proj: \"dy\" is -3", "in 0 .. 1e+100"}},
  };
  sb_profile p = random_profile(sizes, pair, 2, false, 6), q;
  const char *path = scratch_path("refused.json");
  (void)state;
  assert_ok(sb_profile_write(path, &p));
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    json_t *object = json_load_file(path, 0, NULL);
    cases[i].change(object);
    assert_fails(sb_profile_parse("P.json", object, &q), SB_ERR_FORMAT, "P.json", cases[i].says[0],
                 cases[i].says[1]);
    assert_null(q.entries);
    json_decref(object);
  }
  sb_profile_free(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_linears_of_an_architecture),
      cmocka_unit_test(test_profile_round_trip),
      cmocka_unit_test(test_profile_numbers),
      cmocka_unit_test(test_policy_round_trip),
      cmocka_unit_test(test_policy_by_hand),
      cmocka_unit_test(test_policy_refusals),
      cmocka_unit_test(test_other_models),
      cmocka_unit_test(test_profile_refusals),
  };
  return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
