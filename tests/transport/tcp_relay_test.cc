#include "tests/support/tcp_relay.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

namespace amaq::test {
namespace {

sockaddr_in Loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

TEST(TcpRelayTest, CountsEveryByteOfBothDirections) {
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = Loopback(0);
  socklen_t size = sizeof(address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  ASSERT_EQ(::bind(listener, generic, size), 0);
  ASSERT_EQ(::listen(listener, 1), 0);
  ASSERT_EQ(::getsockname(listener, generic, &size), 0);
  TcpRelay relay(ntohs(address.sin_port));
  const int client = ::socket(AF_INET, SOCK_STREAM, 0);
  address = Loopback(relay.port());
  ASSERT_EQ(::connect(client, generic, size), 0);
  const int server = ::accept(listener, nullptr, nullptr);

  char buffer[8] = {};
  ASSERT_EQ(::send(client, "hello", 5, 0), 5);
  ASSERT_EQ(::recv(server, buffer, 5, MSG_WAITALL), 5);
  EXPECT_EQ(std::string(buffer, 5), "hello");
  ASSERT_EQ(::send(server, "you", 3, 0), 3);
  ASSERT_EQ(::recv(client, buffer, 3, MSG_WAITALL), 3);

  EXPECT_EQ(relay.bytes(), 8u);
  ::close(client);
  ::close(server);
  ::close(listener);
}

}  // namespace
}  // namespace amaq::test
