#ifndef AMAQ_TRANSPORT_LIMITS_H_
#define AMAQ_TRANSPORT_LIMITS_H_

// Sizes that both ends hold to, in bytes. Source: design "The wire", section 2 (our choice).

#include <cstddef>
#include <cstdint>

namespace amaq::transport {

// wire.chunk_bytes: payload of one frame.
inline constexpr uint32_t kMinChunkBytes = 64u << 10;
inline constexpr uint32_t kDefaultChunkBytes = 512u << 10;
inline constexpr uint32_t kMaxChunkBytes = 4u << 20;

// A serialized StepHeader is smaller than this: what grows with tokens or channels is a section.
inline constexpr size_t kMaxHeaderBytes = 8u << 10;
inline constexpr size_t kMaxSections = 64;

// A frame may be larger than its payload by header and fields; gRPC's receive limit is the chunk
// plus this.
inline constexpr uint32_t kReceiveSlack = 64u << 10;

// gRPC's own prefix of each message: compression flag and length.
inline constexpr uint64_t kGrpcPrefixBytes = 5;

// Defaults of what a peer may make us hold.
inline constexpr uint64_t kDefaultMaxMessageBytes = 256u << 20;
inline constexpr uint64_t kDefaultMaxAdapterBytes = 1u << 30;

// Throws kInvalidArgument naming wire.chunk_bytes when it is outside its range.
void CheckChunkBytes(uint32_t chunk_bytes);

}  // namespace amaq::transport

#endif  // AMAQ_TRANSPORT_LIMITS_H_
