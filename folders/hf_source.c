#include "folders/hf_source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "folders/arch_check.h"
#include "folders/hf_path.h"
#include "folders/stored_values.h"
#include "model/config_read.h"

static const char bias_end[] = ".bias", weight_end[] = ".weight";

/* ---- the tensors of the architecture ---- */

static void mark(sb_hf_source *s, const sb_tensor_info *info) {
  s->used[info->number] = true;
}

static sb_status describe(sb_hf_source *s) {
  SB_TRY(sb_hf_path_check_model(s->folder));
  SB_TRY(sb_config_read_stored(s->folder, &s->config));
  SB_TRY(sb_safetensors_open(s->folder, &s->weights));
  SB_TRY(sb_alloc(&s->used, sb_safetensors_count(s->weights), sizeof *s->used, "tensor list"));
  return sb_stored_names_find(sb_family_find(s->config.architecture), &s->config, s->weights,
                              s->folder, &s->names);
}

static const sb_tensor_info *find(const sb_hf_source *s, const char *name) {
  char stored[SB_STORED_NAME];
  return sb_safetensors_find(s->weights, sb_stored_name(&s->names, name, stored));
}

/* Whether the head is the embedding. One of two that are the same may be left out. Collective. */
static sb_status settle_head(const sb_world *world, sb_hf_source *s) {
  const sb_family *family = sb_family_find(s->config.architecture);
  const sb_tensor_info *embedding = find(s, family->embedding),
                       *head =
                           s->names.head[0] ? sb_safetensors_find(s->weights, s->names.head) : NULL;
  bool equal = true;
  if (!s->config.tie_embeddings || !embedding || !head) return SB_OK;
  SB_TRY(sb_stored_equal(world, s->weights, embedding, head, &equal));
  s->untied = !equal;
  s->config.tie_embeddings = equal;
  if (equal) mark(s, head);
  return SB_OK;
}

static const sb_tensor_info *find_placed(const sb_hf_source *s, const sb_model_tensor *t) {
  const sb_tensor_info *found = t->role == SB_ROLE_LM_HEAD ? NULL : find(s, t->name);
  const bool head = t->role == SB_ROLE_LM_HEAD ||
                    (t->role == SB_ROLE_EMBED && s->config.tie_embeddings && !found);
  return head ? sb_safetensors_find(s->weights, s->names.head) : found;
}

/* Where all tensors are stored; those that lack are NULL, for sb_arch_check to name, unless the
 * index knows more of them. */
static sb_status place_tensors(sb_hf_source *s) {
  char name[SB_STORED_NAME];
  SB_TRY(sb_arch_create(&s->config, &s->arch));
  SB_TRY(sb_alloc(&s->tensors, s->arch.count, sizeof *s->tensors, "tensor list"));
  for (size_t i = 0; i < s->arch.count; i++) {
    const sb_model_tensor *t = &s->arch.tensors[i];
    s->tensors[i] = find_placed(s, t);
    if (!s->tensors[i]) {
      SB_TRY(sb_safetensors_lacks(s->weights, sb_stored_name(&s->names, t->name, name)));
      continue;
    }
    mark(s, s->tensors[i]);
    if (t->is_linear && s->config.has_dtype)
      s->relabelled += s->tensors[i]->dtype != s->config.dtype;
  }
  return sb_arch_check(&s->arch, s->tensors, s->folder);
}

/* A tensor in several files is no contradiction while its copies are the same. Collective. */
static sb_status compare_copies(const sb_world *world, const sb_hf_source *s) {
  for (size_t i = 0; i < s->arch.count; i++)
    for (const sb_tensor_info *twin = s->tensors[i]->twin; twin; twin = twin->twin) {
      bool equal;
      SB_TRY(sb_stored_equal(world, s->weights, s->tensors[i], twin, &equal));
      if (!equal)
        return sb_fail(SB_ERR_FORMAT,
                       "%s: tensor '%s' is also in %s, and differs; one of the two shards does not "
                       "belong here",
                       s->tensors[i]->file, twin->name, twin->file);
    }
  return SB_OK;
}

/* ---- what is stored beside them ---- */

/* Attention's matrices have biases where attention_bias says so, the MLP's where mlp_bias does. */
static bool announces_bias(const sb_config *said, const sb_model_tensor *t) {
  if (!t->is_linear) return false;
  return t->role >= SB_ROLE_Q && t->role <= SB_ROLE_O ? said->attention_bias : said->mlp_bias;
}

/* The bias beside tensor `i`, or NULL. */
static const sb_tensor_info *bias_of(const sb_hf_source *s, size_t i) {
  char name[SB_STORED_NAME];
  const size_t length = strlen(s->tensors[i]->name), tail = strlen(weight_end);
  if (length >= sizeof name || !sb_text_ends(s->tensors[i]->name, weight_end)) return NULL;
  snprintf(name, sizeof name, "%.*s%s", (int)(length - tail), s->tensors[i]->name, bias_end);
  return sb_safetensors_find(s->weights, name);
}

static sb_status check_biases(sb_hf_source *s, const sb_config *said, bool reads) {
  for (size_t i = 0; i < s->arch.count; i++) {
    const sb_tensor_info *bias = bias_of(s, i);
    bool zero = true;
    if (!bias && announces_bias(said, &s->arch.tensors[i]))
      return sb_fail(SB_ERR_FORMAT, "%s: the bias of %s is missing, but config.json has %s",
                     s->folder, s->tensors[i]->name,
                     said->attention_bias ? "attention_bias" : "mlp_bias");
    if (!bias) continue;
    mark(s, bias);
    if (!reads) continue;
    SB_TRY(sb_safetensors_require_weight(bias));
    SB_TRY(sb_stored_zero(s->weights, bias, &zero));
    if (!zero)
      return sb_fail(SB_ERR_UNSUPPORTED,
                     "%s: tensor %s is not zero; only linear layers and norms without biases are "
                     "supported",
                     bias->file, bias->name);
  }
  return SB_OK;
}

/* A stored name behind the prefix of layers: its layer, and *rest; SIZE_MAX for any other. */
static size_t layer_of(const char *name, const char *prefix, const char **rest) {
  const size_t length = strlen(prefix);
  char *end;
  if (strncmp(name, prefix, length) != 0 || name[length] < '0' || name[length] > '9')
    return SIZE_MAX;
  const unsigned long layer = strtoul(name + length, &end, 10);
  *rest = end + 1;
  return *end == '.' ? (size_t)layer : SIZE_MAX;
}

/* Layers that config.json does not count are no part of the model; but then one of the two is
 * wrong. Counts what is ignored. */
static sb_status check_rest(sb_hf_source *s) {
  char prefix[SB_STORED_NAME], own[SB_STORED_NAME], stored[SB_STORED_NAME];
  snprintf(own, sizeof own, "%.200s.", s->arch.family->layers);
  sb_stored_name(&s->names, own, prefix);
  for (size_t i = 0; i < sb_safetensors_count(s->weights); i++) {
    const char *name = sb_safetensors_at(s->weights, i)->name, *rest = NULL;
    if (s->used[i]) continue;
    s->ignored++;
    const size_t layer = layer_of(name, prefix, &rest);
    if (layer == SIZE_MAX || layer < s->config.layers) continue;
    snprintf(stored, sizeof stored, "%.255s0.%.200s", prefix, rest);
    const sb_tensor_info *like = sb_safetensors_find(s->weights, stored);
    if (like && s->used[like->number])
      return sb_fail(SB_ERR_FORMAT,
                     "%s: %.120s is stored, but config.json counts %zu layers; correct "
                     "num_hidden_layers, or take what is beyond it away",
                     s->folder, name, s->config.layers);
  }
  return SB_OK;
}

static sb_status check_stored(const sb_world *world, sb_hf_source *s) {
  const sb_config said = s->config;
  SB_TRY(settle_head(world, s));
  s->config.attention_bias = s->config.mlp_bias = false;
  SB_AGREE(world, place_tensors(s));
  SB_TRY(compare_copies(world, s));
  sb_status status = check_biases(s, &said, world->rank == 0);
  SB_THEN(check_rest(s));
  if (world->rank == 0)
    SB_THEN(sb_safetensors_other_files(s->weights, &s->other_files, &s->other_count));
  return sb_world_agree(world, status);
}

sb_status sb_hf_source_open(const sb_world *world, const char *folder, sb_hf_source *out) {
  *out = (sb_hf_source){.folder = folder};
  SB_AGREE(world, describe(out));
  return check_stored(world, out);
}

void sb_hf_source_close(sb_hf_source *s) {
  sb_safetensors_close(&s->weights);
  sb_arch_free(&s->arch);
  sb_free(&s->tensors);
  sb_free(&s->used);
  for (size_t i = 0; i < s->other_count; i++) free(s->other_files[i]);
  sb_free(&s->other_files);
  s->other_count = 0;
}

/* ---- lines ---- */

typedef struct line {
  char text[256];
  size_t length;
} line;

static void add(line *l, size_t count, const char *one, const char *many) {
  if (count == 0 || l->length >= sizeof l->text - 1) return;
  l->length += (size_t)snprintf(l->text + l->length, sizeof l->text - l->length, "%s%zu %s",
                                l->length ? ", " : "", count, count == 1 ? one : many);
}

/* The first names of what is ignored, in brackets. */
static void add_names(line *l, const sb_hf_source *s) {
  enum { ROOM = 110 };
  size_t named = 0, length = 0;
  char names[ROOM + 8];
  for (size_t i = 0; i < sb_safetensors_count(s->weights) && named < 3; i++) {
    const char *name = sb_safetensors_at(s->weights, i)->name;
    if (s->used[i]) continue;
    if (length + strlen(name) + 2 > ROOM) break;
    length +=
        (size_t)snprintf(names + length, sizeof names - length, "%s%s", named ? ", " : "", name);
    named++;
  }
  if (named == 0 || l->length >= sizeof l->text - 1) return;
  l->length += (size_t)snprintf(l->text + l->length, sizeof l->text - l->length, " (%s%s)", names,
                                named < s->ignored ? ", ..." : "");
}

void sb_hf_source_tell(const sb_hf_source *s) {
  static const char *const names[] = {
      [SB_F32] = "float32", [SB_F16] = "float16", [SB_BF16] = "bfloat16"};
  const sb_safetensors_oddities odd = sb_safetensors_odd(s->weights);
  line l = {.text = ""};
  if (s->untied)
    sb_log_line("note: %s: the stored LM head differs from the embedding and is used, although "
                "config.json says tie_word_embeddings",
                s->folder);
  if (s->relabelled)
    sb_log_line("note: %s: config.json says %s, but %zu of %zu matrices are stored otherwise; the "
                "files count",
                s->folder, names[s->config.dtype], s->relabelled, s->arch.matrix_count);
  add(&l, s->ignored, "tensor without a place", "tensors without a place");
  if (s->ignored) add_names(&l, s);
  add(&l, odd.stale, "entry of the index", "entries of the index");
  add(&l, s->other_count, "file", "files");
  if (l.length) sb_log_line("note: %s: ignored: %s; inspect lists them", s->folder, l.text);
  if (odd.moved)
    sb_log_line("note: %s: %zu tensor%s not in the shard that the index says; taken where found",
                s->folder, odd.moved, odd.moved == 1 ? " is" : "s are");
}
