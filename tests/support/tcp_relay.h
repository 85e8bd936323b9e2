#ifndef AMAQ_TESTS_SUPPORT_TCP_RELAY_H_
#define AMAQ_TESTS_SUPPORT_TCP_RELAY_H_

// Passes TCP connections on loopback to another port and counts what crosses, as someone outside
// the process would. Two threads a connection.

#include <atomic>
#include <cstdint>
#include <list>
#include <thread>
#include <vector>

#include "core/mutex.h"

namespace amaq::test {

class TcpRelay {
 public:
  explicit TcpRelay(int target_port);
  ~TcpRelay();  // cuts what is connected
  TcpRelay(const TcpRelay&) = delete;
  TcpRelay& operator=(const TcpRelay&) = delete;

  int port() const { return port_; }
  uint64_t bytes() const { return bytes_; }  // both directions, all connections
  void CutConnections();                     // as a broken cable would; new ones are still taken

 private:
  void Accept();
  void Pump(int from, int to);

  const int target_port_;
  int listener_ = -1;
  int port_ = 0;
  std::atomic<uint64_t> bytes_ = 0;
  std::atomic<bool> stopping_ = false;
  Mutex mutex_;
  std::vector<int> sockets_ AMAQ_GUARDED_BY(mutex_);
  std::list<std::thread> pumps_;  // of the accepting thread, until it is joined
  std::thread acceptor_;
};

}  // namespace amaq::test

#endif  // AMAQ_TESTS_SUPPORT_TCP_RELAY_H_
