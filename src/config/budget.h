#ifndef AMAQ_CONFIG_BUDGET_H_
#define AMAQ_CONFIG_BUDGET_H_

// quant.budget_bits: what a number of bits stands for, as docs/quality.md found best. Internal to
// the module. Pure functions. Source: our choice.

#include "config/party.h"

namespace amaq::config {

// Calls action(key, member of *quant, what the budget wants there) for each key that a budget
// decides. quant: QuantConfig, maybe const, with budget_bits above 0.
template <typename Quant, typename Action>
void ForEachDecided(Quant* quant, const Action& action) {
  const double bits = quant->budget_bits;
  action("quant.method", &quant->method, "amaq-rd");
  action("quant.schedule", &quant->schedule, "constant");
  action("quant.target_bits", &quant->target_bits, bits * 4 / 3);
  action("quant.axis", &quant->axis, "channel");
  action("quant.gradient.method", &quant->gradient.method, "rd");
  action("quant.gradient.bits", &quant->gradient.bits, "same");
  action("quant.gradient.bits_offset", &quant->gradient.bits_offset, 0);
  action("quant.gradient.target_bits", &quant->gradient.target_bits, bits * 2 / 3);
}

// Sets what was left open; where the budget is a flag, what a file says gives way, too.
void ApplyBudget(ClientConfig* config, const Provenance& provenance);
inline void ApplyBudget(ServerFileConfig* /*config*/, const Provenance& /*provenance*/) {}

}  // namespace amaq::config

#endif  // AMAQ_CONFIG_BUDGET_H_
