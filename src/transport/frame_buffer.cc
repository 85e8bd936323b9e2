#include "transport/frame_buffer.h"

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <utility>
#include <vector>

#include "core/error.h"

namespace amaq::transport {
namespace {

using Owner = std::shared_ptr<const Message>;

void Release(void* owner) { std::unique_ptr<Owner>(static_cast<Owner*>(owner)); }

grpc::Slice ByReference(ByteSpan piece, const Owner& owner) {
  auto reference = std::make_unique<Owner>(owner);
  // gRPC reads slices only; its C interface has no const.
  return {const_cast<uint8_t*>(piece.data()), piece.size(), Release, reference.release()};
}

}  // namespace

grpc::ByteBuffer FrameToBuffer(const Frame& frame, const std::shared_ptr<const Message>& owner) {
  const FrameEnvelope envelope = EncodeFrame(frame);
  std::vector<grpc::Slice> slices;
  slices.reserve(frame.payload.size() + 2);
  slices.emplace_back(envelope.prefix.data(), envelope.prefix.size());
  for (const ByteSpan piece : frame.payload) slices.push_back(ByReference(piece, owner));
  slices.emplace_back(envelope.suffix.data(), envelope.suffix.size());
  return {slices.data(), slices.size()};
}

void WithFrame(const grpc::ByteBuffer& buffer, const std::function<void(const Frame&)>& use) {
  std::vector<grpc::Slice> slices;
  if (!buffer.Dump(&slices).ok()) Throw(Code::kDataLoss, "a received buffer cannot be read");
  std::vector<ByteSpan> pieces;
  pieces.reserve(slices.size());
  for (const grpc::Slice& slice : slices) pieces.emplace_back(slice.begin(), slice.size());
  use(DecodeFrame(pieces));
}

}  // namespace amaq::transport
