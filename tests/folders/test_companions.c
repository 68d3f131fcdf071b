/* The side files of a model: all that is no weights travels, what is no file is not waited for. */
#include "folders/companions.h"

#include <sys/stat.h>

#include "tests/support/files.h"
#include "tests/support/scratch.h"

static void names(void **state) {
  (void)state;
  const char *const travel[] = {"config.json",
                                "tokenizer.model",
                                "added_tokens.json",
                                "spiece.model",
                                "vocab.txt",
                                "merges.txt",
                                "chat_template.jinja",
                                "modeling_llama.py",
                                "LICENSE",
                                "preprocessor_config.json",
                                "tokenizer.json",
                                "index.json",
                                "notes.partial-draft"};
  const char *const stay[] = {"model-00001-of-00002.safetensors",
                              "model.safetensors.index.json",
                              "pytorch_model.bin",
                              "PYTORCH_MODEL.BIN.index.json",
                              "consolidated.00.pth",
                              "model.gguf",
                              "tf_model.h5",
                              "flax_model.msgpack",
                              "model.onnx",
                              "manifest.json",
                              "shard-00001-of-00002.sbz",
                              ".gitattributes",
                              "model.safetensors.incomplete",
                              "out.lock",
                              "sub.partial-4049c22c-77c291db8fa8bf00"};
  for (size_t i = 0; i < sizeof travel / sizeof *travel; i++)
    if (!sb_companions_is_one(travel[i])) fail_msg("%s stays behind", travel[i]);
  for (size_t i = 0; i < sizeof stay / sizeof *stay; i++)
    if (sb_companions_is_one(stay[i])) fail_msg("%s travels", stay[i]);
}

static void put(const char *name, const char *text) {
  put_file(scratch_path(name), text, strlen(text));
}

static bool has(const sb_outdir *out, const char *name, const char *text) {
  char path[SB_PATH_MAX];
  size_t bytes;
  assert_ok(sb_path_join(path, out->partial, name));
  if (access(path, F_OK) != 0) return false;
  unsigned char *got = get_file(path, &bytes);
  const bool same = bytes == strlen(text) && memcmp(got, text, bytes) == 0;
  free(got);
  return same;
}

static void make_model(void) {
  mkdir(scratch_path("model"), 0755);
  mkdir(scratch_path("model/onnx"), 0755);
  mkdir(scratch_path("model/additional_chat_templates"), 0755);
  mkdir(scratch_path("model/chat_template.jinja"), 0755); /* a folder in a file's place */
  put("model/config.json", "{}");
  put("model/added_tokens.json", "{\"<x>\": 7}");
  put("model/model.safetensors", "weights");
  put("model/onnx/config.json", "{}");
  put("model/additional_chat_templates/rag.jinja", "rag");
  put("model/additional_chat_templates/rag.bin", "weights");
  put("blob", "linked");
  assert_int_equal(symlink(scratch_path("blob"), scratch_path("model/vocab.json")), 0);
  assert_int_equal(symlink(scratch_path("nothing"), scratch_path("model/merges.txt")), 0);
  assert_int_equal(mkfifo(scratch_path("model/tokenizer.json"), 0600), 0);
}

static void copies(void **state) {
  (void)state;
  sb_outdir out;
  make_model();
  assert_ok(sb_outdir_begin(scratch_path("out"), false, &out));
  assert_ok(sb_companions_copy(scratch_path("model"), &out));
  assert_true(has(&out, "config.json", "{}"));
  assert_true(has(&out, "added_tokens.json", "{\"<x>\": 7}"));
  assert_true(has(&out, "vocab.json", "linked"));
  assert_true(has(&out, "additional_chat_templates/rag.jinja", "rag"));
  const char *const absent[] = {"model.safetensors",   "onnx",
                                "chat_template.jinja", "merges.txt",
                                "tokenizer.json",      "additional_chat_templates/rag.bin"};
  for (size_t i = 0; i < sizeof absent / sizeof *absent; i++) {
    char path[SB_PATH_MAX];
    struct stat info;
    assert_ok(sb_path_join(path, out.partial, absent[i]));
    if (lstat(path, &info) == 0) fail_msg("%s was copied", absent[i]);
  }
  assert_ok(sb_outdir_abandon(&out));
  assert_ok(sb_outdir_begin(scratch_path("out"), false, &out));
  assert_ok(sb_companions_copy(scratch_path("not there"), &out)); /* who reads weights will tell */
  assert_ok(sb_outdir_abandon(&out));
}

static void unreadable(void **state) {
  (void)state;
  const bool root = geteuid() == 0; /* root may read anything, so it becomes somebody else */
  sb_outdir out;
  mkdir(scratch_path("secret"), 0755);
  mkdir(scratch_path("work"), 0777);
  put("secret/tokenizer.json", "x");
  assert_int_equal(chmod(scratch_path("secret/tokenizer.json"), 0), 0);
  assert_int_equal(chmod(scratch_path("work"), 0777), 0);
  if (root) assert_int_equal(chmod(scratch, 0755) | seteuid(65534), 0);
  assert_ok(sb_outdir_begin(scratch_path("work/out"), false, &out));
  sb_status status = sb_companions_copy(scratch_path("secret"), &out);
  sb_outdir_abandon(&out);
  if (root) assert_int_equal(seteuid(0), 0);
  assert_fails(status, SB_ERR_IO, "secret/tokenizer.json: cannot be read", "make it readable");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(names, scratch_setup, scratch_teardown),
      cmocka_unit_test_setup_teardown(copies, scratch_setup, scratch_teardown),
      cmocka_unit_test_setup_teardown(unreadable, scratch_setup, scratch_teardown)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
