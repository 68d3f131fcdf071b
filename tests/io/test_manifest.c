/* The manifest and the set of shards it describes. */
#include "base/memory.h"
#include "io/manifest.h"

#include <sys/stat.h>

#include "io/shards.h"
#include "io/file.h"
#include "io/shardset.h"
#include "tests/support/files.h"
#include "tests/support/scratch.h"

enum { BLOCK = 4 };

/* Two tensors (a quantized 10 x 6 matrix: 3 frames; a raw vector: 1 frame) in two shards, the
 * frames dealt crosswise. */
static void make_folder(const char *folder) {
  sb_manifest m = {
      .block_rows = BLOCK, .block_cols = BLOCK, .effective_bits = 3.25, .code_bits = 3.0};
  sb_shard_writer *writer;
  sb_shard_reader *readers[2];
  static const uint32_t frames[2][2][2] = {{{0, 2}, {1, 0}}, {{0, 0}, {0, 1}}};
  mkdir(folder, 0777);
  assert_ok(sb_manifest_allocate(&m, 2, 2));
  m.model = json_pack("{s:s, s:i}", "architecture", "llama", "layers", 2);
  m.tensors[0] = (sb_manifest_tensor){.name = strdup("q.weight"),
                                      .dtype = SB_BF16,
                                      .dims = 2,
                                      .shape = {10, 6},
                                      .kind = SB_TENSOR_QUANTIZED,
                                      .frames = 3};
  m.tensors[1] = (sb_manifest_tensor){
      .name = strdup("norm"), .dtype = SB_F32, .dims = 1, .shape = {6}, .frames = 1};
  for (int s = 0; s < 2; s++) {
    char name[32], path[600];
    sb_shard_stats stats;
    snprintf(name, sizeof name, "shard-%d.sbs", s);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    unlink(path); /* shards are new files */
    assert_ok(sb_shard_writer_create(path, 1, &writer));
    for (int f = 0; f < 2; f++) {
      char text[32];
      snprintf(text, sizeof text, "tensor %u row %u", frames[s][f][0], frames[s][f][1]);
      assert_ok(sb_shard_writer_add(writer, frames[s][f][0], frames[s][f][1], SB_FILTER_NONE, text,
                                    strlen(text)));
    }
    assert_ok(sb_shard_writer_finish(writer, &stats));
    sb_shard_writer_free(&writer);
    m.shards[s] = (sb_manifest_shard){.file = strdup(name),
                                      .bytes = stats.file_bytes,
                                      .frames = stats.frames,
                                      .index_checksum = stats.index_checksum};
    m.stored_bytes += stats.file_bytes;
    assert_ok(sb_shard_reader_open(path, &readers[s]));
  }
  assert_ok(sb_shard_content_hash(readers, 2, &m.content_hash));
  sb_shard_reader_close(&readers[0]);
  sb_shard_reader_close(&readers[1]);
  assert_ok(sb_manifest_write(folder, &m));
  sb_manifest_free(&m);
}

static void write_and_read(void **state) {
  (void)state;
  sb_manifest m;
  make_folder(scratch_path("a"));
  assert_ok(sb_manifest_read(scratch_path("a"), &m));
  assert_string_equal(m.program_version, SB_VERSION);
  assert_string_equal(json_string_value(json_object_get(m.model, "architecture")), "llama");
  assert_int_equal(m.block_rows, BLOCK);
  assert_int_equal(m.symmetry, SB_MANIFEST_ASYMMETRIC);
  assert_int_equal(m.tensor_count, 2);
  assert_string_equal(m.tensors[0].name, "q.weight");
  assert_int_equal(m.tensors[0].dtype, SB_BF16);
  assert_int_equal(m.tensors[0].shape[1], 6);
  assert_int_equal(m.tensors[0].kind, SB_TENSOR_QUANTIZED);
  assert_int_equal(m.tensors[0].frames, 3);
  assert_int_equal(m.tensors[1].kind, SB_TENSOR_RAW);
  assert_int_equal(m.shard_count, 2);
  assert_string_equal(m.shards[1].file, "shard-1.sbs");
  assert_true(m.effective_bits == 3.25 && m.code_bits == 3.0);
  sb_manifest_free(&m);
}

/* Kinds of codes other than grids have a name in place of a symmetry, and raise the version. */
static void names_of_codes(void **state) {
  (void)state;
  sb_manifest m;
  char *text;
  size_t bytes;
  make_folder(scratch_path("k"));
  assert_ok(sb_manifest_read(scratch_path("k"), &m));
  assert_null(m.codes);
  m.codes = strdup("trellis-12");
  m.tensors[0].col_signs = 0x123456789abcdef0u;
  assert_ok(sb_manifest_write(scratch_path("k"), &m));
  sb_manifest_free(&m);
  assert_ok(sb_manifest_read(scratch_path("k"), &m));
  assert_string_equal(m.codes, "trellis-12");
  assert_true(m.tensors[0].col_signs == 0x123456789abcdef0u && m.tensors[1].col_signs == 0);
  sb_manifest_free(&m);
  assert_ok(sb_file_read_all(scratch_path("k/manifest.json"), SIZE_MAX, &text, &bytes));
  assert_non_null(strstr(text, "\"format_version\": 3"));
  assert_null(strstr(text, "symmetr"));
  sb_free(&text);
}

/* Signed grids raise the version, and so do scales of 6 bits; the type of scales is named unless it
 * is fp16. */
static void grids(void **state) {
  (void)state;
  for (int symmetry = 0; symmetry < 4; symmetry++)
    for (int scales = 0; scales < (symmetry < SB_MANIFEST_SIGNED ? 3 : 2); scales++) {
      sb_manifest m;
      char *text;
      size_t bytes;
      make_folder(scratch_path("g"));
      assert_ok(sb_manifest_read(scratch_path("g"), &m));
      m.symmetry = (sb_manifest_symmetry)symmetry;
      m.scales = (sb_manifest_scales)scales;
      assert_ok(sb_manifest_write(scratch_path("g"), &m));
      sb_manifest_free(&m);
      assert_ok(sb_manifest_read(scratch_path("g"), &m));
      assert_int_equal(m.symmetry, symmetry);
      assert_int_equal(m.scales, scales);
      assert_int_equal(m.version,
                       symmetry >= SB_MANIFEST_SIGNED || scales == SB_MANIFEST_6BIT ? 4 : 1);
      sb_manifest_free(&m);
      assert_ok(sb_file_read_all(scratch_path("g/manifest.json"), SIZE_MAX, &text, &bytes));
      assert_int_equal(strstr(text, "\"scales\"") != NULL, scales != SB_MANIFEST_FP16);
      sb_free(&text);
    }
}

/* Scales of 6 bits have no sign. */
static void scales_without_a_sign(void **state) {
  (void)state;
  for (int symmetry = SB_MANIFEST_SIGNED; symmetry <= SB_MANIFEST_BY_WIDTH; symmetry++) {
    sb_manifest m;
    make_folder(scratch_path("g"));
    assert_ok(sb_manifest_read(scratch_path("g"), &m));
    m.symmetry = (sb_manifest_symmetry)symmetry;
    m.scales = SB_MANIFEST_6BIT;
    assert_ok(sb_manifest_write(scratch_path("g"), &m));
    sb_manifest_free(&m);
    assert_int_equal(sb_manifest_read(scratch_path("g"), &m), SB_ERR_UNSUPPORTED);
    assert_non_null(strstr(sb_message(), "have no sign"));
  }
}

/* A tensor that names codes of its own has no signs of columns, and raises the version, whatever
 * the folder's codes are. */
static void codes_of_a_tensor(void **state) {
  (void)state;
  static const char *const folders[] = {NULL, "trellis-12"};
  for (size_t i = 0; i < 2; i++) {
    sb_manifest m;
    char *text;
    size_t bytes;
    make_folder(scratch_path("t"));
    assert_ok(sb_manifest_read(scratch_path("t"), &m));
    assert_true(m.version == 1 && !m.tensors[0].codes);
    m.codes = folders[i] ? strdup(folders[i]) : NULL;
    m.tensors[0].codes = strdup("grid");
    assert_ok(sb_manifest_write(scratch_path("t"), &m));
    sb_manifest_free(&m);
    assert_ok(sb_manifest_read(scratch_path("t"), &m));
    assert_true(m.version == 3 && m.tensors[0].col_signs == 0 && !m.tensors[1].codes);
    assert_string_equal(m.tensors[0].codes, "grid");
    sb_manifest_free(&m);
    assert_ok(sb_file_read_all(scratch_path("t/manifest.json"), SIZE_MAX, &text, &bytes));
    assert_null(strstr(text, "col_signs"));
    sb_free(&text);
  }
  sb_manifest m;
  assert_ok(sb_manifest_read(scratch_path("t"), &m));
  m.tensors[1].codes = strdup("grid");
  assert_fails(sb_manifest_write(scratch_path("t"), &m), SB_ERR_FORMAT, "'norm' has codes",
               "only quantized ones");
  sb_manifest_free(&m);
}

static void set_finds_every_frame(void **state) {
  (void)state;
  sb_shardset *set;
  make_folder(scratch_path("s"));
  assert_ok(sb_shardset_open(scratch_path("s"), &set));
  for (uint32_t t = 0; t < 2; t++)
    for (uint32_t r = 0; r < sb_shardset_manifest(set)->tensors[t].frames; r++) {
      char want[32], got[32] = {0};
      snprintf(want, sizeof want, "tensor %u row %u", t, r);
      assert_ok(sb_shardset_read(set, t, r, got, strlen(want)));
      assert_string_equal(got, want);
    }
  for (size_t s = 0; s < sb_shardset_count(set); s++)
    assert_ok(sb_shard_verify(sb_shardset_reader(set, s), SB_NO_TICKER));
  sb_shardset_close(&set);
}

/* Replaces the first occurrence of `from` in the manifest of a fresh folder. */
static void edit(const char *folder, const char *from, const char *to) {
  size_t bytes;
  char path[600];
  make_folder(folder);
  snprintf(path, sizeof path, "%s/manifest.json", folder);
  char *text = (char *)get_file(path, &bytes), *found;
  text[bytes] = '\0';
  found = strstr(text, from);
  if (!found) fail_msg("'%s' is not in the manifest", from);
  size_t head = (size_t)(found - text), tail = bytes - head - strlen(from),
         total = head + strlen(to) + tail;
  char *edited = malloc(total);
  memcpy(edited, text, head);
  memcpy(edited + head, to, strlen(to));
  memcpy(edited + head + strlen(to), found + strlen(from), tail);
  put_file(path, edited, total);
  free(edited);
  free(text);
}

static void bad_manifests(void **state) {
  (void)state;
  static const struct {
    const char *from, *to;
    sb_status status;
    const char *says, *also;
  } edits[] = {
      {"\"format_version\": 1", "\"format_version\": 5", SB_ERR_UNSUPPORTED, "version 5",
       "update shardbits"},
      {"\"format\": \"shardbits\"", "\"format\": \"other\"", SB_ERR_FORMAT, "'other'", "shardbits"},
      {"\"rows\": 4", "\"rows\": 0", SB_ERR_FORMAT, "blocks of 0x4", "1 to 1024"},
      {"\"rows\": 4", "\"rows\": 1025", SB_ERR_FORMAT, "blocks of 1025x4", "1 to 1024"},
      {"\"cols\": 4", "\"cols\": 0", SB_ERR_FORMAT, "blocks of 4x0", "1 to 1024"},
      {"\"cols\": 4", "\"cols\": 8192", SB_ERR_FORMAT, "blocks of 4x8192", "quantize again"},
      {"\"cols\": 4", "\"cols\": 9223372036854775807", SB_ERR_FORMAT,
       "blocks of 4x9223372036854775807", "1 to 1024"},
      {"\"rows\": 4", "\"rows\": 5", SB_ERR_FORMAT, "'q.weight'", "3 frames"},
      {"\"rows\": 4", "\"rows\": -4", SB_ERR_FORMAT, "-4", "rows"},
      {"\"rows\": 4", "\"rows\": \"4\"", SB_ERR_FORMAT, "rows", "integer"},
      {"\"asymmetric\"", "\"signed\"", SB_ERR_FORMAT, "'signed'", "'symmetric'"},
      {"\"symmetry\"", "\"scales\": \"fp8\", \"symmetry\"", SB_ERR_FORMAT, "'fp8'", "'bf16'"},
      {"\"asymmetric\"", "\"sideways\"", SB_ERR_FORMAT, "'sideways'", "'symmetric'"},
      {"\"BF16\"", "\"B16\"", SB_ERR_UNSUPPORTED, "'B16'", "q.weight"},
      {"\"BF16\"", "\"I8\"", SB_ERR_FORMAT, "not a matrix", "q.weight"},
      {"\"quantized\"", "\"quantized\", \"codes\": \"grid\"", SB_ERR_FORMAT,
       "'q.weight' has codes of its own", "version 1 does not know"},
      {"\"quantized\"", "\"guessed\"", SB_ERR_FORMAT, "'guessed'", "tensor 0"},
      {"\"name\": \"norm\"", "\"name\": \"q.weight\"", SB_ERR_FORMAT, "twice", "'q.weight'"},
      {"\"name\": \"norm\"", "\"nome\": \"norm\"", SB_ERR_FORMAT, "\"name\"", "tensor 1"},
      {"shard-1.sbs", "../shard-1.sbs", SB_ERR_FORMAT, "plain file name", "../shard-1.sbs"},
      {"shard-1.sbs", "shard-0.sbs", SB_ERR_FORMAT, "twice", "shard-0.sbs"},
      {"\"stored_bytes\": ", "\"stored_bytes\": 1", SB_ERR_FORMAT, "stored_bytes", "shards have"},
      {"\"content_hash\": \"", "\"content_hash\": \"z", SB_ERR_FORMAT, "content_hash",
       "hexadecimal"},
      {"\"effective_bits\": 3.25", "\"effective_bits\": -1", SB_ERR_FORMAT, "bits a weight",
       "manifest.json"},
      {"\"model\": {", "\"model\": 3, \"m\": {", SB_ERR_FORMAT, "\"model\"", "object"},
      {"\"model\": {", "\"blocks\": {", SB_ERR_FORMAT, "duplicated", "line"},
      {"{", "", SB_ERR_FORMAT, "not valid JSON", "manifest.json"},
  };
  for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
    sb_manifest m;
    edit(scratch_path("e"), edits[i].from, edits[i].to);
    assert_fails(sb_manifest_read(scratch_path("e"), &m), edits[i].status,
                 scratch_path("e/manifest.json"), edits[i].says, edits[i].also);
    assert_null(m.tensors);
  }
  sb_manifest m;
  mkdir(scratch_path("none"), 0777);
  assert_fails(sb_manifest_read(scratch_path("none"), &m), SB_ERR_IO, "none/manifest.json",
               "quantize");
}

static sb_status open_and_close(const char *folder) {
  sb_shardset *set;
  sb_status status = sb_shardset_open(folder, &set);
  sb_shardset_close(&set);
  return status;
}

static void bad_sets(void **state) {
  (void)state;
  size_t bytes;
  make_folder(scratch_path("m"));
  unlink(scratch_path("m/shard-1.sbs"));
  assert_fails(open_and_close(scratch_path("m")), SB_ERR_IO, "m/shard-1.sbs", "missing");
  make_folder(scratch_path("m"));
  assert_int_equal(rename(scratch_path("m/shard-0.sbs"), scratch_path("m/shard-1.sbs")), 0);
  assert_ok(sb_copy_file(scratch_path("m/shard-1.sbs"), scratch_path("m/shard-0.sbs")));
  assert_fails(open_and_close(scratch_path("m")), SB_ERR_FORMAT, "m/shard-1.sbs", "another run");
  edit(scratch_path("m"), "\"content_hash\": \"",
       "\"content_hash\": \"0123456789abcdef\", \"was\": \"");
  assert_fails(open_and_close(scratch_path("m")), SB_ERR_FORMAT, "content hash",
               "0123456789abcdef");
  make_folder(scratch_path("m"));
  unsigned char *image = get_file(scratch_path("m/shard-0.sbs"), &bytes);
  image[32 + 9] ^= 1; /* inside the first frame, after zstd's own 9 bytes or so: tensor 0, row 2 */
  image[32 + 12] ^= 1;
  put_file(scratch_path("m/shard-0.sbs"), image, bytes);
  free(image);
  sb_shardset *set;
  char got[32];
  assert_ok(
      sb_shardset_open(scratch_path("m"), &set)); /* the frames are looked at when they are read */
  assert_fails(sb_shardset_read(set, 0, 2, got, 14), SB_ERR_FORMAT, "shard-0.sbs", "block row 2",
               "'q.weight'");
  sb_shardset_close(&set);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(write_and_read),
      cmocka_unit_test(names_of_codes),
      cmocka_unit_test(grids),
      cmocka_unit_test(scales_without_a_sign),
      cmocka_unit_test(codes_of_a_tensor),
      cmocka_unit_test(set_finds_every_frame),
      cmocka_unit_test(bad_manifests),
      cmocka_unit_test(bad_sets),
  };
  return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
