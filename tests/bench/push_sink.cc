// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// A push service that costs next to nothing: HTTP/1.1 with keep-alive, on the
// loopback interface. What is in the requests isn't looked at.
//
//   push-sink MODE PORT STATS-FILE [CERTIFICATE]
//
// With a file that has a certificate and its key, it speaks TLS, and HTTP/2
// with those who offer it; `drip` is not for these.
//
// MODE: ok      answers 201
//       503     answers that
//       hang    reads requests, and answers none
//       drip    sends an octet of a header that never ends, five a second
//       refuse  has the port, and refuses connections
//
// SIGUSR1 turns any of them into ok; what hangs is answered then. Prints
// "ready". STATS-FILE is mapped into memory: the number of requests, and then
// for each of the last kRecords its time (nanoseconds of CLOCK_MONOTONIC, once
// its last octet was read) and the number behind the last slash of its path.

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
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
#include <vector>

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

class Sink;

struct Connection {
  Sink* sink = nullptr;
  int fd = -1;
  // Null where it isn't TLS, or not HTTP/2 (yet).
  SSL* tls = nullptr;
  nghttp2_session* http2 = nullptr;
  std::string input;
  // Requests that weren't answered; of HTTP/2 which.
  int held = 0;
  std::vector<int32_t> held_streams;
  bool drips = false;

  Connection() = default;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() {
    nghttp2_session_del(http2);
    SSL_free(tls);
    close(fd);
  }
};

// The number behind the last slash of a path.
uint64_t NumberOf(std::string_view path) {
  const size_t slash = path.rfind('/');
  uint64_t number = 0;
  for (size_t at = slash + 1;
       slash != std::string_view::npos && at < path.size() && path[at] >= '0' && path[at] <= '9';
       ++at) {
    number = number * 10 + static_cast<uint64_t>(path[at] - '0');
  }
  return number;
}

// HTTP/2 for those who offer it.
int ChooseProtocol(SSL* /*tls*/, const unsigned char** out, unsigned char* out_size,
                   const unsigned char* in, unsigned int in_size, void* /*context*/) {
  static constexpr unsigned char kKnown[] = "\x02h2\x08http/1.1";
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, out_size, kKnown, sizeof(kKnown) - 1, in, in_size) !=
      OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_NOACK;
  }
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

class Sink {
 public:
  Sink(std::string mode, int port, const char* stats, const char* certificate)
      : mode_(std::move(mode)), stats_(MapStats(stats)) {
    if (certificate != nullptr) {
      SetUpTls(certificate);
    }
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
      connection->sink = this;
      if (tls_ != nullptr) {
        connection->tls = SSL_new(tls_);
        SSL_set_fd(connection->tls, fd);
        SSL_set_accept_state(connection->tls);
      }
      connections_[fd] = std::move(connection);
      Watch(fd);
    }
  }

  void SetUpTls(const char* certificate) {
    tls_ = SSL_CTX_new(TLS_server_method());
    if (tls_ == nullptr || SSL_CTX_use_certificate_chain_file(tls_, certificate) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls_, certificate, SSL_FILETYPE_PEM) != 1) {
      Die(certificate);
    }
    SSL_CTX_set_alpn_select_cb(tls_, &ChooseProtocol, nullptr);
    nghttp2_session_callbacks_new(&callbacks_);
    nghttp2_session_callbacks_set_on_header_callback(callbacks_, &OnHeader);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks_, &OnFrame);
  }

  // Waits where it can't be sent at once: the other side is ours, and reads.
  static void Send(const Connection& connection, std::string_view data) {
    while (!data.empty()) {
      ERR_clear_error();
      const ssize_t size =
          connection.tls == nullptr
              ? write(connection.fd, data.data(), data.size())
              : SSL_write(connection.tls, data.data(), static_cast<int>(data.size()));
      if (size > 0) {
        data.remove_prefix(static_cast<size_t>(size));
        continue;
      }
      const bool waits = connection.tls == nullptr
                             ? errno == EAGAIN
                             : SSL_get_error(connection.tls, -1) == SSL_ERROR_WANT_WRITE;
      pollfd writable = {connection.fd, POLLOUT, 0};
      if (!waits || poll(&writable, 1, -1) < 0) {
        return;
      }
    }
  }

  void Count(uint64_t number) {
    const uint64_t count = stats_->count.load(std::memory_order_relaxed);
    stats_->records[count % kRecords] = {Now(), number};
    stats_->count.store(count + 1, std::memory_order_release);
  }

  // -- HTTP/2 --

  static int OnHeader(nghttp2_session* session, const nghttp2_frame* frame, const uint8_t* name,
                      size_t name_size, const uint8_t* value, size_t value_size, uint8_t /*flags*/,
                      void* /*context*/) {
    if (std::string_view(reinterpret_cast<const char*>(name), name_size) == ":path") {
      const uint64_t number = NumberOf({reinterpret_cast<const char*>(value), value_size});
      nghttp2_session_set_stream_user_data(session, frame->hd.stream_id,
                                           reinterpret_cast<void*>(number));
    }
    return 0;
  }

  static int OnFrame(nghttp2_session* session, const nghttp2_frame* frame, void* context) {
    if ((frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS) &&
        (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
      auto* connection = static_cast<Connection*>(context);
      const int32_t stream = frame->hd.stream_id;
      connection->sink->Count(
          reinterpret_cast<uint64_t>(nghttp2_session_get_stream_user_data(session, stream)));
      connection->sink->AnswerStream(connection, stream);
    }
    return 0;
  }

  void AnswerStream(Connection* connection, int32_t stream) const {
    if (mode_ != "ok" && mode_ != "503") {
      connection->held_streams.push_back(stream);
      return;
    }
    static uint8_t name[] = ":status";
    static uint8_t good[] = "201";
    static uint8_t bad[] = "503";
    const nghttp2_nv status = {name, mode_ == "ok" ? good : bad, sizeof(name) - 1, 3, 0};
    nghttp2_submit_response(connection->http2, stream, &status, 1, nullptr);
  }

  static void SendFrames(const Connection& connection) {
    const uint8_t* data = nullptr;
    ssize_t size = 0;
    while ((size = nghttp2_session_mem_send(connection.http2, &data)) > 0) {
      Send(connection, {reinterpret_cast<const char*>(data), static_cast<size_t>(size)});
    }
  }

  bool TakeFrames(Connection* connection, std::string_view data) const {
    if (connection->http2 == nullptr) {
      nghttp2_session_server_new(&connection->http2, callbacks_, connection);
      const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 100}};
      nghttp2_submit_settings(connection->http2, NGHTTP2_FLAG_NONE, settings, 1);
    }
    const ssize_t size = nghttp2_session_mem_recv(
        connection->http2, reinterpret_cast<const uint8_t*>(data.data()), data.size());
    SendFrames(*connection);
    return size >= 0;
  }

  // -- HTTP/1.1 --

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
      for (const int32_t stream : connection->held_streams) {
        AnswerStream(connection.get(), stream);
      }
      connection->held_streams.clear();
      if (connection->http2 != nullptr) {
        SendFrames(*connection);
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
    // TLS has to be emptied: what it has decrypted doesn't wake epoll.
    for (;;) {
      ERR_clear_error();
      const ssize_t size = connection->tls == nullptr
                               ? read(fd, buffer, sizeof(buffer))
                               : SSL_read(connection->tls, buffer, sizeof(buffer));
      if (size <= 0) {
        const bool waits =
            connection->tls == nullptr
                ? size < 0 && (errno == EAGAIN || errno == EINTR)
                : SSL_get_error(connection->tls, static_cast<int>(size)) == SSL_ERROR_WANT_READ;
        if (!waits) {
          connections_.erase(fd);
        }
        return;
      }
      if (!Take(connection, {buffer, static_cast<size_t>(size)})) {
        connections_.erase(fd);
        return;
      }
    }
  }

  bool Take(Connection* connection, std::string_view data) {
    const unsigned char* protocol = nullptr;
    unsigned int protocol_size = 0;
    if (connection->tls != nullptr) {
      SSL_get0_alpn_selected(connection->tls, &protocol, &protocol_size);
    }
    if (protocol_size == 2) {
      return TakeFrames(connection, data);
    }
    connection->input.append(data);
    while (TakeRequest(&connection->input)) {
      Answer(connection);
    }
    return connection->input.size() <= kMaxHeader + kMaxBody;
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
    const size_t path = header.find(' ') + 1;
    Count(NumberOf(header.substr(path, header.find(' ', path) - path)));
    input->erase(0, end + 4 + body);
    return true;
  }

  std::string mode_;
  Stats* stats_;
  SSL_CTX* tls_ = nullptr;
  nghttp2_session_callbacks* callbacks_ = nullptr;
  const int epoll_ = epoll_create1(EPOLL_CLOEXEC);
  int listener_ = -1;
  int signal_ = -1;
  int timer_ = -1;
  std::map<int, std::unique_ptr<Connection>> connections_;
};

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc == 4 || argc == 5 ? argv[1] : "";
  if (mode != "ok" && mode != "503" && mode != "hang" && mode != "drip" && mode != "refuse") {
    std::fputs(
        "usage: push-sink ok|503|hang|drip|refuse PORT STATS-FILE "
        "[CERTIFICATE]\n",
        stderr);
    return 2;
  }
  Sink sink(mode, std::atoi(argv[2]), argv[3], argc == 5 ? argv[4] : nullptr);
  std::puts("ready");
  std::fflush(stdout);
  sink.Run();
}
