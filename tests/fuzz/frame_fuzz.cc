// Frames: the input as one frame in pieces, then as the fields of frames with right CRCs, which a
// hostile peer would send. What is decoded must be the same when written and read again.
//
// Input of the second part: up to 8 times u8 flags, u8 index, u8 count, u16 total, u8 length of
// header, u8 length of payload, the two.

#include <vector>

#include "core/digest.h"
#include "tests/fuzz/fuzz.h"
#include "transport/chunker.h"
#include "transport/frame.h"

namespace {

using amaq::Bytes;
using amaq::ByteSpan;
using amaq::transport::Assembler;
using amaq::transport::Frame;

void DecodeRaw(ByteSpan input) {
  const size_t middle = input.size() / 2;
  const ByteSpan pieces[] = {input.subspan(0, middle), input.subspan(middle)};
  const auto error = amaq::fuzz::CodeOf([&] {
    const Frame frame = amaq::transport::DecodeFrame(pieces);
    const Bytes flat = amaq::transport::FlattenFrame(frame);
    const ByteSpan whole[] = {flat};
    const Frame again = amaq::transport::DecodeFrame(whole);
    FUZZ_CHECK(again.key == frame.key && again.header == frame.header);
    FUZZ_CHECK(PayloadBytes(again) == PayloadBytes(frame));
    Assembler(1 << 16).Add(frame);
  });
  FUZZ_CHECK(!error || *error == amaq::Code::kDataLoss || *error == amaq::Code::kInvalidArgument);
}

void Assemble(amaq::fuzz::Input input) {
  Assembler assembler(1 << 12);
  amaq::DigestStream digest;
  for (int i = 0; i < 8; ++i) {
    Frame frame;
    const uint8_t flags = input.Byte();
    frame.key.phase = amaq::transport::Phase::kForward;
    frame.key.step = flags >> 6;
    frame.sequence = 1 + (flags & 1);
    frame.index = input.Byte();
    frame.count = input.Byte();
    frame.total_bytes = input.Word();
    const size_t header_bytes = input.Byte();
    const size_t payload_bytes = input.Byte();
    const ByteSpan header = input.Take(header_bytes);
    frame.header.assign(header.begin(), header.end());
    frame.payload = {input.Take(payload_bytes)};
    digest.Update(frame.header);
    digest.Update(frame.payload[0]);
    frame.digest = (flags & 2) != 0 ? flags : digest.value();
    frame.crc32c = amaq::transport::FrameCrc(frame);
    const Bytes flat = amaq::transport::FlattenFrame(frame);
    const ByteSpan pieces[] = {flat};
    const auto message = assembler.Add(amaq::transport::DecodeFrame(pieces));
    if (!message) continue;
    uint64_t bytes = 0;
    for (const amaq::Section& section : message->sections) bytes += section.bytes.size();
    FUZZ_CHECK(bytes == frame.total_bytes);
    return;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  DecodeRaw({data, size});
  const auto error = amaq::fuzz::CodeOf([&] { Assemble({data, size}); });
  FUZZ_CHECK(!error || *error == amaq::Code::kDataLoss || *error == amaq::Code::kInvalidArgument);
  return 0;
}
