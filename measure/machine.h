/* The measured figures of a machine: its limits, and the phases of this program as fractions of
 * them. `bench` measures and prints these figures, `plan --machine` predicts from them. All rates
 * are of one rank while all ranks work. */
#ifndef SB_MEASURE_MACHINE_H
#define SB_MEASURE_MACHINE_H

#include <jansson.h>
#include <stddef.h>

#include "base/status.h"
#include "kernels/backend.h"
#include "mpi/world.h"
#include "plan/predict.h"

typedef enum sb_figure {
  /* limits */
  SB_FIGURE_GEMM_F32,
  SB_FIGURE_GEMM_BF16,
  SB_FIGURE_MEMORY_READ, /* of the host */
  SB_FIGURE_MEMORY_COPY, /* of the device: bytes read + bytes written */
  SB_FIGURE_UPLOAD,      /* host to device and back, where they are not one */
  SB_FIGURE_DOWNLOAD,
  SB_FIGURE_SUMS,       /* all-reduce of device memory, however it goes (quant/device_sums.h) */
  SB_FIGURE_DISK_WRITE, /* with fsync */
  SB_FIGURE_DISK_READ,
  SB_FIGURE_COMPRESS, /* zstd, bytes of packed weights */
  SB_FIGURE_DECOMPRESS,
  /* phases */
  SB_FIGURE_FORWARD,
  SB_FIGURE_BACKWARD,
  SB_FIGURE_MOMENTS, /* X'X of --quantizer gptq */
  SB_FIGURE_GRAMS,   /* block-diagonal, exact: --sensitivity hessian */
  SB_FIGURE_FACTOR,
  SB_FIGURE_ROUNDING,
  SB_FIGURE_REFINE,
  SB_FIGURE_FIT,
  SB_FIGURE_QUANTIZE,
  SB_FIGURE_SCORE,
  SB_FIGURE_TRELLIS_12, /* the nearest codes of a trellis of 2^12 states */
  SB_FIGURE_TRELLIS_14,
  SB_FIGURE_TRELLIS_16,
  SB_FIGURE_PACK,
  SB_FIGURE_UNPACK,
  SB_FIGURE_GATHER, /* a layer through the store, bytes per node */
  SB_FIGURES
} sb_figure;
enum { SB_FIRST_PHASE = SB_FIGURE_FORWARD };

/* A figure's key in JSON, its name for people, and its unit: "FLOP/s", "B/s", "weights/s". */
const char *sb_figure_key(sb_figure figure);
const char *sb_figure_label(sb_figure figure);
const char *sb_figure_unit(sb_figure figure);

enum { SB_NETWORK_SIZES = 4 };

typedef struct sb_network_figure {
  double bytes;     /* of the whole result */
  double allgather; /* bytes/s that a rank receives */
  double allreduce; /* bytes/s: 2 (ranks - 1) / ranks x bytes, as the best algorithms move */
} sb_network_figure;

typedef struct sb_machine {
  char backend[16], model[256];
  sb_compute compute; /* of the phases */
  int ranks, nodes, threads;
  size_t seqlen;
  double value[SB_FIGURES];      /* 0: not measured here */
  sb_figure limit[SB_FIGURES];   /* of phases */
  double share[SB_FIGURES];      /* of phases: of their limit */
  size_t read_bytes, copy_bytes; /* that SB_FIGURE_MEMORY_READ and _COPY were measured with */
  sb_network_figure network[SB_NETWORK_SIZES];
  size_t network_count; /* 0 with one rank */
} sb_machine;

/* Sets the rate of a phase, and its share of `limit`, whose rate is known. `cost`: units of the
 * limit that one unit of the phase needs at least (bytes per weight; 1 if both are FLOP/s). */
void sb_machine_phase(sb_machine *machine, sb_figure phase, double rate, sb_figure limit,
                      double cost);

/* The machine as a new JSON value, which the caller releases; and back from a file. SB_ERR_FORMAT
 * for a file that bench did not write. Local. */
json_t *sb_machine_json(const sb_machine *machine);
sb_status sb_machine_read(const char *path, sb_machine *out);

/* The rates that predict a run. Writing is compressing, then the disk. `network` is the rate at
 * which nodes received a layer; 0 if one node alone was measured. */
void sb_machine_rates(const sb_machine *machine, sb_rates *out);

#endif
