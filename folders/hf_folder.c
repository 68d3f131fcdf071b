#include "folders/hf_folder.h"

#include <jansson.h>
#include <stdio.h>

#include "base/memory.h"
#include "base/trace.h"
#include "folders/companions.h"
#include "io/file.h"
#include "io/json.h"

#define INDEX "model.safetensors.index.json"

/* The file of a tensor, and its place in it. */
typedef struct target {
  size_t file, index;
} target;

struct sb_hf_folder {
  const sb_hf_folder_setup *setup;
  target *targets; /* [count] of the specs, whose order makes those of a file neighbours */
  size_t *first;   /* [files + 1] first tensor of each file */
  size_t files;
  sb_safetensors_writer **writers; /* [files] */
};

static const char *const metadata[] = {"format", "pt", NULL};

void sb_hf_folder_set_dtype(json_t *config, sb_dtype dtype) {
  static const char *const names[] = {
      [SB_F32] = "float32", [SB_F16] = "float16", [SB_BF16] = "bfloat16"};
  json_t *inner =
      json_object_get(config, "text_config"); /* of a model that is part of a larger one */
  json_object_set_new(config, "dtype", json_string(names[dtype]));
  json_object_set_new(config, "torch_dtype", json_string(names[dtype]));
  if (json_is_object(inner)) sb_hf_folder_set_dtype(inner, dtype);
}

sb_status sb_hf_folder_restate(const char *folder, const sb_config *config, sb_dtype dtype) {
  char path[SB_PATH_MAX];
  json_t *json;
  SB_TRY(sb_path_join(path, folder, "config.json"));
  SB_TRY(sb_companions_restate(folder, config, &json));
  sb_hf_folder_set_dtype(json, dtype);
  const sb_status status = sb_json_write(path, json);
  json_decref(json);
  return status;
}

sb_status sb_hf_folder_range_error(const sb_model_tensor *tensor, size_t row, size_t col,
                                   double value, sb_dtype dtype) {
  char place[64];
  if (tensor->dims == 1)
    snprintf(place, sizeof place, "[%zu]", col);
  else
    snprintf(place, sizeof place, "[%zu, %zu]", row, col);
  return sb_fail(SB_ERR_NUMERIC, "%s%s is %g, beyond the range of %s (%g); use --dtype %s",
                 tensor->name, place, value, dtype == SB_F16 ? "f16" : "bf16",
                 dtype == SB_F16 ? 65504.0 : 0x1.fep127, dtype == SB_F16 ? "bf16" : "f32");
}

sb_tensor_spec sb_hf_folder_spec(const sb_model_tensor *t, sb_dtype dtype) {
  sb_tensor_spec spec = {.name = t->name, .dtype = dtype, .dims = t->dims};
  spec.shape[0] = t->dims == 1 ? t->cols : t->rows;
  spec.shape[1] = t->dims == 1 ? 0 : t->cols;
  return spec;
}

static uint64_t bytes_of(const sb_tensor_spec *spec) {
  uint64_t bytes = sb_dtype_size(spec->dtype);
  for (size_t d = 0; d < spec->dims; d++) bytes *= spec->shape[d];
  return bytes;
}

/* Tensors in order, a new file where the next one would not fit. */
static sb_status deal(sb_hf_folder *f, sb_hf_folder_stats *stats) {
  const size_t count = f->setup->count;
  uint64_t bytes = 0;
  SB_TRY(sb_alloc(&f->targets, count, sizeof *f->targets, "tensors"));
  SB_TRY(sb_alloc(&f->first, count + 1, sizeof *f->first, "tensors"));
  for (size_t i = 0; i < count; i++) {
    const uint64_t size = bytes_of(&f->setup->specs[i]);
    if (i == 0 || bytes + size > f->setup->file_bytes) {
      f->first[f->files++] = i;
      bytes = 0;
    }
    bytes += size;
    stats->bytes += size;
    f->targets[i] = (target){f->files - 1, i - f->first[f->files - 1]};
  }
  f->first[f->files] = count;
  stats->files = f->files;
  return sb_alloc(&f->writers, f->files, sizeof *f->writers, "files");
}

static void file_name(const sb_hf_folder *f, size_t file, char *out, size_t size) {
  if (f->files == 1)
    snprintf(out, size, "model.safetensors");
  else
    snprintf(out, size, "model-%05zu-of-%05zu.safetensors", file + 1, f->files);
}

/* Rank 0 creates what the others then join. */
static sb_status open_files(sb_hf_folder *f, const char *path) {
  for (size_t i = 0; i < f->files; i++) {
    char name[64], file[SB_PATH_MAX];
    const sb_tensor_spec *specs = f->setup->specs + f->first[i];
    size_t count = f->first[i + 1] - f->first[i];
    file_name(f, i, name, sizeof name);
    SB_TRY(sb_path_join(file, path, name));
    SB_TRY(f->setup->world->rank == 0
               ? sb_safetensors_writer_create(file, specs, count, metadata, &f->writers[i])
               : sb_safetensors_writer_join(file, specs, count, metadata, &f->writers[i]));
  }
  return SB_OK;
}

sb_status sb_hf_folder_write(sb_hf_folder *f, size_t tensor, uint64_t offset, size_t bytes,
                             const void *data) {
  SB_SPAN(SB_TRACE_DISK, "write rows", tensor);
  const target *to = &f->targets[tensor];
  return sb_safetensors_writer_write(f->writers[to->file], to->index, offset, bytes, data);
}

sb_status sb_hf_folder_write_as(sb_hf_folder *f, size_t spec, const sb_model_tensor *t,
                                size_t first, size_t rows, const void *data, sb_dtype from,
                                sb_dtype to) {
  enum { CHUNK = 1 << 14 }; /* weights that are converted at a time */
  float wide[CHUNK], narrow[CHUNK];
  const size_t size = sb_dtype_size(to), count = rows * t->cols;
  const uint64_t at = (uint64_t)first * t->cols;
  if (from == to) return sb_hf_folder_write(f, spec, at * size, count * size, data);
  for (size_t i = 0; i < count; i += CHUNK) {
    const size_t n = sb_min_size(CHUNK, count - i);
    sb_to_f32(wide, (const char *)data + i * sb_dtype_size(from), from, n);
    sb_from_f32(narrow, to, wide, n);
    const size_t beyond = to == SB_F32 ? n : sb_first_infinite(narrow, to, n);
    if (beyond < n)
      return sb_hf_folder_range_error(t, first + (i + beyond) / t->cols, (i + beyond) % t->cols,
                                      wide[beyond], to);
    SB_TRY(sb_hf_folder_write(f, spec, (at + i) * size, n * size, narrow));
  }
  return SB_OK;
}

static sb_status write_tensors(sb_hf_folder *f) {
  SB_TRY(f->setup->tensors(f->setup->context, f));
  for (size_t i = 0; i < f->files; i++) SB_TRY(sb_safetensors_writer_finish(f->writers[i]));
  return SB_OK;
}

static sb_status write_index(const sb_hf_folder *f, const char *path,
                             const sb_hf_folder_stats *stats) {
  if (f->files == 1) return SB_OK;
  json_t *map = json_object();
  char name[64], file[SB_PATH_MAX];
  for (size_t i = 0; i < f->setup->count; i++) {
    file_name(f, f->targets[i].file, name, sizeof name);
    json_object_set_new(map, f->setup->specs[i].name, json_string(name));
  }
  json_t *index = json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)stats->bytes,
                            "weight_map", map);
  sb_status status = sb_path_join(file, path, INDEX);
  SB_THEN(sb_json_write(file, index));
  json_decref(index);
  return status;
}

static sb_status write_files(sb_hf_folder *f, const sb_hf_folder_stats *stats) {
  const sb_world *world = f->setup->world;
  const char *path = f->setup->out->folder.partial;
  const bool first = world->rank == 0;
  sb_status status = SB_OK;
  if (first) status = f->setup->beside(f->setup->context, path);
  if (first) SB_THEN(open_files(f, path));
  SB_AGREE(world, status);
  if (!first) status = open_files(f, path);
  SB_AGREE(world, status);
  SB_AGREE(world, write_tensors(f));
  return first ? write_index(f, path, stats) : SB_OK;
}

static void release(sb_hf_folder *f) {
  for (size_t i = 0; f->writers && i < f->files; i++) sb_safetensors_writer_free(&f->writers[i]);
  sb_free(&f->targets);
  sb_free(&f->first);
  sb_free(&f->writers);
}

sb_status sb_hf_folder_make(const sb_hf_folder_setup *setup, sb_hf_folder_stats *stats) {
  sb_hf_folder f = {.setup = setup};
  *stats = (sb_hf_folder_stats){0};
  sb_destination_writes(setup->out);
  sb_status status = sb_world_agree(setup->world, deal(&f, stats));
  SB_THEN(sb_destination_require(setup->out, stats->bytes + setup->beside_bytes));
  if (status == SB_OK) status = sb_destination_commit(setup->out, write_files(&f, stats));
  release(&f);
  return status;
}
