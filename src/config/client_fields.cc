#include "config/fields.h"

// What a client's file may say. Ranges are those of the design, wide enough for any real run and
// narrow enough to catch a slipped digit.

namespace amaq::config {
namespace {

void Append(FieldList* list, FieldList more) {
  list->insert(list->end(), more.begin(), more.end());
}

FieldList ModelFields(ModelConfig* c) {
  return {
      {.key = "model.model_name_or_path",
       .target = &c->model_name_or_path,
       .help = "The base model: a folder in Hugging Face layout or a .gguf file; only this party's "
               "tensors are read.",
       .example = "../out/quickstart/model.gguf",
       .aliases = "model_name_or_path",
       .flag = "--model",
       .is_path = true,
       .required = true},
      {.key = "model.hub_name",
       .target = &c->hub_name,
       .help = "Name written as base_model_name_or_path into the adapter; empty: the path.",
       .example = "HuggingFaceTB/SmolLM2-135M-Instruct"},
      {.key = "model.dtype",
       .target = &c->dtype,
       .help = "Type that both parties compute in; the LoRA weights are fp32 in any case.",
       .names = "fp32 bf16"},
  };
}

FieldList SplitFields(SplitConfig* c) {
  return {
      {.key = "split.client_blocks",
       .target = &c->client_blocks,
       .help = "Where the model is cut: the client holds the embedding and this many blocks, the "
               "server the rest.",
       .min = 0,
       .max = 1024,
       .unit = "blocks",
       .example = "10",
       .flag = "--client-blocks",
       .required = true},
  };
}

FieldList LoraFields(LoraConfig* c) {
  return {
      {.key = "lora.r",
       .target = &c->r,
       .help = "Rank of the adapters.",
       .min = 1,
       .max = 1024,
       .aliases = "r lora_r lora_rank",
       .flag = "--lora-r"},
      {.key = "lora.lora_alpha",
       .target = &c->lora_alpha,
       .help = "Scale of the adapters: alpha / r, or alpha / sqrt(r) with use_rslora.",
       .min = 0.001,
       .max = 1e6,
       .aliases = "lora_alpha",
       .flag = "--lora-alpha"},
      {.key = "lora.lora_dropout",
       .target = &c->lora_dropout,
       .help = "Share of an adapter's input that is dropped in training.",
       .min = 0,
       .max = 0.95,
       .aliases = "lora_dropout"},
      {.key = "lora.use_rslora",
       .target = &c->use_rslora,
       .help = "Rank-stabilised scale, alpha / sqrt(r).",
       .aliases = "use_rslora"},
      {.key = "lora.target_modules",
       .target = &c->target_modules,
       .help = "Linear layers that get an adapter, by leaf name; all-linear: each of a block.",
       .example = "[q_proj, k_proj, v_proj, o_proj]",
       .aliases = "target_modules lora_target lora_target_modules",
       .flag = "--target-modules"},
      {.key = "lora.init_from",
       .target = &c->init_from,
       .help = "Folder of a PEFT adapter to start from; empty: fresh (A random, B zero). The "
               "server's half is sent to it.",
       .example = "../out/first-run/adapter",
       .aliases = "adapter_name_or_path",
       .flag = "--init-from",
       .is_path = true},
  };
}

FieldList DataFields(DataConfig* c) {
  return {
      {.key = "data.train_file",
       .target = &c->train_file,
       .help = "Training records, JSON Lines.",
       .example = "../out/quickstart/data/train.jsonl",
       .aliases = "train_file",
       .flag = "--train-file",
       .is_path = true,
       .required = true},
      {.key = "data.eval_file",
       .target = &c->eval_file,
       .help = "Held-out records for the loss before and after; empty: no evaluation.",
       .example = "../out/quickstart/data/eval.jsonl",
       .aliases = "eval_file validation_file",
       .flag = "--eval-file",
       .is_path = true},
      {.key = "data.format",
       .target = &c->format,
       .help = "Shape of a record; auto: template if one is given, else by the first record's "
               "fields.",
       .names = "auto prompt-completion alpaca messages template"},
      {.key = "data.prompt_template",
       .target = &c->prompt_template,
       .help = "The prompt, with {field} for a record's field; not trained on.",
       .example = R"("Question: {question}\nAnswer:")"},
      {.key = "data.completion_template",
       .target = &c->completion_template,
       .help = "The completion, which the loss is taken over.",
       .example = R"(" {answer}")"},
      {.key = "data.append_eos",
       .target = &c->append_eos,
       .help = "Ends a completion with the end-of-sequence token and trains on it."},
      {.key = "data.max_length",
       .target = &c->max_length,
       .help = "Longer records are truncated (and counted).",
       .min = 2,
       .max = 131072,
       .unit = "tokens",
       .aliases = "max_length cutoff_len max_seq_length",
       .flag = "--max-length"},
      {.key = "data.max_train_records",
       .target = &c->max_train_records,
       .help = "Only the first records of train_file; 0: all.",
       .min = 0,
       .max = 1e12,
       .unit = "records",
       .aliases = "max_train_samples"},
      {.key = "data.max_eval_records",
       .target = &c->max_eval_records,
       .help = "Only the first records of eval_file; 0: all.",
       .min = 0,
       .max = 1e12,
       .unit = "records",
       .aliases = "max_eval_samples"},
      {.key = "data.on_bad_line",
       .target = &c->on_bad_line,
       .help = "A line that is no record ends the run (naming it) or is skipped and counted.",
       .names = "error skip"},
      {.key = "data.shuffle",
       .target = &c->shuffle,
       .help = "A new order each epoch, drawn from train.seed; false: file order."},
      {.key = "data.tokenizer",
       .target = &c->tokenizer,
       .help = "tokenizer.json, or a folder with one or with vocab.json and merges.txt; empty: the "
               "model's own.",
       .example = "../tokenizers/smollm2",
       .is_path = true},
  };
}

FieldList OutputFields(OutputConfig* c) {
  return {
      {.key = "output.dir",
       .target = &c->dir,
       .help = "Folder for the adapter, logs, results and the effective config.",
       .example = "../out/quickstart/adapter",
       .aliases = "output_dir",
       .flag = "--output-dir",
       .is_path = true},
      {.key = "output.save_steps",
       .target = &c->save_steps,
       .help = "Writes the joined adapter as it is every so many steps; 0: at the end only.",
       .min = 0,
       .max = kMaxSteps,
       .unit = "steps",
       .aliases = "save_steps",
       .flag = "--save-steps"},
      {.key = "output.overwrite",
       .target = &c->overwrite,
       .help = "Allows a folder that already holds the results of a run.",
       .aliases = "overwrite_output_dir",
       .flag = "--overwrite"},
      {.key = "output.progress",
       .target = &c->progress,
       .help = "The progress line: a bar that redraws itself, plain lines, or none; auto: bar on a "
               "terminal.",
       .names = "auto bar plain none",
       .flag = "--progress"},
  };
}

FieldList WireFields(ClientConfig* c) {
  return {
      {.key = "server.address",
       .target = &c->server.address,
       .help = "The server as host:port, or inproc to run both halves in this process.",
       .example = "127.0.0.1:7420",
       .flag = "--server"},
      {.key = "server.connect_timeout_s",
       .target = &c->server.connect_timeout_s,
       .help = "How long the client tries to reach the server at the start.",
       .min = 0.1,
       .max = 86400,
       .unit = "seconds"},
      {.key = "server.silence_timeout_s",
       .target = &c->server.silence_timeout_s,
       .help = "The run ends when the server shows no sign of life for so long.",
       .min = 0.1,
       .max = 86400,
       .unit = "seconds"},
      {.key = "wire.dtype",
       .target = &c->wire.dtype,
       .help = "Type of tensors that cross without codes (method none).",
       .names = "fp32 bf16 fp16",
       .flag = "--wire-dtype"},
      {.key = "wire.chunk_bytes",
       .target = &c->wire.chunk_bytes,
       .help = "Messages cross in pieces of this size at most.",
       .min = 64 * 1024,
       .max = 4 * 1024 * 1024,
       .unit = "bytes"},
      {.key = "wire.entropy",
       .target = &c->wire.entropy,
       .help = "Lossless coding of the codes, both ways: the same training in 20 to 40 % fewer "
               "bytes, for some processor time. auto: where the link is slow enough for that to be "
               "faster; off in one process.",
       .names = "off on auto",
       .flag = "--entropy"},
      {.key = "wire.capture_dir",
       .target = &c->wire.capture_dir,
       .help = "Stores each message of the run in this folder, for inspection; empty: off.",
       .example = "../out/capture",
       .flag = "--capture-dir",
       .is_path = true},
      {.key = "security.allow_plaintext",
       .target = &c->security.allow_plaintext,
       .help =
           "Allows an unencrypted connection to another machine; everything on the way can then "
           "be read and changed."},
      {.key = "device", .target = &c->device, .help = "Where this party computes.", .names = "cpu"},
      {.key = "log_level",
       .target = &c->log_level,
       .help = "Which log lines appear on standard error.",
       .names = "debug info warning error",
       .flag = "--log-level"},
  };
}

}  // namespace

FieldList FieldsOf(ClientConfig* config) {
  FieldList list;
  Append(&list, ModelFields(&config->model));
  Append(&list, SplitFields(&config->split));
  Append(&list, LoraFields(&config->lora));
  Append(&list, QuantFields(&config->quant));
  Append(&list, DataFields(&config->data));
  Append(&list, TrainFields(&config->train));
  Append(&list, OutputFields(&config->output));
  Append(&list, WireFields(config));
  return list;
}

}  // namespace amaq::config
