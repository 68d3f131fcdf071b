#include "folders/stored_orders.h"

#include <string.h>

#include "base/memory.h"
#include "model/order_string.h"
#include "mpi/large.h"

static size_t bytes_of(const sb_model *m, size_t order) {
  return sb_order_bytes(&m->orders.orders[order], m->blocking.rows, m->blocking.cols);
}

static size_t block_of(const sb_model *m, size_t order) {
  return m->orders.orders[order].rows ? m->blocking.rows : m->blocking.cols;
}

size_t sb_stored_orders_count(const sb_model *m) {
  size_t count = 0;
  if (m->orders.mode != SB_REORDER_INDEXED) return 0;
  for (size_t i = 0; i < m->orders.count; i++) count += bytes_of(m, i) > 0;
  return count;
}

/* numbers[i] = the number of order i's tensor in a manifest, SIZE_MAX for one that is left out. */
static sb_status number_orders(const sb_model *m, size_t **numbers) {
  size_t next = m->arch.count;
  SB_TRY(sb_alloc_raw(numbers, m->orders.count, sizeof **numbers, "manifest"));
  for (size_t i = 0; i < m->orders.count; i++)
    (*numbers)[i] = bytes_of(m, i) > 0 ? next++ : SIZE_MAX;
  return SB_OK;
}

static size_t reference(const size_t *numbers, size_t order) {
  return order == SB_NO_ORDER || numbers[order] == SIZE_MAX ? 0 : numbers[order] + 1;
}

sb_status sb_stored_orders_describe(const sb_model *m, sb_manifest *manifest) {
  size_t *numbers = NULL;
  if (m->orders.mode != SB_REORDER_INDEXED) return SB_OK;
  SB_TRY(number_orders(m, &numbers));
  for (size_t t = 0; t < m->arch.count; t++) {
    manifest->tensors[t].row_order = reference(numbers, m->orders.row[t]);
    manifest->tensors[t].col_order = reference(numbers, m->orders.col[t]);
  }
  sb_status status = SB_OK;
  for (size_t i = 0; i < m->orders.count && status == SB_OK; i++) {
    if (numbers[i] == SIZE_MAX) continue;
    sb_manifest_tensor *t = &manifest->tensors[numbers[i]];
    *t = (sb_manifest_tensor){.name = strdup(m->orders.orders[i].name),
                              .dtype = SB_U32,
                              .dims = 1,
                              .shape = {m->orders.orders[i].size},
                              .kind = SB_TENSOR_ORDER,
                              .frames = 1};
    if (!t->name) status = sb_fail(SB_ERR_MEMORY, "manifest: out of memory");
  }
  sb_free(&numbers);
  return status;
}

sb_status sb_stored_orders_write(const sb_model *m, sb_shard_writer *writer) {
  size_t next = 0;
  if (m->orders.mode != SB_REORDER_INDEXED) return SB_OK;
  for (size_t i = 0; i < m->orders.count; i++) {
    const sb_order *order = &m->orders.orders[i];
    const size_t bytes = bytes_of(m, i), number = next;
    uint8_t *string = NULL;
    if (bytes == 0 || next++ % (size_t)m->world->size != (size_t)m->world->rank) continue;
    SB_TRY(sb_alloc_raw(&string, bytes, 1, "order of channels"));
    sb_order_string_pack(string, order->from, order->size, block_of(m, i));
    sb_status status = sb_shard_writer_add(writer, (uint32_t)(m->arch.count + number), 0,
                                           SB_FILTER_NONE, string, bytes);
    sb_free(&string);
    SB_TRY(status);
  }
  return SB_OK;
}

/* ---- reading ---- */

static bool same_tensor(const sb_manifest_tensor *a, const sb_manifest_tensor *b) {
  return strcmp(a->name, b->name) == 0 && a->kind == b->kind && a->dims == b->dims &&
         a->shape[0] == b->shape[0];
}

static sb_status compare(const sb_model *m, const sb_manifest *expected, const sb_manifest *got,
                         const char *path) {
  for (size_t i = m->arch.count; i < got->tensor_count; i++)
    if (!same_tensor(&expected->tensors[i], &got->tensors[i]))
      return sb_fail(SB_ERR_FORMAT,
                     "%s/%s: tensor %zu is %s, expected the order %s of %zu channels", path,
                     SB_MANIFEST_NAME, i, got->tensors[i].name, expected->tensors[i].name,
                     expected->tensors[i].shape[0]);
  for (size_t i = 0; i < m->arch.count; i++)
    if (expected->tensors[i].row_order != got->tensors[i].row_order ||
        expected->tensors[i].col_order != got->tensors[i].col_order)
      return sb_fail(SB_ERR_FORMAT,
                     "%s/%s: %s names other orders of its rows and columns than its own", path,
                     SB_MANIFEST_NAME, got->tensors[i].name);
  return SB_OK;
}

static bool has_orders(const sb_manifest *manifest, size_t tensors) {
  for (size_t i = 0; i < tensors && i < manifest->tensor_count; i++)
    if (manifest->tensors[i].row_order || manifest->tensors[i].col_order) return true;
  return manifest->tensor_count > tensors;
}

sb_status sb_stored_orders_check(sb_model *m, const sb_manifest *manifest, const char *path) {
  sb_manifest expected = {0};
  if (!has_orders(manifest, m->arch.count)) return SB_OK;
  SB_TRY(sb_orders_create(&m->arch, SB_REORDER_INDEXED, &m->orders));
  const size_t stored = sb_stored_orders_count(m);
  if (manifest->tensor_count != m->arch.count + stored)
    return sb_fail(SB_ERR_FORMAT,
                   "%s/%s: %zu tensors, its config and block size ask for %zu and %zu orders", path,
                   SB_MANIFEST_NAME, manifest->tensor_count, m->arch.count, stored);
  sb_status status = sb_manifest_allocate(&expected, manifest->tensor_count, 0);
  SB_THEN(sb_stored_orders_describe(m, &expected));
  SB_THEN(compare(m, &expected, manifest, path));
  sb_manifest_free(&expected);
  return status;
}

sb_status sb_stored_orders_check_frames(const sb_model *m, const sb_shardset *shards) {
  uint32_t number = (uint32_t)m->arch.count;
  for (size_t i = 0; i < m->orders.count; i++) {
    const sb_order *order = &m->orders.orders[i];
    const size_t bytes = bytes_of(m, i);
    const sb_shard_reader *reader;
    if (bytes == 0) continue;
    const uint64_t stored = sb_shardset_find(shards, number++, 0, &reader)->raw_bytes;
    if (stored != bytes)
      return sb_fail(SB_ERR_FORMAT, "%s: %s has %llu bytes, its %zu channels make %zu",
                     sb_shard_reader_path(reader), order->name, (unsigned long long)stored,
                     order->size, bytes);
  }
  return SB_OK;
}

static sb_status read_order(sb_model *m, const sb_shardset *shards, size_t i, uint32_t number) {
  const sb_order *order = &m->orders.orders[i];
  const size_t bytes = bytes_of(m, i);
  const sb_shard_reader *reader;
  uint8_t *string = NULL;
  (void)sb_shardset_find(shards, number, 0, &reader);
  SB_TRY(sb_alloc_raw(&string, bytes, 1, "order of channels"));
  sb_status status = sb_shardset_read(shards, number, 0, string, bytes);
  if (status == SB_OK &&
      sb_order_string_unpack(order->from, string, order->size, block_of(m, i)) != SB_OK)
    status = sb_fail(SB_ERR_FORMAT, "%s: %s: %s", sb_shard_reader_path(reader), order->name,
                     sb_message());
  sb_free(&string);
  return status;
}

sb_status sb_stored_orders_read(sb_model *m, const sb_shardset *shards) {
  size_t number = m->arch.count;
  for (size_t i = 0; i < m->orders.count; i++)
    if (bytes_of(m, i) > 0) SB_TRY(read_order(m, shards, i, (uint32_t)number++));
  return SB_OK;
}

sb_status sb_stored_orders_share(sb_model *m) {
  return sb_mpi_bcast(m->orders.numbers, m->orders.channels * sizeof *m->orders.numbers, 0,
                      m->world->comm);
}
