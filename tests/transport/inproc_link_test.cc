#include "transport/inproc_link.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/contract/link_contract.h"
#include "transport/capture.h"

namespace amaq::test {
namespace {

class InprocHarness {
 public:
  explicit InprocHarness(transport::Endpoint& endpoint) : endpoint_(endpoint) {}
  std::unique_ptr<transport::Link> Connect() {
    return transport::InprocLink::Create(
        {.endpoint = &endpoint_, .chunk_bytes = transport::kMinChunkBytes});
  }

 private:
  transport::Endpoint& endpoint_;
};

INSTANTIATE_TYPED_TEST_SUITE_P(Inproc, LinkContract, InprocHarness);

TEST(InprocLinkTest, CapturesBothDirections) {
  const std::string dir = ::testing::TempDir() + "/inproc_capture";
  std::filesystem::remove_all(dir);
  ScriptedEndpoint endpoint;
  const auto link = transport::InprocLink::Create({.endpoint = &endpoint, .capture_dir = dir});
  link->Open({});
  const transport::Message message = Forward(2, 1, {100});

  link->Send(message);
  link->Receive();

  ExpectEqual(transport::ReadCapture(dir + "/step00000002.attempt0.mb0001.FORWARD.up.frame"),
              message);
  EXPECT_TRUE(std::filesystem::exists(dir + "/step00000002.attempt0.mb0001.BACKWARD.down.frame"));
}

TEST(InprocLinkTest, RefusesChunksOutsideTheRange) {
  ScriptedEndpoint endpoint;

  EXPECT_THROWS(transport::InprocLink::Create({.endpoint = &endpoint, .chunk_bytes = 1}),
                Code::kInvalidArgument, "wire.chunk_bytes");
}

}  // namespace
}  // namespace amaq::test
