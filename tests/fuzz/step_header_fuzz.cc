// The step header: what is understood must be understood alike when written and read again.

#include "core/section.h"
#include "tests/fuzz/fuzz.h"
#include "transport/step_header.h"

using amaq::transport::Message;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto error = amaq::fuzz::CodeOf([&] {
    Message message;
    const auto shapes = amaq::transport::DecodeStepHeader({data, size}, &message);
    for (const auto& shape : shapes) {
      if (shape.length > 4096) return;  // nobody allocates it: lengths are unchecked here
      message.sections.push_back({shape.kind, amaq::Bytes(shape.length)});
    }
    Message again;
    const amaq::Bytes written = amaq::transport::EncodeStepHeader(message);
    const auto same = amaq::transport::DecodeStepHeader(written, &again);
    FUZZ_CHECK(same.size() == shapes.size());
    FUZZ_CHECK(again.item.index() == message.item.index());
    FUZZ_CHECK(amaq::transport::EncodeStepHeader(message) == written);
    FUZZ_CHECK(again.loss_tokens == message.loss_tokens);
  });
  FUZZ_CHECK(!error || *error == amaq::Code::kDataLoss || *error == amaq::Code::kInvalidArgument);
  return 0;
}
