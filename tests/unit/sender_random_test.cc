// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Push services do anything over HTTP/1.1 and HTTP/2, and each push has its own outcome
// all the same. Everything is in one thread, and time goes on when nothing else does.
// At the end, there are some courses that are not left to chance.
// COI_TEST_SEEDS is how many courses of events there are.

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <deque>
#include <filesystem>
#include <functional>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "relay/endpoint.h"
#include "relay/sender.h"

namespace {

// The time of libcurl and the sender; real unless it stands still.
struct FakeTime {
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

  bool is_fake = false;
  int64_t now_nsecs = 0;
  // The sender's only timer.
  int timer = -1;
  int64_t timer_at = kNever;

  void SetTimer() const {
    struct itimerspec spec = {};
    spec.it_value.tv_nsec = timer_at <= now_nsecs ? 1 : 0;
    syscall(SYS_timerfd_settime, timer, TFD_TIMER_ABSTIME, &spec, nullptr);
  }
  void Advance(int64_t nsecs) {
    now_nsecs += nsecs;
    if (timer_at <= now_nsecs) {
      SetTimer();
    }
  }
} fake_time;

}  // namespace

// In place of libc's.
extern "C" __attribute__((visibility("default"))) int clock_gettime(clockid_t clock,
                                                                    struct timespec* time) {
  if (fake_time.is_fake && (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_RAW ||
                            clock == CLOCK_MONOTONIC_COARSE)) {
    time->tv_sec = static_cast<time_t>(fake_time.now_nsecs / 1000000000);
    time->tv_nsec = static_cast<long>(fake_time.now_nsecs % 1000000000);
    return 0;
  }
  return static_cast<int>(syscall(SYS_clock_gettime, clock, time));
}

extern "C" __attribute__((visibility("default"))) int timerfd_settime(int fd, int flags,
                                                                      const struct itimerspec* spec,
                                                                      struct itimerspec* old) {
  if (!fake_time.is_fake) {
    return static_cast<int>(syscall(SYS_timerfd_settime, fd, flags, spec, old));
  }
  EXPECT_EQ(flags, TFD_TIMER_ABSTIME);
  fake_time.timer = fd;
  fake_time.timer_at = int64_t{spec->it_value.tv_sec} * 1000000000 + spec->it_value.tv_nsec;
  fake_time.SetTimer();
  return 0;
}

namespace coi::relay {
namespace {

using std::string;
using std::string_view;
using namespace std::string_literals;
using namespace std::string_view_literals;

constexpr unsigned int kRequestMsecs = 30000;
constexpr unsigned int kConnectMsecs = 10000;
// Of Retry-After in an answer that nobody has asked for; otherwise it's the push's number.
constexpr int64_t kUnasked = 5000000;
// How often libcurl sends a request for which a connection has died, and the first time.
constexpr size_t kTriesMax = 6;
constexpr size_t kStreamsMax = 100;
// Services close a connection that has reset so many streams (CVE-2023-44487).
constexpr size_t kResetsMax = 1000;

template <auto free>
struct Free {
  template <typename T>
  void operator()(T* object) const {
    free(object);
  }
};
using ContextPtr = std::unique_ptr<SSL_CTX, Free<SSL_CTX_free>>;

class Random {
 public:
  void Seed(unsigned int seed) {
    random_.seed(seed);
  }
  unsigned int Below(unsigned int below) {
    return static_cast<unsigned int>((random_() >> 8) % below);
  }
  bool Chance(unsigned int percent) {
    return Below(100) < percent;
  }

 private:
  std::minstd_rand random_;
};

// A certificate of its own for all services, which the sender trusts.
struct Tls {
  Tls() {
    const std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>> key(EVP_EC_gen("P-256"));
    const std::unique_ptr<X509, Free<X509_free>> certificate(X509_new());
    X509_set_version(certificate.get(), X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -1000);
    X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 100000);
    X509_set_pubkey(certificate.get(), key.get());
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate.get()), "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>("test"), -1, -1, 0);
    X509_set_issuer_name(certificate.get(), X509_get_subject_name(certificate.get()));
    const std::unique_ptr<X509_EXTENSION, Free<X509_EXTENSION_free>> names(X509V3_EXT_conf_nid(
        nullptr, nullptr, NID_subject_alt_name, "IP:127.0.0.1,IP:127.0.0.2,IP:127.0.0.3"));
    X509_add_ext(certificate.get(), names.get(), -1);
    X509_sign(certificate.get(), key.get(), EVP_sha256());

    file = testing::TempDir() + "coi-sender-random-XXXXXX";
    FILE* out = fdopen(mkstemp(file.data()), "w");
    PEM_write_X509(out, certificate.get());
    fclose(out);
    context.reset(SSL_CTX_new(TLS_server_method()));
    SSL_CTX_use_certificate(context.get(), certificate.get());
    SSL_CTX_use_PrivateKey(context.get(), key.get());
    SSL_CTX_set_mode(context.get(),
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_alpn_select_cb(context.get(), &Select, this);
  }
  Tls(const Tls&) = delete;
  Tls& operator=(const Tls&) = delete;
  ~Tls() {
    unlink(file.c_str());
  }

  static int Select(SSL*, const unsigned char** out, unsigned char* size, const unsigned char* in,
                    unsigned int in_size, void* context) {
    const auto* tls = static_cast<Tls*>(context);
    const string_view wanted = tls->speaks_http2 ? "\2h2"sv : "\10http/1.1"sv;
    return SSL_select_next_proto(const_cast<unsigned char**>(out), size,
                                 reinterpret_cast<const unsigned char*>(wanted.data()),
                                 static_cast<unsigned int>(wanted.size()), in,
                                 in_size) == OPENSSL_NPN_NEGOTIATED
               ? SSL_TLSEXT_ERR_OK
               : SSL_TLSEXT_ERR_NOACK;
  }

  string file;
  ContextPtr context;
  // What the next connection speaks.
  bool speaks_http2 = true;
};

string Number(size_t number, int octets) {
  string text;
  for (int n = octets - 1; n >= 0; --n) {
    text += static_cast<char>(number >> (8 * n) & 0xff);
  }
  return text;
}
size_t Number(string_view text) {
  size_t number = 0;
  for (const char c : text) {
    number = number << 8 | static_cast<unsigned char>(c);
  }
  return number;
}

string Body(uint64_t id) {
  return std::to_string(id) + ":" + string(id * 7919 % 3000, static_cast<char>('a' + id % 26));
}

struct Connection;

// One time that a service has got a request.
struct Try {
  const Connection* connection = nullptr;
  // Answers that may have been read.
  std::vector<std::pair<int, int64_t>> answers;
};

struct Push {
  size_t service = 0;
  int64_t started_nsecs = 0;
  bool is_done = false;
  std::deque<Try> tries;
};

struct Service {
  int listener = -1;
  int port = 0;
  bool is_well = false;
  // Says nothing after the handshake of TLS.
  bool is_silent = false;
  unsigned int hostile_percent = 0;
  unsigned int http1_percent = 0;
  // The same address for http and https.
  std::vector<string> urls;
};

struct Stream {
  string body;
  uint64_t id = 0;
  Try* attempt = nullptr;
  bool is_whole = false;
  bool is_over = false;
};

// As the service has it.
struct Connection {
  Service* service = nullptr;
  int fd = -1;
  string host;
  enum class Kind { kNew, kPlain, kTls } kind = Kind::kNew;
  SSL* ssl = nullptr;
  bool is_ready = false;
  bool is_http2 = false;
  bool is_deaf = false;       // reads nothing any more
  bool is_closing = false;    // when all is sent
  bool is_resetting = false;  // then
  bool is_gone = false;
  bool is_dripping = false;
  // More answers than requests, so that each may be taken for another one's.
  bool is_confused = false;
  bool is_leaving = false;  // with what comes next
  string in;
  // Each is sent by itself.
  std::deque<string> out;
  bool has_preface = false;
  std::map<unsigned int, Stream> streams;
  unsigned int last_stream = 0;
  unsigned int goes_after = 0xffffffff;
  bool has_answered = false;
  size_t resets = 0;
  std::deque<std::pair<uint64_t, Try*>> unanswered;  // of HTTP/1.1
  int64_t ready_nsecs = 0;
};

class SenderServices : public testing::Test {
 protected:
  static Tls& tls() {
    static Tls tls;
    return tls;
  }

  void SetUp() override {
    signal(SIGPIPE, SIG_IGN);
    setenv("SSL_CERT_FILE", "/dev/null", 1);
    tls();
    fds_before_ = CountFds();
    fake_time = {};
    fake_time.now_nsecs = int64_t{1000000} * 1000000000;
    fake_time.is_fake = true;
    string error;
    ASSERT_TRUE(policy_.Set("", "", "127.0.0.1 127.0.0.2 127.0.0.3", "127.0.0.0/8", &error));
  }

  Service* AddService() {
    services_.push_back(std::make_unique<Service>());
    Listen(services_.back().get());
    return services_.back().get();
  }

  void MakeSender(unsigned int connections, unsigned int connections_origin) {
    limits_.connections = connections;
    limits_.connections_origin = connections_origin;
    limits_.request_timeout_msecs = kRequestMsecs;
    limits_.connect_timeout_msecs = kConnectMsecs;
    limits_.ca_file = tls().file;
    string error;
    sender_ = Sender::Create(
        limits_, policy_, [this](const SendResult& result) { OnDone(result); }, &error);
    ASSERT_TRUE(sender_) << error;
  }

  void TearDown() override {
    const bool had_failure = HasFailure();
    sender_.reset();
    done_is_over_ = true;
    for (const auto& connection : connections_) {
      if (!connection->is_gone) {
        EXPECT_FALSE(IsLeft(*connection)) << "A connection is left";
        Close(connection.get());
      }
    }
    for (const auto& service : services_) {
      close(service->listener);
    }
    fake_time.is_fake = false;
    if (!had_failure) {
      EXPECT_EQ(CountFds(), fds_before_);
    }
  }

  static size_t CountFds() {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator("/proc/self/fd"),
                                             std::filesystem::directory_iterator()));
  }

  static void Listen(Service* service) {
    service->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_ANY);
    socklen_t size = sizeof(address);
    auto* any = reinterpret_cast<struct sockaddr*>(&address);
    ASSERT_EQ(bind(service->listener, any, size), 0);
    ASSERT_EQ(listen(service->listener, 500), 0);
    ASSERT_EQ(getsockname(service->listener, any, &size), 0);
    service->port = ntohs(address.sin_port);
  }

  // -- pushes --

  void Start() {
    const uint64_t id = ++last_id_;
    const unsigned int which = random_.Below(static_cast<unsigned int>(services_.size()));
    const auto& service = *services_[which];
    Push& push = pushes_[id];
    push.service = which;
    push.started_nsecs = fake_time.now_nsecs;
    PushRequest request;
    request.id = id;
    const auto endpoint =
        policy_.Check(service.urls[random_.Below(static_cast<unsigned int>(service.urls.size()))] +
                      std::to_string(id));
    ASSERT_TRUE(endpoint);
    request.endpoint = *endpoint;
    request.body = Body(id);
    request.topic = "topic-" + std::to_string(id);
    if (random_.Chance(registrations_percent_)) {
      request.validation = "true";
    }
    sender_->Start(std::move(request));
    needs_run_ = true;
  }

  void OnDone(const SendResult& result) {
    EXPECT_FALSE(done_is_over_);
    const auto found = pushes_.find(result.id);
    ASSERT_NE(found, pushes_.end());
    Push& push = found->second;
    EXPECT_FALSE(push.is_done) << "It is answered twice";
    push.is_done = true;
    ++done_;
    EXPECT_EQ(sender_->in_flight(), last_id_ - done_);
    EXPECT_NE(result.status, SendStatus::kNotAllowed);
    EXPECT_NE(result.error, "Operation was aborted by an application callback");
    const int64_t msecs = (fake_time.now_nsecs - push.started_nsecs) / 1000000;
    EXPECT_LE(msecs, kRequestMsecs + 5);
    if (result.is_bystander) {
      EXPECT_EQ(result.status, SendStatus::kUnreachable);
      EXPECT_TRUE(push.tries.empty()) << "It was tried";
    }
    if (result.status == SendStatus::kAnswered) {
      CheckAnswer(push, result);
    } else {
      EXPECT_FALSE(services_[push.service]->is_well)
          << result.error << " after " << msecs << "; push " << result.id << ", tries "
          << push.tries.size() << ", answers "
          << (push.tries.empty() ? 0 : push.tries.back().answers.size());
    }
    if (random_.Chance(10) && last_id_ < most_) {
      Start();
    }
  }

  static bool WasAnswered(const Push& push, const SendResult& result, bool is_confused) {
    return std::ranges::any_of(push.tries, [&](const Try& attempt) {
      return (!is_confused || attempt.connection->is_confused) &&
             std::ranges::any_of(attempt.answers, [&](const auto& answer) {
               return answer.first == result.http_status &&
                      answer.second == result.retry_after_secs;
             });
    });
  }

  void CheckAnswer(const Push& push, const SendResult& result) {
    if (result.retry_after_secs && *result.retry_after_secs >= kUnasked &&
        unasked_.contains({push.service, *result.retry_after_secs})) {
      return;
    }
    if (WasAnswered(push, result, false) || std::ranges::any_of(push.tries, [](const Try& one) {
          return one.connection->is_confused;
        })) {
      return;
    }
    const auto other = pushes_.find(static_cast<uint64_t>(result.retry_after_secs.value_or(0)));
    if (other != pushes_.end() && other->second.service == push.service &&
        WasAnswered(other->second, result, true)) {
      return;
    }
    ADD_FAILURE() << "Push " << result.id << " was not answered " << result.http_status
                  << (services_[push.service]->is_well ? " (well)" : "") << ", "
                  << result.retry_after_secs.value_or(-1) << "; tries " << push.tries.size();
  }

  // -- services --

  bool Accept(Service* service) {
    struct sockaddr_in address = {};
    socklen_t size = sizeof(address);
    const int fd = accept4(service->listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd == -1) {
      return false;
    }
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    getsockname(fd, reinterpret_cast<struct sockaddr*>(&address), &size);
    connections_.push_back(std::make_unique<Connection>());
    Connection* connection = connections_.back().get();
    connection->service = service;
    connection->fd = fd;
    connection->host = inet_ntoa(address.sin_addr);
    if (IsHostile(*connection)) {
      const unsigned int what = random_.Below(40);
      if (what == 0) {
        Reset(connection);
      } else if (what == 1) {
        Close(connection);
      } else if (what == 2) {
        connection->is_deaf = true;
      } else if (what == 3) {
        connection->out.push_back("HTTP/1.1 201 Created\r\nRetry-After: " + Unasked(connection) +
                                  "\r\nContent-Length: 0\r\n\r\n");
      }
    }
    CountOpen();
    return true;
  }

  // HTTP/2 begins with the settings.
  static bool Speaks(const Connection& connection) {
    return !connection.service->is_silent || connection.has_answered;
  }

  bool IsHostile(const Connection& connection) {
    return random_.Chance(connection.service->hostile_percent);
  }

  static bool IsOpenThere(const Connection& connection) {
    struct tcp_info info = {};
    socklen_t size = sizeof(info);
    return getsockopt(connection.fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 &&
           info.tcpi_state == TCP_ESTABLISHED;
  }

  // The end of one that was closed comes behind what nobody has read.
  static bool IsLeft(const Connection& connection) {
    std::array<char, 65536> chunk = {};
    for (int i = 0; i < 1000 && IsOpenThere(connection); ++i) {
      if (recv(connection.fd, chunk.data(), chunk.size(), MSG_DONTWAIT) <= 0) {
        const struct timespec nap = {.tv_sec = 0, .tv_nsec = 1000000};
        ppoll(nullptr, 0, &nap, nullptr);
      }
    }
    return IsOpenThere(connection);
  }

  void CountOpen() {
    std::map<std::pair<Service*, string>, size_t> open;
    size_t all = 0;
    for (const auto& connection : connections_) {
      if (!connection->is_gone && IsOpenThere(*connection)) {
        ++all;
        EXPECT_LE((++open[{connection->service, connection->host}]), limits_.connections_origin);
      }
    }
    EXPECT_LE(all, limits_.connections);
  }

  void Close(Connection* connection) {
    SSL_free(connection->ssl);
    connection->ssl = nullptr;
    close(connection->fd);
    connection->is_gone = true;
  }
  void Reset(Connection* connection) {
    const struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    Close(connection);
  }

  // Returns whether something has happened.
  bool Serve(Connection* connection) {
    if (connection->is_gone || connection->is_deaf) {
      return false;
    }
    if (connection->kind == Connection::Kind::kNew) {
      char first = 0;
      if (recv(connection->fd, &first, 1, MSG_PEEK) != 1) {
        return Read(connection);
      }
      connection->kind = first == 0x16 ? Connection::Kind::kTls : Connection::Kind::kPlain;
      if (first == 0x16) {
        connection->ssl = SSL_new(tls().context.get());
        SSL_set_fd(connection->ssl, connection->fd);
      } else {
        connection->is_ready = true;
      }
    }
    if (!connection->is_ready) {
      return Handshake(connection);
    }
    bool has_happened = Read(connection);
    if (connection->is_gone) {
      return true;
    }
    has_happened = Write(connection) || has_happened;
    return has_happened;
  }

  bool Handshake(Connection* connection) {
    tls().speaks_http2 = !random_.Chance(connection->service->http1_percent);
    const uint64_t before = BIO_number_read(SSL_get_rbio(connection->ssl));
    ERR_clear_error();
    const int result = SSL_accept(connection->ssl);
    if (result == 1) {
      const unsigned char* name = nullptr;
      unsigned int size = 0;
      SSL_get0_alpn_selected(connection->ssl, &name, &size);
      connection->is_ready = true;
      connection->is_http2 = size == 2;
      connection->ready_nsecs = fake_time.now_nsecs;
      if (connection->is_http2) {
        string settings;
        if (IsHostile(*connection) && random_.Chance(30)) {
          settings += "\0\3"s + Number(random_.Below(20), 4);
        }
        if (!connection->service->is_silent) {
          Frame(connection, 4, 0, 0, settings);
        }
      }
      return true;
    }
    if (SSL_get_error(connection->ssl, result) != SSL_ERROR_WANT_READ) {
      Close(connection);
      return true;
    }
    return BIO_number_read(SSL_get_rbio(connection->ssl)) != before;
  }

  bool Read(Connection* connection) {
    char buf[4096];
    ERR_clear_error();
    const ssize_t size = connection->ssl != nullptr ? SSL_read(connection->ssl, buf, sizeof(buf))
                                                    : recv(connection->fd, buf, sizeof(buf), 0);
    if (size > 0 && connection->is_leaving) {
      random_.Chance(50) ? Close(connection) : Reset(connection);
      return true;
    }
    if (size > 0) {
      connection->in.append(buf, static_cast<size_t>(size));
      if (connection->is_http2) {
        ReadHttp2(connection);
      } else {
        ReadHttp1(connection);
      }
      return true;
    }
    if (connection->ssl != nullptr
            ? SSL_get_error(connection->ssl, static_cast<int>(size)) == SSL_ERROR_WANT_READ
            : size == -1 && errno == EAGAIN) {
      return false;
    }
    Close(connection);
    return true;
  }

  bool Write(Connection* connection) {
    if (connection->out.empty()) {
      if (connection->is_closing) {
        connection->is_resetting ? Reset(connection) : Close(connection);
        return true;
      }
      return false;
    }
    string& piece = connection->out.front();
    ERR_clear_error();
    const ssize_t size =
        connection->ssl != nullptr
            ? SSL_write(connection->ssl, piece.data(), static_cast<int>(piece.size()))
            : send(connection->fd, piece.data(), piece.size(), MSG_NOSIGNAL);
    if (size > 0) {
      piece.erase(0, static_cast<size_t>(size));
      if (piece.empty()) {
        connection->out.pop_front();
      }
      return true;
    }
    if (connection->ssl != nullptr
            ? SSL_get_error(connection->ssl, static_cast<int>(size)) == SSL_ERROR_WANT_WRITE
            : errno == EAGAIN) {
      return false;
    }
    Close(connection);
    return true;
  }

  Try* NewTry(Connection* connection, uint64_t id) {
    const auto push = pushes_.find(id);
    if (push == pushes_.end()) {
      ADD_FAILURE() << "nobody has sent " << id;
      return nullptr;
    }
    EXPECT_EQ(services_[push->second.service].get(), connection->service);
    EXPECT_TRUE(push->second.tries.empty() || !connection->service->is_well)
        << "Push " << id << " is sent again";
    push->second.tries.emplace_back();
    EXPECT_LE(push->second.tries.size(), kTriesMax);
    Try* attempt = &push->second.tries.back();
    attempt->connection = connection;
    return attempt;
  }

  int SomeStatus() {
    static constexpr int kStatuses[] = {201, 201, 201, 201, 200, 202, 204, 304, 301,
                                        400, 401, 404, 410, 413, 429, 500, 503, 999};
    return kStatuses[random_.Below(std::size(kStatuses))];
  }
  string Unasked(Connection* connection) {
    connection->is_confused = true;
    const int64_t number = kUnasked + ++unasked_number_;
    for (size_t i = 0; i < services_.size(); ++i) {
      if (services_[i].get() == connection->service) {
        unasked_.emplace(i, number);
      }
    }
    return std::to_string(number);
  }

  // In one or some pieces.
  void Send(Connection* connection, const string& text) {
    if (random_.Chance(70) || text.size() < 2) {
      connection->out.push_back(text);
      return;
    }
    const size_t half = 1 + random_.Below(static_cast<unsigned int>(text.size()) - 1);
    connection->out.push_back(text.substr(0, half));
    connection->out.push_back(text.substr(half));
  }

  // -- HTTP/1.1 --

  void ReadHttp1(Connection* connection) {
    while (!connection->is_gone && !connection->is_deaf && !connection->is_closing) {
      string& in = connection->in;
      const size_t end = in.find("\r\n\r\n");
      if (end == string::npos) {
        return;
      }
      const string head = in.substr(0, end + 2);
      const auto field = [&head](string_view name) -> string {
        const size_t at = head.find("\r\n" + string(name) + ": ");
        if (at == string::npos) {
          return "";
        }
        const size_t start = at + 4 + name.size();
        return head.substr(start, head.find("\r\n", start) - start);
      };
      const string path = "POST /push/";
      ASSERT_TRUE(head.starts_with(path)) << head;
      const uint64_t id = std::strtoull(head.c_str() + path.size(), nullptr, 10);
      const string body = Body(id);
      ASSERT_EQ(field("Content-Length"), std::to_string(body.size())) << head;
      EXPECT_EQ(field("Topic"), "topic-" + std::to_string(id));
      EXPECT_EQ(field("Host"), connection->host + ":" + std::to_string(connection->service->port));
      const bool is_early = in.size() < end + 4 + body.size();
      if (is_early) {
        if (IsHostile(*connection) && random_.Chance(20)) {
          if (Try* attempt = NewTry(connection, id)) {
            Answer(connection, id, attempt, 1 + random_.Below(2));
            connection->is_closing = true;
          }
        }
        return;
      }
      EXPECT_EQ(in.substr(end + 4, body.size()), body);
      in.erase(0, end + 4 + body.size());
      // It comes before its time only after what looked like an answer.
      EXPECT_TRUE(in.empty() || !connection->service->is_well)
          << id << " then " << in.substr(0, 60) << " host " << connection->host << ":"
          << connection->service->port;
      Try* attempt = NewTry(connection, id);
      if (attempt == nullptr) {
        continue;
      }
      if (connection->service->is_silent) {
        EXPECT_TRUE(connection->unanswered.empty()) << "It comes before its time";
        connection->unanswered.emplace_back(id, attempt);
      } else {
        Answer(connection, id, attempt,
               IsHostile(*connection)  ? 1 + random_.Below(26)
               : random_.Below(4) == 0 ? 1
                                       : 0);
      }
    }
  }

  void Answer(Connection* connection, uint64_t id, Try* attempt, unsigned int what) {
    const int status = SomeStatus();
    const string retry_after = "Retry-After: " + std::to_string(id) + "\r\n";
    const string start = "HTTP/1.1 " + std::to_string(status) + " Any\r\n" + retry_after;
    const string empty = start + "Content-Length: 0\r\n\r\n";
    const auto says = [&] { attempt->answers.emplace_back(status, static_cast<int64_t>(id)); };
    const auto repeat = [&](const string& text, unsigned int times) {
      string all;
      for (; times > 0; --times) {
        all += text;
      }
      return all;
    };
    const bool has_body = status != 204 && status != 304;
    switch (what) {
      case 0:
        says();
        Send(connection, empty);
        break;
      case 1:
        says();
        Send(connection, has_body ? start + "Content-Length: 5\r\n\r\nhello" : empty);
        break;
      case 2:
        says();
        Send(connection, has_body
                             ? start + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
                             : empty);
        break;
      case 3:
        says();
        Send(connection,
             "HTTP/1.0 " + std::to_string(status) + " Any\r\n" + retry_after + "\r\nuntil the end");
        connection->is_closing = true;
        break;
      case 4:
        says();
        Send(connection,
             repeat("HTTP/1.1 102 Processing\r\nRetry-After: 1\r\n\r\n", 1 + random_.Below(16)) +
                 empty);
        break;
      case 5:  // says that it closes
        says();
        Send(connection, start + "Connection: close\r\nContent-Length: 0\r\n\r\n");
        connection->is_closing = random_.Chance(70);
        break;
      case 6:  // doesn't say so
        says();
        Send(connection, empty);
        connection->is_closing = true;
        connection->is_resetting = random_.Chance(50);
        break;
      case 7:  // with the next request, which is read or isn't
        says();
        Send(connection, empty);
        connection->is_leaving = true;
        break;
      case 8:
        says();
        connection->is_confused = true;
        Send(connection, empty + "garbage " + repeat("garbage ", random_.Below(100)));
        break;
      case 9:
        says();
        Send(connection, empty);
        Send(connection, "HTTP/1.1 " + std::to_string(SomeStatus()) + " Any\r\nRetry-After: " +
                             Unasked(connection) + "\r\nContent-Length: 0\r\n\r\n");
        break;
      case 10:  // more than it says
        says();
        Send(connection, start + "Content-Length: 3\r\n\r\nHTTP/1.1 201 Any\r\nRetry-After: " +
                             Unasked(connection) + "\r\nContent-Length: 0\r\n\r\n");
        break;
      case 11:  // less
        says();
        Send(connection, start + "Content-Length: 3000\r\n\r\nhello");
        connection->is_closing = random_.Chance(50);
        break;
      case 12:
        says();
        Send(connection, start + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        break;
      case 13:
        says();
        Send(connection,
             start + "Transfer-Encoding: chunked\r\n\r\n" + repeat("1\r\nx\r\n", 20000));
        break;
      case 14:
        Send(connection, repeat("HTTP/1.1 100 Continue\r\n\r\n", 2000));
        break;
      case 15:
        Send(connection, start + repeat("X: y\r\n", 2000) + "\r\n");
        break;
      case 16:
        Send(connection, start + "X: " + string(200000, 'x'));
        break;
      case 17:  // part of a head
        Send(connection, empty.substr(0, 1 + random_.Below(30)));
        connection->is_closing = random_.Chance(50);
        connection->is_resetting = random_.Chance(50);
        break;
      case 18:
        Reset(connection);
        break;
      case 19:
        Close(connection);
        break;
      case 20:
        connection->is_deaf = true;
        break;
      case 21:
        connection->out.push_back("HTTP/1.1 201 Any\r\nX: ");
        connection->is_dripping = true;
        break;
      case 22:
        says();
        connection->out.push_back(start + "\r\n");
        connection->is_dripping = true;
        break;
      case 23:
        Send(connection, "garbage\r\n\r\n");
        break;
      case 24:
        says();
        Send(connection, "HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n");
        connection->is_confused = true;
        Send(connection, empty);
        break;
      case 25:
        says();
        Send(connection, start + "Content-Length: 99999999999\r\n\r\n" + string(40000, 'x'));
        break;
      default:  // two lengths
        connection->is_confused = true;
        Send(connection, start + "Content-Length: 5\r\nContent-Length: 0\r\n\r\n");
        says();
        break;
    }
  }

  // -- HTTP/2 --

  static string MakeFrame(int type, int flags, unsigned int stream, const string& payload) {
    return Number(payload.size(), 3) + static_cast<char>(type) + static_cast<char>(flags) +
           Number(stream, 4) + payload;
  }
  void Frame(Connection* connection, int type, int flags, unsigned int stream,
             const string& payload) {
    Send(connection, MakeFrame(type, flags, stream, payload));
  }

  // RFC 7541, all literal.
  static string Head(int status, int64_t retry_after) {
    const string number = std::to_string(retry_after);
    return "\x08\x03" + std::to_string(status) + "\x0f\x26" + static_cast<char>(number.size()) +
           number;
  }

  void ReadHttp2(Connection* connection) {
    string& in = connection->in;
    if (!connection->has_preface) {
      const string preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
      if (in.size() < preface.size()) {
        return;
      }
      ASSERT_TRUE(in.starts_with(preface));
      in.erase(0, preface.size());
      connection->has_preface = true;
    }
    while (!connection->is_gone && !connection->is_deaf && in.size() >= 9) {
      const size_t size = Number(in.substr(0, 3));
      if (in.size() < 9 + size) {
        return;
      }
      const int type = static_cast<unsigned char>(in[3]);
      const int flags = static_cast<unsigned char>(in[4]);
      const auto stream = static_cast<unsigned int>(Number(in.substr(5, 4)));
      const string payload = in.substr(9, size);
      in.erase(0, 9 + size);
      OnFrame(connection, type, flags, stream, payload);
    }
  }

  size_t OpenStreams(const Connection& connection) const {
    return static_cast<size_t>(std::count_if(connection.streams.begin(), connection.streams.end(),
                                             [](const auto& one) { return !one.second.is_over; }));
  }

  void OnFrame(Connection* connection, int type, int flags, unsigned int number,
               const string& payload) {
    if (type == 4 && (flags & 1) == 0) {
      if (!Speaks(*connection)) {
        return;
      }
      Frame(connection, 4, 1, 0, "");
    } else if (type == 6 && (flags & 1) == 0) {
      Frame(connection, 6, 1, 0, payload);
    } else if (type == 3 && connection->streams.contains(number)) {
      connection->streams[number].is_over = true;
      if (++connection->resets == kResetsMax) {
        Close(connection);
      }
    } else if (type == 1) {
      EXPECT_GT(number, connection->last_stream);
      connection->last_stream = number;
      connection->streams[number];
      EXPECT_LE(OpenStreams(*connection), kStreamsMax);
      if (!connection->has_answered && fake_time.now_nsecs - connection->ready_nsecs < 900000000) {
        EXPECT_LE(connection->streams.size(), 8U) << "before there is an answer";
      }
    } else if (type == 0) {
      Stream& stream = connection->streams[number];
      stream.body += payload;
      if (!payload.empty() && Speaks(*connection) &&
          !(IsHostile(*connection) && random_.Chance(10))) {
        Frame(connection, 8, 0, 0, Number(payload.size(), 4));
      }
      if (stream.attempt == nullptr && stream.body.find(':') != string::npos) {
        stream.id = std::strtoull(stream.body.c_str(), nullptr, 10);
        stream.attempt = NewTry(connection, stream.id);
        if (stream.attempt == nullptr) {
          return;
        }
        if (IsHostile(*connection) && random_.Chance(5)) {
          AnswerStream(connection, number, 1 + random_.Below(2));
        }
      }
      if ((flags & 1) != 0) {
        EXPECT_EQ(stream.body, Body(stream.id));
        stream.is_whole = true;
        if (!stream.is_over && number <= connection->goes_after &&
            !connection->service->is_silent) {
          AnswerStream(connection, number,
                       IsHostile(*connection)  ? 1 + random_.Below(25)
                       : random_.Below(4) == 0 ? 1
                                               : 0);
        }
      }
    }
  }

  void AnswerStream(Connection* connection, unsigned int number, unsigned int what) {
    Stream& stream = connection->streams[number];
    const int status = SomeStatus();
    const string head = Head(status, static_cast<int64_t>(stream.id));
    connection->has_answered = true;
    const auto says = [&] {
      stream.attempt->answers.emplace_back(status, static_cast<int64_t>(stream.id));
    };
    const auto ends = [&] { stream.is_over = true; };
    if (what == 1 && (status == 204 || status == 304)) {
      what = 0;  // They have no body.
    }
    const auto reset = [&](unsigned int code) {
      Frame(connection, 3, 0, number, Number(code, 4));
      ends();
    };
    switch (what) {
      case 0:
        says();
        ends();
        Frame(connection, 1, 5, number, head);
        break;
      case 1:
        says();
        ends();
        Frame(connection, 1, 4, number, head);
        Frame(connection, 0, 0, number, "hello");
        Frame(connection, 0, 1, number, "");
        break;
      case 2:
        says();
        ends();
        Frame(connection, 1, 4, number, head);
        Frame(connection, 0, 0, number, "hello");
        Frame(connection, 1, 5, number, "\0\1x\1y"s);
        break;
      case 3:
        says();
        ends();
        for (unsigned int n = random_.Below(16); n > 0; --n) {
          Frame(connection, 1, 4, number, Head(103, 1));
        }
        Frame(connection, 1, 5, number, head);
        break;
      case 4:
        for (unsigned int n = 0; n < 100; ++n) {
          Frame(connection, 1, 4, number, Head(103, 1));
        }
        break;
      case 5:
        reset(7);  // REFUSED_STREAM
        break;
      case 6:
        reset(random_.Below(14));
        break;
      case 7:
        says();
        Frame(connection, 1, 4, number, head);
        reset(random_.Below(14));
        break;
      case 8: {  // goes away, and some of it was never looked at
        const unsigned int last = random_.Chance(50) ? number : number - 2 * random_.Below(6);
        connection->goes_after = last > number ? 0 : last;
        Frame(connection, 7, 0, 0,
              Number(connection->goes_after, 4) + Number(random_.Below(14), 4));
        if (number <= connection->goes_after) {
          says();
          ends();
          Frame(connection, 1, 5, number, head);
        }
        connection->is_closing = random_.Chance(50);
        break;
      }
      case 9:
        Reset(connection);
        break;
      case 10:
        Close(connection);
        break;
      case 11:  // never
        break;
      case 12:
        connection->is_deaf = true;
        break;
      case 13:  // without an end
        says();
        Frame(connection, 1, 4, number, head);
        break;
      case 14:
        says();
        ends();
        Frame(connection, 1, 4, number, head);
        for (unsigned int n = 0; n < 3; ++n) {
          Frame(connection, 0, 0, number, string(8000, 'x'));
        }
        Frame(connection, 0, 1, number, "");
        break;
      case 15:  // twice
        says();
        ends();
        Frame(connection, 1, 5, number, head);
        Frame(connection, 1, 5, number, Head(201, std::stoll(Unasked(connection))));
        break;
      case 16:  // a stream that isn't
        Frame(connection, 1, 5, number + 1000, Head(201, std::stoll(Unasked(connection))));
        break;
      case 17:  // all that are open
        for (auto& [other, one] : connection->streams) {
          if (!one.is_over && one.attempt != nullptr) {
            one.attempt->answers.emplace_back(201, static_cast<int64_t>(one.id));
            one.is_over = true;
            Frame(connection, 1, 5, other, Head(201, static_cast<int64_t>(one.id)));
          }
        }
        break;
      case 18:
        for (unsigned int n = 0; n < 100; ++n) {
          Frame(connection, 6, 0, 0, Number(n, 8));
        }
        says();
        ends();
        Frame(connection, 1, 5, number, head);
        break;
      case 19:
        Frame(connection, 4, 0, 0, "\0\3"s + Number(random_.Below(5), 4));
        says();
        ends();
        Frame(connection, 1, 5, number, head);
        break;
      case 20:
        Send(connection, "garbage garbage garbage");
        break;
      case 21:  // part of a frame
        connection->out.push_back(MakeFrame(1, 5, number, head).substr(0, 12));
        connection->is_closing = random_.Chance(50);
        break;
      case 22:  // too much
        says();
        Frame(connection, 1, 4, number, head);
        for (unsigned int n = 0; n < 20; ++n) {
          connection->out.push_back(
              MakeFrame(9, 0, number, "\0\1x\x7f\x81\x1f"s + string(4000, 'y')));
        }
        break;
      case 23:
        Frame(connection, 1, 5, number,
              "\x08\x03"
              "abc");
        break;
      case 24:  // nothing but an end
        Frame(connection, 0, 1, number, "");
        break;
      default:  // the window never opens again
        Frame(connection, 4, 0, 0, "\0\4"s + Number(0, 4));
        says();
        ends();
        Frame(connection, 1, 5, number, head);
        break;
    }
  }

  // -- all of it --

  bool RunIfDue() {
    struct pollfd pollfd = {.fd = sender_->fd(), .events = POLLIN, .revents = 0};
    if (!needs_run_ && poll(&pollfd, 1, 0) == 0) {
      return false;
    }
    needs_run_ = false;
    sender_->Run();
    return true;
  }

  bool Pass(unsigned int percent) {
    bool has_happened = false;
    for (const auto& service : services_) {
      while (random_.Chance(percent) && Accept(service.get())) {
        has_happened = true;
        ++happened_;
      }
    }
    for (size_t i = 0; i < connections_.size(); ++i) {
      if (random_.Chance(percent)) {
        if (Serve(connections_[i].get())) {
          has_happened = true;
          ++happened_;
        }
      }
    }
    if (random_.Chance(percent)) {
      has_happened = RunIfDue() || has_happened;
    }
    return has_happened;
  }

  // Whether anything has come, which takes a while even from here to here.
  bool WaitForMore() {
    std::vector<struct pollfd> fds;
    fds.push_back({.fd = sender_->fd(), .events = POLLIN, .revents = 0});
    for (const auto& service : services_) {
      fds.push_back({.fd = service->listener, .events = POLLIN, .revents = 0});
    }
    for (const auto& connection : connections_) {
      if (!connection->is_gone && !connection->is_deaf) {
        fds.push_back({.fd = connection->fd, .events = POLLIN, .revents = 0});
      }
    }
    const struct timespec nap = {.tv_sec = 0, .tv_nsec = happened_ == waited_ ? 100000 : 1000000};
    waited_ = happened_;
    return ppoll(fds.data(), fds.size(), &nap, nullptr) > 0;
  }

  void AdvanceTime() {
    int64_t nsecs = int64_t{1 + random_.Below(4000)} * 1000000;
    if (fake_time.timer_at != FakeTime::kNever && fake_time.timer_at > fake_time.now_nsecs) {
      nsecs = std::min(nsecs, fake_time.timer_at - fake_time.now_nsecs);
    }
    fake_time.Advance(nsecs);
    for (const auto& connection : connections_) {
      if (connection->is_dripping && !connection->is_gone && connection->out.empty()) {
        connection->out.push_back("x");
      }
    }
  }

  Random random_;
  EndpointPolicy policy_;
  SenderLimits limits_;
  std::vector<std::unique_ptr<Service>> services_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::map<uint64_t, Push> pushes_;
  std::set<std::pair<size_t, int64_t>> unasked_;
  int64_t unasked_number_ = 0;
  uint64_t last_id_ = 0;
  uint64_t most_ = 0;
  unsigned int registrations_percent_ = 10;
  uint64_t done_ = 0;
  size_t happened_ = 0;
  size_t waited_ = 0;
  size_t fds_before_ = 0;
  bool needs_run_ = false;
  bool done_is_over_ = false;
  std::unique_ptr<Sender> sender_;
};

class SenderRandom : public SenderServices, public testing::WithParamInterface<unsigned int> {
 protected:
  void SetUp() override {
    SenderServices::SetUp();
    random_.Seed(GetParam() * 7 + 1);
    unsigned int origins = 0;
    for (size_t i = 0; i < 4; ++i) {
      Service* service = AddService();
      service->is_well = i == 0;
      service->hostile_percent = i == 0 ? 0 : random_.Below(101);
      service->http1_percent = random_.Chance(50) ? 0 : random_.Below(101);
      const string port = ":" + std::to_string(service->port) + "/push/";
      const unsigned int kind = random_.Below(4);
      for (const char* host : {"127.0.0.1", "127.0.0.2", "127.0.0.3"}) {
        if (kind != 0) {
          service->urls.push_back("https://"s + host + port);
        }
        if (kind != 1) {
          service->urls.push_back("http://"s + host + port);
        }
        if (random_.Chance(60)) {
          break;
        }
      }
      origins += static_cast<unsigned int>(service->urls.size());
    }
    const unsigned int connections_origin = 2 + random_.Below(4);
    // The one that is well has always room.
    MakeSender(origins * connections_origin + (random_.Chance(50) ? random_.Below(50) : 0),
               connections_origin);
  }
};

TEST_P(SenderRandom, END_4_each_push_has_one_outcome) {
  most_ = 50 + random_.Below(300);
  const unsigned int burst = random_.Chance(50) ? 1 + random_.Below(10) : 20 + random_.Below(150);
  const unsigned int percent = 30 + random_.Below(71);
  const bool is_cut_short = random_.Chance(20);
  unsigned int idle = 0;
  unsigned int in_vain = 0;
  while (!HasFailure() && (last_id_ < most_ || sender_->in_flight() > 0)) {
    if (last_id_ < most_ && random_.Chance(20)) {
      for (unsigned int n = random_.Below(burst) + 1; n > 0 && last_id_ < most_; --n) {
        Start();
      }
      if (is_cut_short && last_id_ == most_) {
        break;
      }
    }
    const size_t happened = happened_;
    if (Pass(percent) || Pass(100) || WaitForMore()) {
      idle = 0;
      in_vain = happened_ != happened ? 0 : in_vain + 1;
      ASSERT_LT(in_vain, 1000U) << "It is busy with nothing";
      continue;
    }
    AdvanceTime();
    ASSERT_LT(++idle, 1000U) << "It has forgotten " << sender_->in_flight();
  }
}

unsigned int CountOfSeeds() {
  const char* count = getenv("COI_TEST_SEEDS");
  return count == nullptr ? 25 : static_cast<unsigned int>(std::strtoul(count, nullptr, 10));
}
INSTANTIATE_TEST_SUITE_P(Seeds, SenderRandom, testing::Range(0U, CountOfSeeds()));

// Of one service, which says nothing until it is told to.
class SenderTold : public SenderServices {
 protected:
  void SetUp() override {
    SenderServices::SetUp();
    service_ = AddService();
    service_->urls = {"https://127.0.0.1:" + std::to_string(service_->port) + "/push/"};
    service_->is_silent = true;
    registrations_percent_ = 0;
  }

  // A timer for now is due a nanosecond later. No other time passes.
  bool Step() {
    if (Pass(100) || WaitForMore()) {
      return true;
    }
    fake_time.Advance(1);
    return Pass(100);
  }
  void RunUntil(const std::function<bool()>& is_done) {
    for (unsigned int idle = 0; !HasFailure() && !is_done();) {
      if (!Step()) {
        ASSERT_LT(++idle, 100000U) << "It never comes";
      }
    }
  }
  // What is still under way then, which is seldom, shows later.
  void Settle() {
    while (Step()) {
    }
  }

  // Until the service has the first ones, and the rest waits for a word of it.
  void StartSilently(unsigned int count) {
    for (; count > 0; --count) {
      Start();
    }
    RunUntil([this] { return !connections_.empty() && connections_[0]->streams.size() == 8; });
    Settle();
  }

  // What was kept back there; whether it was anything.
  bool Speak(Connection* connection) {
    if (connection->is_gone) {
      return false;
    }
    bool has_spoken = false;
    for (const auto& [id, attempt] : std::exchange(connection->unanswered, {})) {
      Answer(connection, id, attempt, 5);  // and closes
      has_spoken = true;
    }
    for (const auto& [number, stream] : connection->streams) {
      if (stream.is_whole && !stream.is_over) {
        if (!connection->has_answered) {
          Frame(connection, 4, 0, 0, "");
        }
        AnswerStream(connection, number, 0);
        has_spoken = true;
      }
    }
    return has_spoken;
  }
  void SpeakOnOne() {
    for (const auto& connection : connections_) {
      if (Speak(connection.get())) {
        break;
      }
    }
    Settle();
  }
  void SpeakOneByOne() {
    RunUntil([this] {
      SpeakOnOne();
      return sender_->in_flight() == 0;
    });
  }

  // The service goes away, and what it had is sent again on connections of HTTP/1.1. Once
  // there is one of HTTP/2 again, libcurl 7.88 takes all of them for that.
  void CrowdHttp1() {
    StartSilently(8);
    service_->http1_percent = 100;
    Frame(connections_[0].get(), 4, 0, 0, "");
    Frame(connections_[0].get(), 7, 0, 0, Number(0, 4) + Number(0, 4));
    RunUntil([this] {
      return std::ranges::any_of(connections_,
                                 [](const auto& one) { return !one->unanswered.empty(); });
    });
    Settle();
    service_->http1_percent = 0;
    SpeakOnOne();
  }

  Service* service_ = nullptr;
};

TEST_F(SenderTold, END_4_leaves_a_connection_before_its_service_does) {
  service_->is_well = true;
  MakeSender(4, 4);
  StartSilently(1200);
  SpeakOneByOne();
  // With libcurl 7.88 they have 500 streams each, and some that were under way by then.
  // 8.14 resets none.
  EXPECT_EQ(connections_.size(), connections_[0]->resets > 0 ? 3U : 1U);
}

TEST_F(SenderTold, END_4_few_streams_until_there_is_an_answer) {
  MakeSender(4, 4);
  StartSilently(120);
  Connection* connection = connections_[0].get();
  ASSERT_EQ(connection->streams.size(), 8U);
  Frame(connection, 4, 0, 0, "");
  AnswerStream(connection, 1, 0);
  RunUntil([&] { return OpenStreams(*connection) == kStreamsMax; });
  EXPECT_EQ(connections_.size(), 1U);
}

TEST_F(SenderTold, END_4_few_streams_for_a_second) {
  MakeSender(4, 4);
  StartSilently(120);
  fake_time.Advance(int64_t{999} * 1000000);
  Settle();
  ASSERT_EQ(connections_[0]->streams.size(), 8U);
  fake_time.Advance(1000000);
  RunUntil([this] { return connections_[0]->streams.size() == kStreamsMax; });
  EXPECT_EQ(connections_.size(), 1U);
}

TEST_F(SenderTold, END_4_one_request_at_a_time_on_a_connection_of_http_1) {
  MakeSender(2, 2);
  CrowdHttp1();
  SpeakOneByOne();
}

TEST_F(SenderTold, END_4_nobody_who_was_sent_before_is_a_bystander) {
  MakeSender(2, 2);
  CrowdHttp1();
  close(std::exchange(service_->listener, -1));
  for (const auto& connection : connections_) {
    if (!connection->is_gone) {
      Close(connection.get());
    }
  }
  RunUntil([this] { return sender_->in_flight() == 0; });
}

}  // namespace
}  // namespace coi::relay
