#include <stdbool.h>

#include "base/text.h"
#include "cli/inspect.h"
#include "cli/report_json.h"
#include "cli/table.h"

enum { SHOWN = 30 }; /* lines of a kind; the report has all */

/* One kind of what is ignored: its lines in the table, its names in the report. */
typedef struct kind {
  FILE *out;
  json_t *list; /* or NULL */
  size_t count;
} kind;

static kind begin(FILE *out, json_t *report, const char *key, bool any) {
  json_t *list = report && any ? json_array() : NULL;
  if (list) json_object_set_new(report, key, list);
  return (kind){out, list, 0};
}

static void add(kind *k, const char *label, const char *name, const char *where) {
  char safe[1024];
  if (k->count++ < SHOWN) sb_table_row(k->out, label, "%s%s%s", name, *where ? ", " : "", where);
  if (!k->list) return;
  json_t *text = json_string(name);
  json_array_append_new(k->list,
                        text ? text : json_string(sb_text_escaped(safe, sizeof safe, name)));
}

static void end(const kind *k, const char *label) {
  if (k->count > SHOWN) sb_table_row(k->out, label, "and %zu more", k->count - SHOWN);
}

static void list_tensors(const sb_hf_source *s, FILE *out, json_t *report, bool moved) {
  const char *label = moved ? "other shard" : "tensor";
  const size_t any = moved ? sb_safetensors_odd(s->weights).moved : s->ignored;
  kind k = begin(out, report, moved ? "moved_tensors" : "ignored_tensors", any > 0);
  for (size_t i = 0; any > 0 && i < sb_safetensors_count(s->weights); i++) {
    const sb_tensor_info *t = sb_safetensors_at(s->weights, i);
    if (moved ? t->moved : !s->used[i]) add(&k, label, t->name, moved ? t->file : t->type_name);
  }
  end(&k, label);
}

void sb_inspect_ignored(const sb_hf_source *s, FILE *out, json_t *report) {
  size_t stale_count;
  const sb_stale_entry *stale = sb_safetensors_stale(s->weights, &stale_count);
  const size_t moved = sb_safetensors_odd(s->weights).moved;
  if (s->untied)
    sb_table_row(out, "LM head",
                 "used as stored: it differs from the embedding, although "
                 "config.json says tie_word_embeddings");
  if (s->relabelled)
    sb_table_row(out, "types", "%zu matrices are stored otherwise than config.json says",
                 s->relabelled);
  if (s->ignored + stale_count + s->other_count + moved == 0) return;
  sb_table_head(out, "Ignored, or not where the index says");
  list_tensors(s, out, report, false);
  kind k = begin(out, report, "stale_index_entries", stale_count > 0);
  for (size_t i = 0; i < stale_count; i++)
    add(&k, "index", stale[i].tensor, stale[i].file_missing ? "in a shard that is missing" : "");
  end(&k, "index");
  k = begin(out, report, "ignored_files", s->other_count > 0);
  for (size_t i = 0; i < s->other_count; i++) add(&k, "file", s->other_files[i], "");
  end(&k, "file");
  list_tensors(s, out, report, true);
}
