#ifndef AMAQ_CLIENT_SETTINGS_H_
#define AMAQ_CLIENT_SETTINGS_H_

// The client's config as the options of the modules that it drives. Pure functions; the config was
// validated before.

#include <cstddef>
#include <cstdint>

#include "config/config.h"
#include "data/dataset.h"
#include "models/loader.h"
#include "quant/config.h"
#include "train/cut.h"
#include "train/optimizer.h"
#include "transport/open.h"

namespace amaq::client {

data::DatasetOptions DatasetOptionsOf(const config::ClientConfig& config, uint64_t max_records);
models::StageOptions StageOptionsOf(const config::ClientConfig& config);
train::CutOptions CutOptionsOf(const config::ClientConfig& config);
train::AdamWOptions OptimizerOf(const config::ClientConfig& config);
train::LrSchedule ScheduleOf(const config::ClientConfig& config, uint64_t max_steps);
quant::WidthConfig WidthConfigOf(const config::ClientConfig& config, uint64_t max_steps);

// What Open says of the run. max_tokens: of the largest micro-batch; max_steps: of the run.
transport::OpenRequest OpenRequestOf(const config::ClientConfig& config, const std::string& run_id,
                                     const models::Fingerprint& model, uint64_t max_tokens,
                                     uint64_t max_steps);

// Messages that a link's queues must hold: the run sends a whole window, with a COMMIT in front,
// before it receives.
size_t QueueMessages(const config::ClientConfig& config);

// Optimizer steps of the run: train.max_steps, or as many as the epochs take.
uint64_t MaxSteps(const config::TrainConfig& train, uint64_t micro_batches_per_epoch);

}  // namespace amaq::client

#endif  // AMAQ_CLIENT_SETTINGS_H_
