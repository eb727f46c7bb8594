// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// A push service that costs next to nothing: HTTP/1.1 with keep-alive, on the
// loopback interface. What is in the requests isn't looked at.
//
//   push-sink MODE PORT STATS-FILE
//
// MODE: ok      answers 201
//       503     answers that
//       hang    reads requests, and answers none
//       drip    sends an octet of a header that never ends, five a second
//       refuse  has the port, and refuses connections
//
// SIGUSR1 turns any of them into ok; what hangs is answered then. Prints "ready".
// STATS-FILE is mapped into memory: the number of requests, and then for each of
// the last kRecords its time (nanoseconds of CLOCK_MONOTONIC, once its last octet
// was read) and the number behind the last slash of its path.

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace {

constexpr uint64_t kRecords = 1U << 20U;
constexpr size_t kMaxHeader = 65536;
constexpr size_t kMaxBody = 1U << 20U;
constexpr long kDripNsecs = 200000000;

struct Record {
  uint64_t nsecs;
  uint64_t number;
};

struct Stats {
  std::atomic<uint64_t> count;
  uint64_t unused;
  Record records[kRecords];
};

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "push-sink: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}

uint64_t Now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000U + static_cast<uint64_t>(now.tv_nsec);
}

Stats* MapStats(const char* path) {
  const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd == -1 || ftruncate(fd, sizeof(Stats)) != 0) {
    Die(path);
  }
  void* memory = mmap(nullptr, sizeof(Stats), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) {
    Die(path);
  }
  close(fd);
  return static_cast<Stats*>(memory);
}

struct Connection {
  int fd = -1;
  std::string input;
  // Requests that weren't answered.
  int held = 0;
  bool drips = false;

  ~Connection() {
    close(fd);
  }
};

class Sink {
 public:
  Sink(std::string mode, int port, const char* stats)
      : mode_(std::move(mode)), stats_(MapStats(stats)) {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int on = 1;
    setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (listener_ == -1 ||
        bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
      Die("can't bind");
    }
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR1);
    sigprocmask(SIG_BLOCK, &signals, nullptr);
    signal_ = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    timer_ = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    const itimerspec times = {{0, kDripNsecs}, {0, kDripNsecs}};
    if (mode_ == "drip") {
      timerfd_settime(timer_, 0, &times, nullptr);
    }
    Watch(signal_);
    Watch(timer_);
    if (mode_ != "refuse") {
      Listen();
    }
    std::signal(SIGPIPE, SIG_IGN);
  }

  [[noreturn]] void Run() {
    for (;;) {
      epoll_event events[256];
      const int count = epoll_wait(epoll_, events, 256, -1);
      for (int i = 0; i < count; ++i) {
        const int fd = events[i].data.fd;
        if (fd == listener_) {
          Accept();
        } else if (fd == signal_) {
          BecomeOk();
        } else if (fd == timer_) {
          Drip();
        } else {
          OnReadable(fd);
        }
      }
    }
  }

 private:
  void Watch(int fd) const {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (fd == -1 || epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) {
      Die("epoll");
    }
  }

  void Listen() const {
    if (listen(listener_, 1024) != 0) {
      Die("can't listen");
    }
    Watch(listener_);
  }

  void Accept() {
    int fd = -1;
    while ((fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)) != -1) {
      const int on = 1;
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
      auto connection = std::make_unique<Connection>();
      connection->fd = fd;
      connections_[fd] = std::move(connection);
      Watch(fd);
    }
  }

  // What can't be sent at once isn't: the other side is ours, and reads.
  static void Send(const Connection& connection, std::string_view data) {
    (void)!write(connection.fd, data.data(), data.size());
  }

  void Answer(Connection* connection) {
    if (mode_ == "ok") {
      Send(*connection, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
    } else if (mode_ == "503") {
      Send(*connection, "HTTP/1.1 503 Away\r\nContent-Length: 0\r\n\r\n");
    } else if (mode_ == "drip" && !connection->drips) {
      Send(*connection, "HTTP/1.1 201 Created\r\nX: ");
      connection->drips = true;
    } else {
      ++connection->held;
    }
  }

  void BecomeOk() {
    signalfd_siginfo info{};
    (void)!read(signal_, &info, sizeof(info));
    if (mode_ == "refuse") {
      Listen();
    }
    mode_ = "ok";
    const itimerspec never{};
    timerfd_settime(timer_, 0, &never, nullptr);
    for (auto& [fd, connection] : connections_) {
      if (connection->drips) {
        Send(*connection, "\r\nContent-Length: 0\r\n\r\n");
        connection->drips = false;
      }
      for (; connection->held > 0; --connection->held) {
        Answer(connection.get());
      }
    }
  }

  void Drip() const {
    uint64_t times = 0;
    (void)!read(timer_, &times, sizeof(times));
    for (const auto& [fd, connection] : connections_) {
      if (connection->drips) {
        Send(*connection, "x");
      }
    }
  }

  void OnReadable(int fd) {
    Connection* connection = connections_[fd].get();
    char buffer[65536];
    const ssize_t size = read(fd, buffer, sizeof(buffer));
    if (size <= 0) {
      if (size == 0 || (errno != EAGAIN && errno != EINTR)) {
        connections_.erase(fd);
      }
      return;
    }
    connection->input.append(buffer, static_cast<size_t>(size));
    while (TakeRequest(&connection->input)) {
      Answer(connection);
    }
    if (connection->input.size() > kMaxHeader + kMaxBody) {
      connections_.erase(fd);
    }
  }

  bool TakeRequest(std::string* input) {
    const size_t end = input->find("\r\n\r\n");
    if (end == std::string::npos) {
      return false;
    }
    const std::string_view header = std::string_view(*input).substr(0, end + 2);
    constexpr std::string_view kLength = "\r\ncontent-length:";
    size_t body = 0;
    for (size_t at = header.find("\r\n"); at != std::string_view::npos;
         at = header.find("\r\n", at + 2)) {
      if (header.size() - at > kLength.size() &&
          strncasecmp(header.data() + at, kLength.data(), kLength.size()) == 0) {
        // A CR follows.
        body = std::strtoul(header.data() + at + kLength.size(), nullptr, 10);
      }
    }
    if (input->size() < end + 4 + body) {
      return false;
    }
    const size_t path_end = header.find(' ', header.find(' ') + 1);
    const size_t slash = header.rfind('/', path_end);
    const uint64_t count = stats_->count.load(std::memory_order_relaxed);
    stats_->records[count % kRecords] = {
        Now(),
        slash == std::string_view::npos ? 0 : std::strtoul(header.data() + slash + 1, nullptr, 10)};
    stats_->count.store(count + 1, std::memory_order_release);
    input->erase(0, end + 4 + body);
    return true;
  }

  std::string mode_;
  Stats* stats_;
  const int epoll_ = epoll_create1(EPOLL_CLOEXEC);
  int listener_ = -1;
  int signal_ = -1;
  int timer_ = -1;
  std::map<int, std::unique_ptr<Connection>> connections_;
};

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc == 4 ? argv[1] : "";
  if (mode != "ok" && mode != "503" && mode != "hang" && mode != "drip" && mode != "refuse") {
    std::fputs("usage: push-sink ok|503|hang|drip|refuse PORT STATS-FILE\n", stderr);
    return 2;
  }
  Sink sink(mode, std::atoi(argv[2]), argv[3]);
  std::puts("ready");
  std::fflush(stdout);
  sink.Run();
}
