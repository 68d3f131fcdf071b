/* config.json: both spellings, what is derived, and one line for each thing that is refused. */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/config_json.h"
#include "model/config_read.h"
#include "tests/support/files.h"
#include "tests/support/scratch.h"

static void smollm2_as_published(void **state) {
  (void)state;
  sb_config c;
  assert_ok(parse_config(smollm2, "{}", false, &c));
  assert_string_equal(c.architecture, "LlamaForCausalLM");
  assert_int_equal(c.vocab, 49152);
  assert_int_equal(c.hidden, 576);
  assert_int_equal(c.intermediate, 1536);
  assert_int_equal(c.layers, 30);
  assert_int_equal(c.heads, 9);
  assert_int_equal(c.kv_heads, 3);
  assert_int_equal(c.head_dim, 64); /* derived */
  assert_int_equal(c.max_positions, 8192);
  assert_true(c.rms_eps == 1e-5 && c.rope_theta == 100000.0 && c.rope_kind == SB_ROPE_DEFAULT);
  assert_true(c.tie_embeddings && c.has_dtype && c.dtype == SB_BF16);
}

static const char as_parameters[] =
    "{\"rope_scaling\":null,\"rope_theta\":null,\"rope_parameters\":{\"factor\":8.0,"
    "\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,\"rope_theta\":500000.0,"
    "\"original_max_position_embeddings\":8192,\"rope_type\":\"llama3\"},"
    "\"torch_dtype\":null,\"dtype\":\"bfloat16\"}";

static void spellings_agree(void **state) {
  (void)state;
  sb_config old, older, newer;
  assert_ok(parse_config(llama31, "{}", false, &old));
  assert_ok(parse_config(llama31, as_parameters, false, &newer));
  assert_ok(
      parse_config(llama31,
                   "{\"rope_scaling\":{\"type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,"
                   "\"high_freq_factor\":4,\"original_max_position_embeddings\":8192}}",
                   false, &older));
  assert_true(old.rope_kind == SB_ROPE_LLAMA3 && old.rope_factor == 8.0 &&
              old.rope_low_factor == 1.0);
  assert_true(old.rope_high_factor == 4.0 && old.rope_original_positions == 8192.0 &&
              old.rope_theta == 500000.0);
  assert_memory_equal(&old, &newer, sizeof old);
  assert_memory_equal(&old, &older, sizeof old);
}

static void defaults(void **state) {
  (void)state;
  sb_config c;
  assert_ok(parse_config(
      smollm2,
      "{\"num_key_value_heads\":null,\"rope_theta\":null,\"tie_word_embeddings\":null,"
      "\"torch_dtype\":null,\"eos_token_id\":null,\"rms_norm_eps\":null,\"architectures\":null}",
      false, &c));
  assert_int_equal(c.kv_heads, 9);
  assert_true(c.rope_theta == 10000.0 && c.rms_eps == 1e-6 && !c.tie_embeddings && !c.has_dtype);
  assert_ok(parse_config(smollm2, "{\"head_dim\":null}", true, &c));
  assert_int_equal(c.head_dim, 64);
  assert_ok(parse_config(
      smollm2,
      "{\"head_dim\":96,\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":5e5},"
      "\"rope_theta\":null}",
      false, &c));
  assert_int_equal(c.head_dim, 96);
  assert_true(c.rope_theta == 5e5);
  assert_ok(
      parse_config(smollm2, "{\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.5}}", false, &c));
  assert_true(c.rope_kind == SB_ROPE_LINEAR && c.rope_factor == 2.5);
}

/* A window that no sequence leaves does not matter. */
static void mistral(void **state) {
  (void)state;
  static const struct {
    const char *change;
    size_t longest;
  } windows[] = {{"null", 0}, {"100", 100}, {"4096", 4096}};
  sb_config c;
  char change[200];
  for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
    snprintf(change, sizeof change,
             "{\"architectures\":[\"MistralForCausalLM\"],\"model_type\":\"mistral\","
             "\"sliding_window\":%s}",
             windows[i].change);
    assert_ok(parse_config(smollm2, change, true, &c));
    assert_string_equal(c.architecture, "MistralForCausalLM");
    assert_int_equal(c.longest, windows[i].longest);
  }
  assert_ok(sb_config_check_length(&c, 4096));
  assert_fails(sb_config_check_length(&c, 4097), SB_ERR_UNSUPPORTED, "--seqlen 4097",
               "sliding_window", "at most 4096");
  /* Without a name of the architecture, and with the window that is meant where none is given. */
  assert_ok(
      parse_config(smollm2, "{\"architectures\":null,\"model_type\":\"mistral\"}", false, &c));
  assert_string_equal(c.architecture, "MistralForCausalLM");
  assert_int_equal(c.longest, 4096);
  assert_ok(parse_config(
      smollm2,
      "{\"architectures\":[],\"model_type\":\"mistral\",\"sliding_window\":4096,"
      "\"max_position_embeddings\":null,\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2}}",
      false, &c));
  assert_true(c.max_positions == 131072 && c.longest == 4096);
  assert_ok(
      parse_config(smollm2, "{\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2}}", false, &c));
  assert_int_equal(c.longest, 8192);
  assert_fails(sb_config_check_length(&c, 8193), SB_ERR_UNSUPPORTED, "dynamic");
}

/* What nobody reads may be anything, and labels say nothing about the function. */
static void what_does_not_count(void **state) {
  (void)state;
  static const char both_names[] =
      "{\"rope_scaling\":{\"type\":\"default\"},\"rope_parameters\":{\"rope_type\":\"default\","
      "\"rope_theta\":1e5}}";
  static const char *const changes[] = {"{\"eos_token_id\":49152}",
                                        "{\"eos_token_id\":[]}",
                                        "{\"bos_token_id\":\"<s>\"}",
                                        "{\"dtype\":\"torch.bfloat16\"}",
                                        "{\"rope_scaling\":{}}",
                                        "{\"rope_parameters\":{\"rope_theta\":100000.0}}",
                                        both_names};
  sb_config plain, c;
  assert_ok(parse_config(smollm2, "{}", false, &plain));
  for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
    if (parse_config(smollm2, changes[i], false, &c) != SB_OK)
      fail_msg("%s: %s", changes[i], sb_message());
    if (memcmp(&c, &plain, sizeof c) != 0) fail_msg("%s changes something", changes[i]);
  }
}

/* Two spellings that mean the same: each line is as good as the one before it. */
static void rope_spellings(void **state) {
  (void)state;
  static const char *const linear[] = {
      "{\"rope_scaling\":{\"type\":\"linear\",\"factor\":4.0}}",
      "{\"rope_scaling\":{\"type\":\"linear\",\"factor\":4},\"rope_parameters\":{\"rope_type\":"
      "\"linear\",\"factor\":4.0,\"rope_theta\":100000.0}}",
      "{\"rope_theta\":null,\"rope_parameters\":{\"rope_type\":\"linear\",\"type\":\"linear\","
      "\"factor\":4.0,\"rope_theta\":100000.0}}"};
  static const char *const llama3[] = {
      "{\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,"
      "\"high_freq_factor\":4,\"original_max_position_embeddings\":8192}}",
      "{\"original_max_position_embeddings\":8192,\"rope_scaling\":{\"rope_type\":\"llama3\","
      "\"factor\":8,\"low_freq_factor\":1,\"high_freq_factor\":4}}",
      /* the default is max_position_embeddings */
      "{\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,"
      "\"high_freq_factor\":4}}"};
  for (int i = 0; i < 3; i++) {
    sb_config first, c;
    assert_ok(parse_config(smollm2, linear[0], false, &first));
    assert_ok(parse_config(smollm2, linear[i], false, &c));
    assert_memory_equal(&c, &first, sizeof c);
    assert_ok(parse_config(smollm2, llama3[0], false, &first));
    assert_ok(parse_config(smollm2, llama3[i], false, &c));
    assert_memory_equal(&c, &first, sizeof c);
  }
}

/* Text of a whole file, with `member` put first. */
static sb_status read_with(const char *member, json_t **object, sb_config *out) {
  char text[2000];
  snprintf(text, sizeof text, "{%s,%s", member, smollm2 + 1);
  put_text(scratch_path("config.json"), text);
  return sb_config_read_json(scratch, object, out);
}

/* JSON that Python reads counts only where it is of use. */
static void odd_values(void **state) {
  (void)state;
  static const char *const fine[] = {
      "\"x\": Infinity",      "\"x\": NaN",
      "\"x\": 1e400",         "\"x\": 1000000000000000019884624838656",
      "\"x\": \"a\\u0000\"",  "\"x\": 1, \"x\": {\"y\": NaN}",
      "\"vocab_size\": 49152"};
  static const struct {
    const char *member, *says;
  } bad[] = {
      {"\"hidden_size\": 64", "hidden_size must be an integer from 1 to 1048576, not given twice"},
      {"\"head_dim\": NaN", "head_dim must be an integer from 2 to 1024, not NaN"},
      {"\"head_dim\": 1000000000000000019884624838656", "not a number"},
      {"\"partial_rotary_factor\": 1e400", "not Infinity"},
      {"\"hidden_act\": \"gelu\"", "hidden_act must be a string, not given twice"},
      {"\"rope_parameters\": NaN", "rope_parameters must be an object, not NaN"}};
  sb_config plain, c;
  json_t *object;
  assert_ok(parse_config(smollm2, "{}", false, &plain));
  for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
    if (read_with(fine[i], &object, &c) != SB_OK) fail_msg("%s: %s", fine[i], sb_message());
    assert_memory_equal(&c, &plain, sizeof c);
    sb_config_restate(object, &c);
    char *text = json_dumps(object, 0); /* it can be written, and says the same */
    assert_non_null(text);
    assert_ok(sb_config_parse(object, "x", &c));
    assert_memory_equal(&c, &plain, sizeof c);
    free(text);
    json_decref(object);
  }
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_fails(read_with(bad[i].member, &object, &c), SB_ERR_FORMAT, scratch, bad[i].says);
}

/* What the tensors decide is written down; all else stays. */
static void restated(void **state) {
  (void)state;
  sb_config c;
  json_t *object =
      json_loads("{\"tie_word_embeddings\":true,\"attention_bias\":true,\"x\":[1]}", 0, NULL);
  assert_non_null(object);
  assert_ok(parse_config(smollm2, "{}", false, &c));
  assert_fails(parse_config(smollm2, "{\"attention_bias\":true}", false, &c), SB_ERR_UNSUPPORTED,
               "zero");
  c.tie_embeddings = false;
  sb_config_restate(object, &c);
  char *text = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
  assert_string_equal(text, "{\"attention_bias\":false,\"tie_word_embeddings\":false,\"x\":[1]}");
  free(text);
  json_decref(object);
}

/* {change, status, what the line must contain} */
static const struct {
  const char *change;
  sb_status status;
  const char *says[2];
} refused[] = {
    {"{\"architectures\":[\"Qwen2ForCausalLM\"]}",
     SB_ERR_UNSUPPORTED,
     {"Qwen2ForCausalLM", "MistralForCausalLM"}},
    {"{\"architectures\":null,\"model_type\":\"gemma\"}",
     SB_ERR_UNSUPPORTED,
     {"gemma", "LlamaForCausalLM"}},
    {"{\"architectures\":null,\"model_type\":null}", SB_ERR_FORMAT, {"architectures", "one name"}},
    {"{\"architectures\":[\"LlamaForCausalLM\",\"x\"]}",
     SB_ERR_FORMAT,
     {"architectures", "one name"}},
    {"{\"architectures\":[\"MistralForCausalLM\"]}",
     SB_ERR_FORMAT,
     {"architectures says MistralForCausalLM", "model_type says llama (not mistral)"}},
    {"{\"model_type\":\"gpt2\"}", SB_ERR_FORMAT, {"model_type says gpt2", "LlamaForCausalLM"}},
    {"{\"dtype\":\"float16\"}",
     SB_ERR_FORMAT,
     {"dtype is \"float16\"", "torch_dtype is \"bfloat16\""}},
    {"{\"attention_bias\":true}", SB_ERR_UNSUPPORTED, {"attention_bias is true", "without bias"}},
    {"{\"mlp_bias\":true}", SB_ERR_UNSUPPORTED, {"mlp_bias is true", "without bias"}},
    {"{\"mlp_bias\":1}", SB_ERR_FORMAT, {"mlp_bias", "true or false"}},
    {"{\"hidden_act\":\"gelu\"}", SB_ERR_UNSUPPORTED, {"hidden_act", "gelu"}},
    {"{\"quantization_config\":{\"bits\":4}}",
     SB_ERR_UNSUPPORTED,
     {"quantization_config", "original"}},
    {"{\"quantization_config\":{\"quant_method\":\"exl3\"}}",
     SB_ERR_UNSUPPORTED,
     {"quantized already (exl3)", "tools/exl3_to_hf.py"}},
    {"{\"hidden_size\":null}", SB_ERR_FORMAT, {"hidden_size", "missing"}},
    {"{\"hidden_size\":-576}", SB_ERR_FORMAT, {"-576", "1..1048576"}},
    {"{\"hidden_size\":576.5}", SB_ERR_FORMAT, {"hidden_size", "integer"}},
    {"{\"hidden_size\":\"576\"}", SB_ERR_FORMAT, {"hidden_size", "a string"}},
    {"{\"num_hidden_layers\":0}", SB_ERR_FORMAT, {"num_hidden_layers is 0", "1..4096"}},
    {"{\"vocab_size\":9223372036854775807}", SB_ERR_FORMAT, {"vocab_size", "16777216"}},
    {"{\"num_key_value_heads\":2}", SB_ERR_FORMAT, {"(9)", "multiple of num_key_value_heads (2)"}},
    {"{\"hidden_size\":577}", SB_ERR_FORMAT, {"577", "head_dim"}},
    {"{\"head_dim\":63}", SB_ERR_FORMAT, {"head_dim is 63", "even"}},
    {"{\"rms_norm_eps\":1}", SB_ERR_FORMAT, {"rms_norm_eps", "0.1"}},
    {"{\"rope_theta\":0}", SB_ERR_FORMAT, {"rope_theta is 0", "1.."}},
    {"{\"rope_scaling\":[1]}", SB_ERR_FORMAT, {"rope_scaling must be an object", "an array"}},
    {"{\"rope_scaling\":{\"type\":\"longrope\",\"factor\":4}}",
     SB_ERR_UNSUPPORTED,
     {"longrope", "yarn"}},
    {"{\"rope_scaling\":{\"type\":\"linear\",\"rope_type\":\"dynamic\",\"factor\":4}}",
     SB_ERR_FORMAT,
     {"rope_type \"dynamic\"", "type \"linear\""}},
    {"{\"rope_scaling\":{\"type\":\"linear\",\"factor\":4},\"rope_parameters\":{\"type\":"
     "\"linear\","
     "\"factor\":2}}",
     SB_ERR_FORMAT,
     {"rope_scaling and rope_parameters", "differ"}},
    {"{\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":4},\"rope_parameters\":{\"rope_type\":"
     "\"default\"}}",
     SB_ERR_FORMAT,
     {"rope_scaling and rope_parameters", "differ"}},
    {"{\"original_max_position_embeddings\":4096,\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2,"
     "\"original_max_position_embeddings\":2048}}",
     SB_ERR_FORMAT,
     {"original_max_position_embeddings is 4096", "2048 in rope_scaling"}},
    {"{\"rope_scaling\":{\"type\":\"yarn\",\"original_max_position_embeddings\":2048}}",
     SB_ERR_FORMAT,
     {"rope_scaling.factor", "missing"}},
    {"{\"rope_theta\":1,\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2}}",
     SB_ERR_FORMAT,
     {"rope_theta is 1", "yarn"}},
    {"{\"rope_scaling\":{\"type\":\"linear\"}}", SB_ERR_FORMAT, {"rope_scaling.factor", "missing"}},
    {"{\"rope_scaling\":{\"type\":\"linear\",\"factor\":0.5}}",
     SB_ERR_FORMAT,
     {"rope_scaling.factor", "0.5"}},
    {"{\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,\"high_freq_"
     "factor\":4,"
     "\"original_max_position_embeddings\":8192}}",
     SB_ERR_FORMAT,
     {"high_freq_factor", "exceed"}},
    {"{\"rope_parameters\":{\"rope_theta\":5e5}}", SB_ERR_FORMAT, {"100000", "500000"}},
    {"{\"rope_parameters\":{\"partial_rotary_factor\":0.5}}",
     SB_ERR_UNSUPPORTED,
     {"partial_rotary_factor", "0.5"}},
};

static void refusals(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    sb_config c;
    sb_status status = parse_config(smollm2, refused[i].change, false, &c);
    if (status != refused[i].status)
      fail_msg("%s: status %d, %s", refused[i].change, (int)status, sb_message());
    assert_says("x/config.json");
    assert_says(refused[i].says[0]);
    assert_says(refused[i].says[1]);
  }
}

static void from_files(void **state) {
  (void)state;
  const char *file = scratch_path("config.json");
  sb_config c, same;
  assert_fails(sb_config_read(scratch, &c), SB_ERR_IO, file);
  put_text(file, smollm2);
  assert_ok(sb_config_read(scratch, &c));
  assert_ok(sb_config_read(file, &same));
  assert_memory_equal(&c, &same, sizeof c);
  put_text(file, "{\"vocab_size\": 1");
  assert_fails(sb_config_read(scratch, &c), SB_ERR_FORMAT, "not valid JSON");
}

static void fingerprints(void **state) {
  (void)state;
  static const char *const same[] = {"{}", "{\"max_position_embeddings\":2048}",
                                     "{\"eos_token_id\":7}", "{\"torch_dtype\":\"float32\"}",
                                     "{\"head_dim\":64}"};
  static const char *const other[] = {"{\"num_hidden_layers\":29}",
                                      "{\"rope_theta\":100001}",
                                      "{\"rms_norm_eps\":1e-6}",
                                      "{\"tie_word_embeddings\":false}",
                                      "{\"num_key_value_heads\":9}",
                                      "{\"intermediate_size\":1537}",
                                      "{\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}}",
                                      "{\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2}}"};
  sb_config c;
  assert_ok(parse_config(smollm2, "{}", false, &c));
  uint64_t print = sb_config_fingerprint(&c);
  for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
    assert_ok(parse_config(smollm2, same[i], false, &c));
    assert_true(sb_config_fingerprint(&c) == print);
  }
  for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
    assert_ok(parse_config(smollm2, other[i], false, &c));
    assert_false(sb_config_fingerprint(&c) == print);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(smollm2_as_published),
      cmocka_unit_test(spellings_agree),
      cmocka_unit_test(defaults),
      cmocka_unit_test(mistral),
      cmocka_unit_test(what_does_not_count),
      cmocka_unit_test(rope_spellings),
      cmocka_unit_test_setup_teardown(odd_values, scratch_setup, scratch_teardown),
      cmocka_unit_test(restated),
      cmocka_unit_test(refusals),
      cmocka_unit_test_setup_teardown(from_files, scratch_setup, scratch_teardown),
      cmocka_unit_test(fingerprints),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
