#include "transport/status_convert.h"

#include <grpcpp/support/status.h>
#include <gtest/gtest.h>

#include <string>

namespace amaq::transport {
namespace {

TEST(StatusConvertTest, EveryCodeComesBackWithItsSentence) {
  for (int code = 1; code <= 16; ++code) {
    const Error error(static_cast<Code>(code), "a sentence");

    const grpc::Status status = ToStatus(error);

    EXPECT_EQ(static_cast<int>(status.error_code()), code);
    EXPECT_EQ(FromStatus(status).code(), error.code());
    EXPECT_EQ(FromStatus(status).message(), "a sentence");
  }
}

// One name a number, so that a renumbered enum on either side is seen.
TEST(StatusConvertTest, NamesAgree) {
  EXPECT_EQ(static_cast<int>(grpc::StatusCode::UNAVAILABLE), static_cast<int>(Code::kUnavailable));
  EXPECT_EQ(static_cast<int>(grpc::StatusCode::DATA_LOSS), static_cast<int>(Code::kDataLoss));
  EXPECT_EQ(static_cast<int>(grpc::StatusCode::ABORTED), static_cast<int>(Code::kAborted));
  EXPECT_EQ(static_cast<int>(grpc::StatusCode::INVALID_ARGUMENT),
            static_cast<int>(Code::kInvalidArgument));
  EXPECT_EQ(static_cast<int>(grpc::StatusCode::UNAUTHENTICATED),
            static_cast<int>(Code::kUnauthenticated));
}

TEST(StatusConvertTest, ACodeOutsideTheTableIsUnknown) {
  const grpc::Status status(grpc::StatusCode::DO_NOT_USE, "odd");

  EXPECT_EQ(FromStatus(status).code(), Code::kUnknown);
}

TEST(StatusConvertTest, LongSentencesAreCut) {
  EXPECT_EQ(ToStatus({Code::kInternal, std::string(5000, 'x')}).error_message().size(), 2048u);
}

TEST(StatusConvertTest, LostConnectionsNameThePeerAndRefusalsStayAsTheyAre) {
  const grpc::Status lost(grpc::StatusCode::UNAVAILABLE, "Socket closed");
  const grpc::Status refused(grpc::StatusCode::FAILED_PRECONDITION, "no");

  EXPECT_EQ(FromCall(lost, "Open", "host:1").message(),
            "Open with the server at host:1 ended: Socket closed");
  EXPECT_EQ(FromCall(refused, "Open", "host:1").message(), "no");
  EXPECT_EQ(FromCall(grpc::Status::CANCELLED, "Open", "host:1").code(), Code::kUnavailable);
}

}  // namespace
}  // namespace amaq::transport
