#include "plan/basis.h"

#include "base/memory.h"
#include "model/chunks.h"

sb_file_shape sb_plan_file_shape(const sb_plan_setup *s) {
  return (sb_file_shape){
      .arch = s->arch, .dtype = s->source, .blocking = s->blocking, .mode = s->reorder};
}

sb_wave_sizes sb_plan_wave_sizes(const sb_plan_basis *b, size_t room) {
  return (sb_wave_sizes){&b->sizes, &b->backend, b->setup->seqlen, room, b->chunk};
}

size_t sb_plan_local(const sb_plan_setup *s, size_t seqs) {
  return sb_div_up(seqs, s->ranks);
}

size_t sb_plan_wave(const sb_plan_setup *s, size_t local, double each) {
  const double fit = (double)s->input_bytes / each;
  return fit >= (double)local ? sb_max_size(local, 1) : fit >= 1.0 ? (size_t)fit : 1;
}

double sb_plan_head_flops(const sb_plan_setup *s) {
  const sb_config *c = &s->arch->config;
  return 2.0 * (double)s->seqlen * (double)c->vocab * (double)c->hidden;
}

size_t sb_plan_node_ranks(const sb_plan_setup *s) {
  return sb_min_size(s->ranks, s->ranks_per_node);
}

size_t sb_plan_gpu_ranks(const sb_plan_setup *s) {
  return sb_div_up(sb_plan_node_ranks(s), s->gpus_per_node);
}

/* Bytes of a decoder layer, of the layer that has most. */
static size_t most_layer_bytes(const sb_plan_setup *s) {
  const sb_arch *a = s->arch;
  size_t most = 0;
  for (size_t layer = 0; layer < a->config.layers; layer++) {
    size_t elements = 0;
    for (size_t i = 0; i < a->count; i++)
      if (a->tensors[i].layer == layer) elements += a->tensors[i].rows * a->tensors[i].cols;
    most = sb_max_size(most, elements);
  }
  return most * sb_dtype_size(s->source);
}

/* Embedding and LM head as the packed model has them. */
static void find_tables(sb_plan_basis *b) {
  const sb_plan_setup *s = b->setup;
  const sb_file_shape shape = sb_plan_file_shape(s);
  for (size_t i = 0; i < sb_file_tables(&shape); i++) {
    const unsigned bits = s->tables.bits[i] ? s->tables.bits[i] : SB_SOURCE_BITS;
    const double bytes = (double)sb_file_table_bytes(&shape, i, bits);
    if (i == 0) b->coded_embedding = bits != SB_SOURCE_BITS;
    b->coded_head = bits != SB_SOURCE_BITS; /* of the last */
    b->packed_tables_bytes += bytes;
    if (bytes > b->packed_table_bytes) b->packed_table_bytes = bytes;
  }
  b->packed_chunk_bytes = b->packed_table_bytes * (double)b->chunk / (double)s->arch->config.vocab;
}

sb_plan_basis sb_plan_basis_of(const sb_plan_setup *s) {
  const sb_config *c = &s->arch->config;
  const size_t source = sb_dtype_size(s->source), layer = most_layer_bytes(s),
               chunk = sb_chunk_rows(c->vocab, c->hidden * source, layer, s->blocking.rows);
  sb_plan_basis b = {.setup = s,
                     .sizes = sb_sizes_even(s->arch, &s->blocking, s->ranks),
                     .backend = {.act = SB_F32,
                                 .operand = s->compute == SB_COMPUTE_BF16 ? SB_BF16 : SB_F32,
                                 .unified = true},
                     .nodes = sb_div_up(s->ranks, s->ranks_per_node),
                     .tables = c->tie_embeddings ? 1 : 2,
                     .chunk = chunk,
                     .hidden_bytes = (double)(s->seqlen * c->hidden * sizeof(float)),
                     .model_bytes = (double)s->arch->parameters * (double)source,
                     .table_bytes = (double)(c->vocab * c->hidden * source),
                     .chunk_bytes = (double)(chunk * c->hidden * source)};
  find_tables(&b);
  b.layers_bytes = b.model_bytes - b.table_bytes * (double)b.tables;
  b.group_bytes = (double)layer > b.chunk_bytes ? (double)layer : b.chunk_bytes;
  b.sent = (double)(b.nodes - 1) / (double)s->ranks;
  return b;
}
