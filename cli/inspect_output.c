#include <inttypes.h>

#include "base/memory.h"
#include "base/text.h"
#include "cli/inspect.h"
#include "cli/report_json.h"
#include "cli/table.h"
#include "folders/output_open.h"
#include "folders/output_sizes.h"
#include "io/manifest.h"
#include "kernels/code_kind.h"

/* What all tensors of a folder sum to. */
typedef struct totals {
  size_t quantized, orders;
  double source_bytes;
  uint64_t weights, bytes;    /* of the whole file; bytes before zstd */
  uint64_t blocks[SB_WIDTHS]; /* of the layers */
} totals;

/* An embedding or LM head: a matrix that is not one of a layer's. */
static bool is_table(const sb_manifest_tensor *t) {
  return t->dims == 2 && (t->kind == SB_TENSOR_RAW || t->codes);
}

static totals sum(const sb_manifest *m, const sb_output_tensor *tensors) {
  totals s = {0};
  for (size_t i = 0; i < m->tensor_count; i++) {
    const sb_manifest_tensor *t = &m->tensors[i];
    s.weights += tensors[i].weights;
    s.bytes += tensors[i].bytes;
    s.orders += t->kind == SB_TENSOR_ORDER;
    s.quantized += t->kind == SB_TENSOR_QUANTIZED;
    s.source_bytes += (double)tensors[i].weights * (double)sb_dtype_size(t->dtype);
    for (unsigned bits = 1; !is_table(t) && bits < SB_WIDTHS; bits++)
      s.blocks[bits] += tensors[i].blocks[bits];
  }
  return s;
}

/* text = "2 bits 40.0%, 3 bits 60.0%". */
static const char *widths_text(char *text, size_t size, const uint64_t *blocks) {
  uint64_t all = 0;
  size_t at = 0;
  text[0] = 0;
  for (unsigned bits = 1; bits < SB_WIDTHS; bits++) all += blocks[bits];
  for (unsigned bits = 1; bits < SB_WIDTHS; bits++)
    if (blocks[bits] > 0)
      at += (size_t)snprintf(text + at, size - at, "%s%u bit%s %.1f%%", at ? ", " : "", bits,
                             sb_text_s(bits), 100.0 * (double)blocks[bits] / (double)all);
  return text;
}

static json_t *widths_json(const uint64_t *blocks) {
  json_t *out = json_object();
  for (unsigned bits = 1; bits < SB_WIDTHS; bits++) {
    const char key[2] = {(char)('0' + bits), 0};
    json_object_set_new(out, key, json_integer((json_int_t)blocks[bits]));
  }
  return out;
}

/* The embedding, which is the first of its kind, and the LM head. */
static void print_tables(const sb_manifest *m, const sb_output_tensor *tensors, FILE *out,
                         json_t *report) {
  char bytes[SB_TEXT_SIZE], widths[256];
  const char *label = "embedding";
  json_t *tables = json_array();
  for (size_t i = 0; i < m->tensor_count; i++) {
    const sb_manifest_tensor *t = &m->tensors[i];
    const sb_output_tensor *size = &tensors[i];
    if (!is_table(t)) continue;
    const double bits = 8.0 * (double)size->bytes / (double)sb_max_size(size->weights, 1);
    sb_text_bytes(bytes, sizeof bytes, (double)size->bytes);
    if (t->kind == SB_TENSOR_QUANTIZED)
      sb_table_row(out, label, "%.4f bits a weight, %s; blocks of %s", bits, bytes,
                   widths_text(widths, sizeof widths, size->blocks));
    else
      sb_table_row(out, label, "%s as in the source, %s", sb_dtype_name(t->dtype), bytes);
    json_t *entry = json_pack("{s:s, s:f, s:I}", "name", t->name, "bits", bits, "bytes",
                              (json_int_t)size->bytes);
    if (t->kind == SB_TENSOR_QUANTIZED)
      json_object_set_new(entry, "blocks_by_bits", widths_json(size->blocks));
    json_array_append_new(tables, entry);
    label = "LM head";
  }
  if (report) json_object_set(report, "tables", tables);
  json_decref(tables);
}

static void print_sizes(const sb_manifest *m, const sb_output_tensor *tensors, const totals *s,
                        FILE *out, json_t *report) {
  char text[SB_TEXT_SIZE], source[SB_TEXT_SIZE], widths[256];
  const double file_bits = 8.0 * (double)s->bytes / (double)sb_max_size(s->weights, 1);
  sb_table_row(out, "effective bits", "%.4f a weight of the linear layers (codes alone %.4f)",
               m->effective_bits, m->code_bits);
  sb_table_row(out, "layers", "blocks of %s", widths_text(widths, sizeof widths, s->blocks));
  print_tables(m, tensors, out, report);
  sb_table_row(out, "whole file", "%.4f bits a weight, %s before compression", file_bits,
               sb_text_bytes(text, sizeof text, (double)s->bytes));
  sb_table_row(out, "stored", "%s, from %s",
               sb_text_bytes(text, sizeof text, (double)m->stored_bytes),
               sb_text_bytes(source, sizeof source, s->source_bytes));
  sb_report_real(report, "effective_bits", m->effective_bits);
  sb_report_real(report, "code_bits", m->code_bits);
  sb_report_real(report, "file_bits", file_bits);
  sb_report_count(report, "file_bytes", s->bytes);
  sb_report_count(report, "stored_bytes", m->stored_bytes);
  sb_report_real(report, "source_bytes", s->source_bytes);
  if (report) json_object_set_new(report, "blocks_by_bits", widths_json(s->blocks));
}

static void print_folder(const sb_inspect_request *request, const sb_manifest *m,
                         const sb_output_tensor *tensors, FILE *out, json_t *report) {
  char text[SB_TEXT_SIZE];
  const char *reorder = json_string_value(json_object_get(m->model, "reorder"));
  const totals s = sum(m, tensors);
  const size_t count = m->tensor_count - s.orders;
  if (out) sb_text_print(out, "Quantized model %s", request->path);
  sb_table_row(out, "written by", "shardbits %s", m->program_version);
  sb_report_text(report, "path", request->path);
  sb_report_text(report, "kind", "output");
  sb_report_text(report, "codes", m->codes ? m->codes : sb_code_kind_names[sb_output_grid_kind(m)]);
  print_sizes(m, tensors, &s, out, report);
  sb_table_row(out, "tensors", "%zu, of which %zu quantized", count, s.quantized);
  if (reorder) sb_table_row(out, "channels", "%s, %zu orders stored", reorder, s.orders);
  sb_table_row(out, "blocks of", "%zu x %zu, %s%s", m->block_rows, m->block_cols,
               m->codes ? m->codes : sb_manifest_symmetry_names[m->symmetry],
               m->scales == SB_MANIFEST_BF16   ? ", scales within bf16"
               : m->scales == SB_MANIFEST_6BIT ? ", scales of 6 bits"
                                               : "");
  sb_table_row(out, "shards", "%zu", m->shard_count);
  sb_table_row(out, "content hash", "%016" PRIx64, m->content_hash);
  sb_report_count(report, "tensors", count);
  sb_report_count(report, "quantized_tensors", s.quantized);
  sb_report_text(report, "reorder", reorder ? reorder : "none");
  sb_report_count(report, "orders", s.orders);
  sb_report_count(report, "block_rows", m->block_rows);
  sb_report_count(report, "block_cols", m->block_cols);
  sb_report_count(report, "shards", m->shard_count);
  snprintf(text, sizeof text, "%016" PRIx64, m->content_hash);
  sb_report_text(report, "content_hash", text);
}

/* Rank 0. */
static sb_status inspect(const sb_inspect_request *request, FILE *out, json_t *report) {
  sb_shardset *shards = NULL;
  sb_output_tensor *tensors = NULL;
  SB_TRY(sb_shardset_open(request->path, &shards));
  const sb_manifest *m = sb_shardset_manifest(shards);
  sb_status status = sb_alloc(&tensors, m->tensor_count, sizeof *tensors, "tensors");
  SB_THEN(sb_output_measure(shards, tensors));
  if (status == SB_OK && request->check)
    status = sb_fail(SB_ERR_USAGE,
                     "inspect: --check reads models; for an output folder use: shardbits verify %s",
                     request->path);
  if (status == SB_OK) print_folder(request, m, tensors, out, report);
  SB_THEN(sb_inspect_readers_of_output(request->path, shards, tensors, out, report));
  sb_free(&tensors);
  sb_shardset_close(&shards);
  return status;
}

sb_status sb_inspect_output(const sb_world *world, const sb_inspect_request *request, FILE *out,
                            json_t *report) {
  return sb_world_agree(world, world->rank == 0 ? inspect(request, out, report) : SB_OK);
}
