#ifndef AMAQ_TRANSPORT_STEP_HEADER_H_
#define AMAQ_TRANSPORT_STEP_HEADER_H_

// A message's StepHeader (frame.proto) <-> bytes: everything of a Message but its key (which is in
// every frame) and the sections' contents (which are the payload). Pure functions.

#include <vector>

#include "core/section.h"
#include "transport/message.h"

namespace amaq::transport {

// kInvalidArgument when it has kMaxHeaderBytes or more, or more than kMaxSections sections.
Bytes EncodeStepHeader(const Message& message);

struct SectionShape {
  SectionKind kind;
  uint64_t length;  // bytes
};

// Fills everything of `message` but key and sections; returns what the payload consists of, its
// lengths unchecked. Unknown fields are skipped, values outside an enum are kInvalidArgument.
std::vector<SectionShape> DecodeStepHeader(ByteSpan header, Message* message);

}  // namespace amaq::transport

#endif  // AMAQ_TRANSPORT_STEP_HEADER_H_
