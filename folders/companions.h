/* The side files of a Hugging Face folder: all that is neither weights nor their index. Every
 * folder that is made from it gets copies: configuration, tokenizer (which may have many files, and
 * files with names of their own), templates, generation settings, model card, code.
 *
 * These stay behind:
 *
 *   weights       by the end of the name, in any case: .safetensors .bin .pt .pth .ckpt .gguf .ggml
 *                 .h5 .keras .msgpack .onnx .onnx_data .tflite .mlmodel .ot .npz .pkl .pickle .nemo
 *   indexes       *.index.json
 *   outputs       manifest.json and *.sbz of an output folder, training.json of a checkpoint
 *   unfinished    *.incomplete, *.part, *.lock, and temporary names of runs (io/unfinished.h)
 *   hidden        names that begin with a dot
 *   large         files of more than 1 GiB
 *   subfolders    but additional_chat_templates, which transformers writes for a tokenizer
 *   no files      pipes, devices, sockets, links to nowhere
 *
 * Links are followed. All functions are local. */
#ifndef SB_FOLDERS_COMPANIONS_H
#define SB_FOLDERS_COMPANIONS_H

#include <jansson.h>
#include <stdbool.h>

#include "base/status.h"
#include "io/outdir.h"
#include "model/config.h"

/* Whether a file of that name is a side file, by the first five rules. Pure. */
bool sb_companions_is_one(const char *name);

/* Copies the side files of folder `source` into the partial folder of `out`. One line of the log
 * names what stays behind by the last three rules. SB_ERR_IO for a side file that cannot be read or
 * copied. A `source` that cannot be listed has none: whoever reads its weights will tell. */
sb_status sb_companions_copy(const char *source, const sb_outdir *out);
/* For a model that is made of a configuration alone: copies the file `config` as config.json, and
 * what belongs to a tokenizer beside it, by the names that transformers uses. SB_ERR_IO. */
sb_status sb_companions_copy_config(const char *config, const sb_outdir *out);
/* Makes config.json in `folder`, a copy of the source's, say what the tensors made of it
 * (sb_config_restate); its text stays where it says so already. *out is the JSON, which the caller
 * releases with json_decref. SB_ERR_IO, SB_ERR_FORMAT. */
sb_status sb_companions_restate(const char *folder, const sb_config *config, json_t **out);
/* Opens every file that would be copied. SB_ERR_IO names one that cannot be read. */
sb_status sb_companions_check(const char *source);

#endif
