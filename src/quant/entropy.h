#ifndef AMAQ_QUANT_ENTROPY_H_
#define AMAQ_QUANT_ENTROPY_H_

// The lossless stage: the kCodes section of a message to a smaller kEntropyCodes section and back,
// bit for bit. It sees symbols, not packed bits, and static tables per class of channels. Who makes
// tables when is EntropySender's; a receiver only follows the versions.
// Thread-safety: the functions are pure, sender and receiver thread-compatible.
// Source: design "AMAQ", section 8; docs/formats/entropy.md.
//
//   EntropySender sender;                                       // one a (cut, direction)
//   sender.Compress(coder.ShapeOf(...), &message.sections);     // may change nothing
//   EntropyReceiver receiver;                                   // at the other party
//   receiver.Restore(coder.ShapeOf(...), &message.sections);    // kCodes again

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/section.h"
#include "quant/entropy_tables.h"
#include "quant/symbols.h"

namespace amaq::quant {

// A kEntropyCodes section, or nullopt when it would be above `max_bytes`. The tables fit the
// widths.
std::optional<Bytes> EncodeCodes(ByteSpan codes, const CodesShape& shape,
                                 const EntropyTables& tables, size_t max_bytes);

// The kCodes section that EncodeCodes was given. Errors: kDataLoss for bytes that it would not have
// made or that name another version of the tables. Allocates in proportion to rows * H.
Bytes DecodeCodes(ByteSpan coded, const CodesShape& shape, const EntropyTables& tables);

// The sender's side of one tensor. Keeps the tables that the receiver has; makes new ones, out of
// the message that first uses them, when there are none, the widths have changed or they have aged.
class EntropySender {
 public:
  // Replaces kCodes by kEntropyCodes (and kEntropyTables in front of it when they are new) if that
  // makes the message smaller by at least 3 % of kCodes; else leaves the sections as they are, as
  // it does where kCodes is not of that shape. A compressed message must be sent, and before any
  // later one.
  void Compress(CodesShape shape, std::vector<Section>* sections);

  // Bytes of kCodes sections so far, and what was sent in their place, tables included.
  uint64_t bytes_in() const { return bytes_in_; }
  uint64_t bytes_out() const { return bytes_out_; }

 private:
  std::optional<EntropyTables> tables_;
  double expected_bits_ = 0;  // a symbol, when tables_ were made
  uint32_t version_ = 0;      // newest
  uint64_t bytes_in_ = 0;
  uint64_t bytes_out_ = 0;
};

// The receiver's side: holds the newest tables.
class EntropyReceiver {
 public:
  // Replaces kEntropyCodes by the kCodes section that it stands for and takes in kEntropyTables; a
  // message without them is left as it is. Errors: kDataLoss for bytes that no sender makes, for
  // tables or codes where there should be none, for an unknown version. On error nothing was
  // changed.
  void Restore(CodesShape shape, std::vector<Section>* sections);

 private:
  std::optional<EntropyTables> tables_;
};

}  // namespace amaq::quant

#endif  // AMAQ_QUANT_ENTROPY_H_
