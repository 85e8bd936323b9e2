#ifndef AMAQ_TESTS_PARITY_ACCOUNT_H_
#define AMAQ_TESTS_PARITY_ACCOUNT_H_

// What a way to send activations costs and does, over messages: bits, error and loss.

#include <cstdint>

#include "tests/parity/split_model.h"

namespace amaq {

// What a scheme makes of the held-out records.
struct Outcome {
  double code_bits = 0;   // of the codes, an element of the rows that they are of
  double total_bits = 0;  // everything, an element of all rows
  double error = 0;       // mean square, of the rows that are no sinks
  double loss = 0;
};

class Account {
 public:
  explicit Account(const SplitModel& model) : model_(model) {}

  struct Sent {
    uint64_t code_bytes = 0;
    uint64_t code_rows = 0;
    uint64_t all_bytes = 0;
  };
  void Add(const Crossing& crossing, const at::Tensor& x_hat, const Sent& sent) {
    const auto channels = static_cast<double>(crossing.x.size(1));
    code_bits_ += 8 * static_cast<double>(sent.code_bytes);
    code_elements_ += channels * static_cast<double>(sent.code_rows);
    all_bits_ += 8 * static_cast<double>(sent.all_bytes);
    coded_ += channels * static_cast<double>(crossing.coded.size());
    elements_ += channels * static_cast<double>(crossing.batch.num_tokens());
    const at::Tensor error = (RowsOf(x_hat, crossing.coded) - RowsOf(crossing.x, crossing.coded));
    squares_ += error.to(at::kDouble).square().sum().item<double>();
    const models::LossResult loss = model_.Loss(crossing, x_hat);
    loss_ += loss.loss_sum;
    tokens_ += static_cast<double>(loss.tokens);
  }
  Outcome Result(double bits_of_run) const {
    return {code_bits_ / code_elements_, all_bits_ / elements_ + bits_of_run, squares_ / coded_,
            loss_ / tokens_};
  }

 private:
  const SplitModel& model_;
  double code_bits_ = 0, code_elements_ = 0, all_bits_ = 0, coded_ = 0, elements_ = 0, squares_ = 0;
  double loss_ = 0, tokens_ = 0;
};

}  // namespace amaq

#endif  // AMAQ_TESTS_PARITY_ACCOUNT_H_
