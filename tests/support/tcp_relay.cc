#include "tests/support/tcp_relay.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

#include "core/check.h"

namespace amaq::test {
namespace {

sockaddr_in Loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

sockaddr* Generic(sockaddr_in* address) { return reinterpret_cast<sockaddr*>(address); }

bool WriteAll(int socket, const char* data, size_t count) {
  while (count > 0) {
    const ssize_t written = ::send(socket, data, count, MSG_NOSIGNAL);
    if (written <= 0) return false;
    data += written;
    count -= static_cast<size_t>(written);
  }
  return true;
}

}  // namespace

TcpRelay::TcpRelay(int target_port) : target_port_(target_port) {
  listener_ = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = Loopback(0);
  socklen_t size = sizeof(address);
  AMAQ_CHECK(::bind(listener_, Generic(&address), size) == 0);
  AMAQ_CHECK(::listen(listener_, 8) == 0);
  AMAQ_CHECK(::getsockname(listener_, Generic(&address), &size) == 0);
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { Accept(); });
}

TcpRelay::~TcpRelay() {
  stopping_ = true;
  ::shutdown(listener_, SHUT_RDWR);  // wakes accept
  acceptor_.join();
  CutConnections();
  for (std::thread& pump : pumps_) pump.join();
  for (const int socket : sockets_) ::close(socket);
  ::close(listener_);
}

void TcpRelay::CutConnections() {
  MutexLock lock(mutex_);
  for (const int socket : sockets_) ::shutdown(socket, SHUT_RDWR);
}

void TcpRelay::Accept() {
  while (!stopping_) {
    const int client = ::accept(listener_, nullptr, nullptr);
    if (client < 0) continue;
    const int server = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = Loopback(target_port_);
    const bool connected = ::connect(server, Generic(&address), sizeof(address)) == 0;
    {
      MutexLock lock(mutex_);
      sockets_.push_back(client);
      sockets_.push_back(server);
    }
    if (!connected) {
      ::shutdown(client, SHUT_RDWR);
      continue;
    }
    pumps_.emplace_back([this, client, server] { Pump(client, server); });
    pumps_.emplace_back([this, client, server] { Pump(server, client); });
  }
}

void TcpRelay::Pump(int from, int to) {
  std::array<char, 65536> buffer;
  while (true) {
    const ssize_t count = ::recv(from, buffer.data(), buffer.size(), 0);
    if (count <= 0) break;
    bytes_ += static_cast<uint64_t>(count);  // before the other side can know of them
    if (!WriteAll(to, buffer.data(), static_cast<size_t>(count))) break;
  }
  ::shutdown(to, SHUT_RDWR);
}

}  // namespace amaq::test
