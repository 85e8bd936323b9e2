#ifndef AMAQ_CLIENT_CLIENT_H_
#define AMAQ_CLIENT_CLIENT_H_

// One run of the client from config to adapter: data, model, session, evaluation, training,
// results. Prints what a person wants to see to standard output. Lane-bound.

#include <atomic>

#include "config/config.h"
#include "transport/link.h"

namespace amaq::client {

enum class RunOutcome { kDone, kInterrupted };

// `interrupted` is looked at after each step: a run that is told to stop saves what it has as a
// checkpoint and closes its session. Errors: amaq::Error naming what was wrong; no adapter is
// written.
RunOutcome RunClient(const config::ClientConfig& config, transport::Link& link,
                     const std::atomic<bool>& interrupted);

}  // namespace amaq::client

#endif  // AMAQ_CLIENT_CLIENT_H_
