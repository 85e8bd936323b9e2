#ifndef AMAQ_TRANSPORT_FRAME_BUFFER_H_
#define AMAQ_TRANSPORT_FRAME_BUFFER_H_

// Frames <-> gRPC's byte buffers, payload by reference in both directions. Pure functions.

#include <functional>
#include <memory>

#include "transport/frame.h"
#include "transport/message.h"

namespace grpc {
class ByteBuffer;
}  // namespace grpc

namespace amaq::transport {

// The frame's payload must point into `owner`, which the buffer keeps alive: gRPC frees slices on
// its own threads, at its own time.
grpc::ByteBuffer FrameToBuffer(const Frame& frame, const std::shared_ptr<const Message>& owner);

// Decodes (errors: DecodeFrame) and calls `use`; the frame is valid during the call.
void WithFrame(const grpc::ByteBuffer& buffer, const std::function<void(const Frame&)>& use);

}  // namespace amaq::transport

#endif  // AMAQ_TRANSPORT_FRAME_BUFFER_H_
