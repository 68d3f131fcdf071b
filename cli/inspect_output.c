#include <inttypes.h>

#include "base/text.h"
#include "cli/inspect.h"
#include "cli/report_json.h"
#include "cli/table.h"
#include "io/manifest.h"
#include "kernels/code_kind.h"

static void print_manifest(const sb_inspect_request *request, const sb_manifest *m, FILE *out,
                           json_t *report) {
  char text[SB_TEXT_SIZE], source[SB_TEXT_SIZE];
  size_t quantized = 0, orders = 0;
  const char *reorder = json_string_value(json_object_get(m->model, "reorder"));
  double source_bytes = 0.0;
  for (size_t i = 0; i < m->tensor_count; i++) {
    double elements = 1.0;
    if (m->tensors[i].kind == SB_TENSOR_ORDER) {
      orders++;
      continue;
    }
    for (size_t d = 0; d < m->tensors[i].dims; d++) elements *= (double)m->tensors[i].shape[d];
    source_bytes += elements * (double)sb_dtype_size(m->tensors[i].dtype);
    quantized += m->tensors[i].kind == SB_TENSOR_QUANTIZED;
  }
  if (out) sb_text_print(out, "Quantized model %s", request->path);
  sb_table_row(out, "written by", "shardbits %s", m->program_version);
  sb_table_row(out, "effective bits", "%.4f a weight of the linear layers (codes alone %.4f)",
               m->effective_bits, m->code_bits);
  sb_table_row(out, "stored", "%s, from %s",
               sb_text_bytes(text, sizeof text, (double)m->stored_bytes),
               sb_text_bytes(source, sizeof source, source_bytes));
  sb_table_row(out, "tensors", "%zu, of which %zu quantized", m->tensor_count - orders, quantized);
  if (reorder) sb_table_row(out, "channels", "%s, %zu orders stored", reorder, orders);
  sb_table_row(out, "blocks of", "%zu x %zu, %s", m->block_rows, m->block_cols,
               m->codes       ? m->codes
               : m->symmetric ? "symmetric"
                              : "asymmetric");
  sb_table_row(out, "shards", "%zu", m->shard_count);
  sb_table_row(out, "content hash", "%016" PRIx64, m->content_hash);
  sb_report_text(report, "path", request->path);
  sb_report_text(report, "kind", "output");
  sb_report_text(report, "codes",
                 m->codes
                     ? m->codes
                     : sb_code_kind_names[m->symmetric ? SB_GRID_SYMMETRIC : SB_GRID_ASYMMETRIC]);
  sb_report_real(report, "effective_bits", m->effective_bits);
  sb_report_real(report, "code_bits", m->code_bits);
  sb_report_count(report, "stored_bytes", m->stored_bytes);
  sb_report_real(report, "source_bytes", source_bytes);
  sb_report_count(report, "tensors", m->tensor_count - orders);
  sb_report_count(report, "quantized_tensors", quantized);
  sb_report_text(report, "reorder", reorder ? reorder : "none");
  sb_report_count(report, "orders", orders);
  sb_report_count(report, "block_rows", m->block_rows);
  sb_report_count(report, "block_cols", m->block_cols);
  sb_report_count(report, "shards", m->shard_count);
  snprintf(text, sizeof text, "%016" PRIx64, m->content_hash);
  sb_report_text(report, "content_hash", text);
}

sb_status sb_inspect_output(const sb_world *world, const sb_inspect_request *request, FILE *out,
                            json_t *report) {
  sb_manifest manifest = {0};
  sb_status status = sb_manifest_read(request->path, &manifest);
  if (status == SB_OK && request->check)
    status = sb_fail(SB_ERR_USAGE,
                     "inspect: --check reads models; for an output folder use: shardbits verify %s",
                     request->path);
  status = sb_world_agree(world, status);
  if (status == SB_OK) print_manifest(request, &manifest, out, report);
  sb_manifest_free(&manifest);
  return status;
}
