// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
//
// Against servers in threads of their own on 127.0.0.1, most of them hostile.
// What HTTP/2 adds is in tests/integration/test_sender_http2.py.
#include "relay/sender.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "relay/endpoint.h"
#include "test_util.h"

namespace coi::relay {
namespace {

using std::nullopt;
using std::optional;
using std::string;
using std::string_view;
using namespace std::string_literals;

constexpr unsigned int kLongMsecs = 20000;
constexpr unsigned int kShortMsecs = 300;
constexpr char kCreated[] = "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";

// -- servers --

// A connection, as a server's thread sees it. All calls fail once the server is
// being stopped.
class Connection {
 public:
  Connection(int fd, SSL* ssl) : fd_(fd), ssl_(ssl) {}

  bool Send(string_view text) {
    while (!text.empty()) {
      const ssize_t sent = ssl_ != nullptr
                               ? SSL_write(ssl_, text.data(), static_cast<int>(text.size()))
                               : send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) {
        return false;
      }
      text.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }

  // After the handshake of TLS 1.3.
  bool SendSessionTicket() {
    return SSL_new_session_ticket(ssl_) == 1 && SSL_do_handshake(ssl_) == 1;
  }

  // Header and body of a request; nullopt when the other side has closed.
  optional<string> ReadRequest() {
    size_t end = string::npos;
    while ((end = read_.find("\r\n\r\n")) == string::npos) {
      if (!Read()) {
        return nullopt;
      }
    }
    size_t size = end + 4;
    const size_t field = read_.find("Content-Length: ");
    if (field < end) {
      size += std::strtoul(read_.c_str() + field + 16, nullptr, 10);
    }
    while (read_.size() < size) {
      if (!Read()) {
        return nullopt;
      }
    }
    string request = read_.substr(0, size);
    read_.erase(0, size);
    return request;
  }

  void WaitUntilClosed() {
    while (Read()) {
      read_.clear();
    }
  }

  // The other side gets a RST.
  void Reset() const {
    const struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd_, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
  }

 private:
  bool Read() {
    char buf[4096];
    const ssize_t size =
        ssl_ != nullptr ? SSL_read(ssl_, buf, sizeof(buf)) : recv(fd_, buf, sizeof(buf), 0);
    if (size <= 0) {
      return false;
    }
    read_.append(buf, static_cast<size_t>(size));
    return true;
  }

  int fd_;
  SSL* ssl_;
  string read_;
};

using Serve = std::function<void(Connection&)>;

class Server {
 public:
  // With an SSL_CTX, it speaks TLS.
  explicit Server(Serve serve, SSL_CTX* ctx = nullptr) : serve_(std::move(serve)), ctx_(ctx) {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* any = reinterpret_cast<struct sockaddr*>(&address);
    EXPECT_EQ(bind(listener_, any, size), 0);
    EXPECT_EQ(listen(listener_, 500), 0);
    EXPECT_EQ(getsockname(listener_, any, &size), 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Accept(); });
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server() {
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    {
      const std::lock_guard lock(mutex_);
      for (const int fd : open_) {
        shutdown(fd, SHUT_RDWR);
      }
    }
    for (auto& thread : threads_) {
      thread.join();
    }
    close(listener_);
  }

  string Url(string_view scheme = "http", string_view host = "127.0.0.1") const {
    return string(scheme) + "://" + string(host) + ":" + std::to_string(port_) + "/push";
  }
  // So far, and the most at once.
  size_t connections() const {
    const std::lock_guard lock(mutex_);
    return threads_.size();
  }
  size_t most_connections() const {
    const std::lock_guard lock(mutex_);
    return most_;
  }

 private:
  void Accept() {
    while (true) {
      const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd == -1 && errno == EMFILE) {
        continue;  // while a test leaves nobody a descriptor
      }
      if (fd == -1) {
        return;
      }
      const std::lock_guard lock(mutex_);
      open_.insert(fd);
      most_ = std::max(most_, open_.size());
      threads_.emplace_back([this, fd] { ServeOne(fd); });
    }
  }

  void ServeOne(int fd) {
    // OpenSSL raises it; in this thread alone, so that the sender's would show.
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    SSL* ssl = ctx_ == nullptr ? nullptr : SSL_new(ctx_);
    bool is_ready = true;
    if (ssl != nullptr) {
      SSL_set_fd(ssl, fd);
      is_ready = SSL_accept(ssl) == 1;
    }
    if (is_ready) {
      Connection connection(fd, ssl);
      serve_(connection);
    }
    SSL_free(ssl);
    const std::lock_guard lock(mutex_);
    open_.erase(fd);
    close(fd);
  }

  Serve serve_;
  SSL_CTX* ctx_;
  int listener_;
  int port_ = 0;
  mutable std::mutex mutex_;
  std::set<int> open_;
  size_t most_ = 0;
  std::vector<std::thread> threads_;
  std::thread thread_;
};

// Answers each request of a connection with this.
Serve Answer(string answer) {
  return [answer = std::move(answer)](Connection& connection) {
    while (connection.ReadRequest() && connection.Send(answer)) {
    }
  };
}

// Answers one request, and closes.
Serve AnswerOnce(string answer) {
  return [answer = std::move(answer)](Connection& connection) {
    if (connection.ReadRequest()) {
      connection.Send(answer);
    }
  };
}

void Hang(Connection& connection) {
  connection.WaitUntilClosed();
}

// After a request: `start`, and then `text` until nobody takes it any more.
Serve Flood(string start, string text) {
  return [start = std::move(start), text = std::move(text)](Connection& connection) {
    if (connection.ReadRequest() && connection.Send(start)) {
      while (connection.Send(text)) {
      }
    }
  };
}

// After a request: `start`, and nothing more.
Serve Stay(string start) {
  return [start = std::move(start)](Connection& connection) {
    if (connection.ReadRequest() && connection.Send(start)) {
      connection.WaitUntilClosed();
    }
  };
}

// As Flood(), slowly.
Serve Drip(string start, string text) {
  return [start = std::move(start), text = std::move(text)](Connection& connection) {
    if (connection.ReadRequest() && connection.Send(start)) {
      while (connection.Send(text)) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
      }
    }
  };
}

// -- the sender --

EndpointPolicy LocalPolicy() {
  EndpointPolicy policy;
  string error;
  EXPECT_TRUE(policy.Set("", "", "127.0.0.1 localhost", "127.0.0.0/8", &error)) << error;
  return policy;
}

SenderLimits Limits(unsigned int request_msecs = kLongMsecs) {
  return {.connections = 100,
          .connections_origin = 4,
          .request_timeout_msecs = request_msecs,
          .connect_timeout_msecs = request_msecs,
          .ca_file = ""};
}

// A sender, and what it has answered.
class Client {
 public:
  explicit Client(const SenderLimits& limits = Limits(),
                  const EndpointPolicy& policy = LocalPolicy())
      : policy_(policy) {
    string error;
    // Here, the system's certificates are of no use, and take long to read.
    setenv("SSL_CERT_FILE", "/dev/null", 1);
    sender_ = Sender::Create(
        limits, policy_, [this](const SendResult& result) { OnDone(result); }, &error);
    EXPECT_TRUE(sender_) << error;
  }

  uint64_t Start(const string& url) {
    PushRequest request;
    const auto endpoint = policy_.Check(url);
    if (endpoint) {
      request.endpoint = *endpoint;
    } else {
      // What no check has seen is checked all the same.
      request.endpoint = {.url = url, .origin = url, .host = "", .port = 0};
    }
    request.body = "body";
    return Start(std::move(request));
  }

  uint64_t Start(PushRequest request) {
    request.id = ++last_id_;
    is_starting_ = true;
    sender_->Start(std::move(request));
    is_starting_ = false;
    needs_run_ = true;
    return last_id_;
  }

  // Waits with nothing but the sender's descriptor, once it has been run after
  // what was started.
  void RunUntil(const std::function<bool()>& is_done) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!is_done()) {
      ASSERT_LT(std::chrono::steady_clock::now(), end);
      struct pollfd pollfd = {.fd = sender_->fd(), .events = POLLIN, .revents = 0};
      poll(&pollfd, 1, needs_run_ ? 0 : 1000);
      if (pollfd.revents != 0 || needs_run_) {
        needs_run_ = false;
        sender_->Run();
      }
    }
  }

  void RunAll() {
    RunUntil([this] { return sender_->in_flight() == 0; });
    EXPECT_EQ(results.size(), last_id_);
  }

  SendResult SendOne(const string& url) {
    const uint64_t id = Start(url);
    RunAll();
    return results[id];
  }

  Sender& sender() {
    return *sender_;
  }

  std::map<uint64_t, SendResult> results;
  std::function<void(const SendResult&)> on_done = [](const SendResult&) {};

 private:
  void OnDone(const SendResult& result) {
    EXPECT_FALSE(is_starting_);
    EXPECT_TRUE(results.emplace(result.id, result).second) << "twice: " << result.id;
    EXPECT_EQ(result.error.empty(), result.status == SendStatus::kAnswered);
    EXPECT_EQ(result.http_status != 0, result.status == SendStatus::kAnswered);
    on_done(result);
  }

  EndpointPolicy policy_;
  std::unique_ptr<Sender> sender_;
  uint64_t last_id_ = 0;
  bool is_starting_ = false;
  bool needs_run_ = false;
};

SendResult SendTo(const Serve& serve, unsigned int request_msecs = kLongMsecs) {
  const Server server(serve);
  Client client(Limits(request_msecs));
  return client.SendOne(server.Url());
}

// -- requests --

// What a server reads of it; it is given an endpoint there.
string SeenOf(PushRequest* request, const string& path) {
  string seen;
  const Server server([&seen](Connection& connection) {
    seen = connection.ReadRequest().value_or("");
    connection.Send(kCreated);
  });
  Client client;
  request->endpoint = LocalPolicy().Check(server.Url() + path).value();
  client.Start(*request);
  client.RunAll();
  EXPECT_EQ(client.results[1].http_status, 201);
  return seen;
}

TEST(Sender, MSG_8_sends_these_header_fields) {
  PushRequest request;
  request.body = "\0\r\n\xff body"s;
  request.authorization = "vapid t=a.b.c, k=d";
  request.ttl_secs = 2419200;
  request.urgency = Urgency::kHigh;
  request.topic = "topic-1_2";
  request.validation = "v4l1d";
  const string seen = SeenOf(&request, "/a?b=c");
  EXPECT_EQ(seen,
            "POST /push/a?b=c HTTP/1.1\r\n"
            "Host: " +
                request.endpoint.origin.substr(7) +
                "\r\n"
                "User-Agent: dovecot-coi\r\n"
                "Content-Type: application/octet-stream\r\n"
                "Content-Encoding: aes128gcm\r\n"
                "Urgency: high\r\n"
                "TTL: 2419200\r\n"
                "Authorization: vapid t=a.b.c, k=d\r\n"
                "Topic: topic-1_2\r\n"
                "WebPush-Validation: v4l1d\r\n"
                "Content-Length: 9\r\n\r\n" +
                request.body);
}

TEST(Sender, CLI_4_a_device_token_has_nothing_of_Web_Push) {
  PushRequest request;
  request.body = "openpgp:x";
  request.is_device_token = true;
  const string seen = SeenOf(&request, "/notify");
  EXPECT_EQ(seen,
            "POST /push/notify HTTP/1.1\r\n"
            "Host: " +
                request.endpoint.origin.substr(7) +
                "\r\n"
                "User-Agent: dovecot-coi\r\n"
                "Content-Type: text/plain\r\n"
                "Content-Length: 9\r\n\r\n" +
                request.body);
}

TEST(Sender, MSG_8_leaves_out_what_there_is_not) {
  std::vector<string> seen;
  const Server server([&seen](Connection& connection) {
    while (auto request = connection.ReadRequest()) {
      seen.push_back(*request);
      connection.Send(kCreated);
    }
  });
  Client client;
  // The second one is sent with what the first one has left.
  for (const bool is_first : {true, false}) {
    PushRequest request;
    request.endpoint = LocalPolicy().Check(server.Url()).value();
    if (is_first) {
      request.authorization = "vapid";
      request.topic = "topic";
      request.validation = "validation";
      request.body = string(4096, 'b');
    }
    client.Start(request);
    client.RunAll();
  }
  ASSERT_EQ(seen.size(), 2U);
  EXPECT_EQ(seen[1],
            "POST /push HTTP/1.1\r\n"
            "Host: " +
                server.Url().substr(7, server.Url().size() - 12) +
                "\r\n"
                "User-Agent: dovecot-coi\r\n"
                "Content-Type: application/octet-stream\r\n"
                "Content-Encoding: aes128gcm\r\n"
                "Urgency: normal\r\n"
                "TTL: 0\r\n"
                "Content-Length: 0\r\n\r\n");
}

TEST(Sender, SUB_12_sends_no_line_breaks_in_header_fields) {
  const Server server(Answer(kCreated));
  Client client;
  for (const string value : {"a\r\nX: y", "a\ny", "a\0b", "\xc3\xbc", "a\x7f"}) {
    for (const int field : {0, 1, 2}) {
      PushRequest request;
      request.endpoint = LocalPolicy().Check(server.Url()).value();
      (field == 0   ? request.authorization
       : field == 1 ? request.topic
                    : request.validation) = value + "\n"s;
      client.Start(request);
    }
  }
  client.RunAll();
  for (const auto& [id, result] : client.results) {
    EXPECT_EQ(result.status, SendStatus::kUnreachable);
  }
  EXPECT_EQ(server.connections(), 0U);
}

// -- answers --

struct StatusCase {
  const char* name;
  string answer;
  int http_status;
  optional<int64_t> retry_after_secs = nullopt;
};

class Answered : public testing::TestWithParam<StatusCase> {};

TEST_P(Answered, MSG_9_says_the_status) {
  const auto result = SendTo(AnswerOnce(GetParam().answer));
  EXPECT_EQ(result.status, SendStatus::kAnswered) << result.error;
  EXPECT_EQ(result.http_status, GetParam().http_status);
  EXPECT_EQ(result.retry_after_secs, GetParam().retry_after_secs);
  EXPECT_EQ(result.error, "");
}

string Status(string_view status, string_view fields = "") {
  return "HTTP/1.1 " + string(status) + "\r\n" + string(fields) + "Content-Length: 0\r\n\r\n";
}

string Repeat(int times, string_view text) {
  string all;
  for (; times > 0; --times) {
    all += text;
  }
  return all;
}

// Of 1000 octets.
string LongField() {
  return "X: " + string(995, 'x') + "\r\n";
}

string RetryAfter(string_view value) {
  return Status("429 Slow", "Retry-After:" + string(value) + "\r\n");
}

INSTANTIATE_TEST_SUITE_P(
    Sender, Answered,
    testing::Values(
        StatusCase{"ok", Status("200 OK"), 200}, StatusCase{"created", Status("201 Created"), 201},
        StatusCase{"accepted", Status("202 Accepted"), 202},
        StatusCase{"no_content", "HTTP/1.1 204 No Content\r\n\r\n", 204},
        StatusCase{"http_1_0", "HTTP/1.0 201 Created\r\n\r\n", 201},
        StatusCase{"no_reason", "HTTP/1.1 201\r\nContent-Length: 0\r\n\r\n", 201},
        StatusCase{"line_feeds", "HTTP/1.1 201 Created\nContent-Length: 0\n\n", 201},
        StatusCase{"not_modified", "HTTP/1.1 304 Not Modified\r\n\r\n", 304},
        StatusCase{"unauthorized", Status("401 No", "WWW-Authenticate: Basic realm=\"x\"\r\n"),
                   401},
        StatusCase{"gone", Status("410 Gone"), 410},
        StatusCase{"too_large", Status("413 Too Large"), 413},
        StatusCase{"error", Status("500 Error"), 500},
        StatusCase{"unavailable", Status("503 No", "Retry-After: 120\r\n"), 503, 120},
        StatusCase{"with_body", "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhello", 404},
        StatusCase{"chunks",
                   "HTTP/1.1 201 C\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", 201},
        StatusCase{"trailer",
                   "HTTP/1.1 429 C\r\nRetry-After: 7\r\nTransfer-Encoding: chunked\r\n\r\n"
                   "0\r\nRetry-After: 8\r\n\r\n",
                   429, 7},
        StatusCase{"trailer_alone",
                   "HTTP/1.1 429 C\r\nTransfer-Encoding: chunked\r\n\r\n"
                   "0\r\nRetry-After: 8\r\n\r\n",
                   429},
        StatusCase{"many_fields", Status("201 Created", Repeat(500, "X: y\r\n")), 201},
        StatusCase{"long_fields", Status("201 Created", Repeat(60, LongField())), 201},
        StatusCase{"some_interims", Repeat(16, "HTTP/1.1 102 P\r\n\r\n") + Status("201 Created"),
                   201},
        StatusCase{"until_the_end", "HTTP/1.1 201 Created\r\n\r\nthat's all", 201},
        StatusCase{"continued", "HTTP/1.1 100 Continue\r\n\r\n" + Status("201 Created"), 201},
        StatusCase{"hints",
                   "HTTP/1.1 103 Hints\r\nRetry-After: 5\r\n\r\nHTTP/1.1 102 P\r\n\r\n" +
                       Status("201 Created"),
                   201},
        // broken after the status
        StatusCase{"short_body", "HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\nshort", 201},
        StatusCase{"no_chunks", "HTTP/1.1 201 C\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n", 201},
        // and where to
        StatusCase{"redirect", Status("301 Moved", "Location: http://127.0.0.1:9/\r\n"), 301},
        StatusCase{"redirect_here", Status("307 Moved", "Location: /\r\n"), 307},
        StatusCase{"redirect_file", Status("308 Moved", "Location: file:///etc/passwd\r\n"), 308}),
    test::CaseName);

INSTANTIATE_TEST_SUITE_P(
    RetryAfter, Answered,
    testing::Values(
        StatusCase{"number", RetryAfter(" 30"), 429, 30},
        StatusCase{"zero", RetryAfter(" 0"), 429, 0},
        StatusCase{"no_blank", RetryAfter("30"), 429, 30},
        StatusCase{"blanks", RetryAfter(" \t 30 \t"), 429, 30},
        StatusCase{"day", RetryAfter(" 86400"), 429, 86400},
        StatusCase{"year", RetryAfter(" 31536000"), 429, 31536000},
        StatusCase{"huge", RetryAfter(" 99999999999999999999999999"), 429,
                   std::numeric_limits<int64_t>::max()},
        StatusCase{"empty", RetryAfter(""), 429}, StatusCase{"blank", RetryAfter("  "), 429},
        StatusCase{"negative", RetryAfter(" -30"), 429},
        StatusCase{"fraction", RetryAfter(" 1.5"), 429},
        StatusCase{"word", RetryAfter(" soon"), 429},
        StatusCase{"past", RetryAfter(" Fri, 31 Dec 1999 23:59:59 GMT"), 429, 0},
        StatusCase{"long", RetryAfter(" " + string(1000, '1')), 429},
        StatusCase{"twice", Status("429 Slow", "RETRY-AFTER: 1\r\nRetry-After: 2\r\n"), 429, 1},
        StatusCase{"other", Status("429 Slow", "X-Retry-After: 1\r\nRetry-Afters: 2\r\n"), 429}),
    test::CaseName);

TEST(Sender, MSG_9_retry_after_a_date) {
  const time_t at = time(nullptr) + 7200;
  char date[64] = "";
  struct tm tm = {};
  strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&at, &tm));
  const auto result = SendTo(AnswerOnce(RetryAfter(" "s + date)));
  ASSERT_TRUE(result.retry_after_secs);
  EXPECT_LE(*result.retry_after_secs, 7200);
  EXPECT_GT(*result.retry_after_secs, 7200 - 100);
}

// -- hostile servers --

struct HostileCase {
  const char* name;
  Serve serve;
  // Where it's time that ends it.
  unsigned int msecs = kLongMsecs;
};

class Unreachable : public testing::TestWithParam<HostileCase> {};

TEST_P(Unreachable, END_4_without_a_status) {
  const auto result = SendTo(GetParam().serve, GetParam().msecs);
  EXPECT_EQ(result.status, SendStatus::kUnreachable);
  EXPECT_EQ(result.http_status, 0);
  EXPECT_EQ(result.retry_after_secs, nullopt);
}

INSTANTIATE_TEST_SUITE_P(
    Sender, Unreachable,
    testing::Values(
        HostileCase{"closes", [](Connection&) {}},
        HostileCase{"closes_after_request", AnswerOnce("")},
        HostileCase{"resets", [](Connection& connection) { connection.Reset(); }},
        HostileCase{"resets_after_request",
                    [](Connection& connection) {
                      connection.ReadRequest();
                      connection.Reset();
                    }},
        HostileCase{"garbage", AnswerOnce("garbage\r\n\r\n")},
        HostileCase{"other_protocol",
                    [](Connection& connection) {
                      connection.Send("220 smtp.example.org ESMTP\r\n");
                      connection.WaitUntilClosed();
                    }},
        HostileCase{"nul", AnswerOnce("\0\0\0\0\0\0\0\0\0\0\0\0\r\n\r\n"s)},
        HostileCase{"http_0_9", AnswerOnce("<html>hello</html>")},
        HostileCase{"http_9", AnswerOnce("HTTP/9.9 201 Created\r\n\r\n")},
        HostileCase{"no_number", AnswerOnce("HTTP/1.1 abc Created\r\n\r\n")},
        HostileCase{"half_a_status", AnswerOnce("HTTP/1.1 20")},
        HostileCase{"half_a_header", AnswerOnce("HTTP/1.1 201 Created\r\nContent-")},
        HostileCase{"interim_alone", AnswerOnce("HTTP/1.1 100 Continue\r\n\r\n")},
        HostileCase{"too_many_fields", AnswerOnce(Status("201 C", Repeat(513, "X: y\r\n")))},
        HostileCase{"too_long_fields", AnswerOnce(Status("201 C", Repeat(66, LongField())))},
        HostileCase{"too_many_interims",
                    AnswerOnce(Repeat(17, "HTTP/1.1 102 P\r\n\r\n") + Status("201 C"))},
        HostileCase{"many_headers", Flood("HTTP/1.1 201 Created\r\n", "X: y\r\n")},
        HostileCase{"endless_header", Flood("HTTP/1.1 201 Created\r\nX: ", string(1000, 'x'))},
        HostileCase{"endless_fold", Flood("HTTP/1.1 201 Created\r\nX: y\r\n", " folded\r\n")},
        HostileCase{"endless_status", Flood("HTTP/1.1 201 ", string(1000, 'x'))},
        HostileCase{"endless_garbage", Flood("", "garbage")},
        HostileCase{"interim_for_ever", Flood("", "HTTP/1.1 102 Processing\r\n\r\n")},
        HostileCase{"continue_for_ever", Flood("", "HTTP/1.1 100 Continue\r\n\r\n")},
        HostileCase{"hangs", Hang, kShortMsecs},
        HostileCase{"hangs_after_interim", Stay("HTTP/1.1 100 Continue\r\n\r\n"), kShortMsecs},
        HostileCase{"switches", Drip("HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", "x"),
                    kShortMsecs},
        HostileCase{"drips_status", Drip("", "H"), kShortMsecs},
        HostileCase{"drips_header", Drip("HTTP/1.1 201 Created\r\nX: ", "x"), kShortMsecs},
        HostileCase{"drips_headers", Drip("HTTP/1.1 201 Created\r\n", "X: y\r\n"), kShortMsecs}),
    test::CaseName);

class StatusThenTrouble : public testing::TestWithParam<HostileCase> {};

TEST_P(StatusThenTrouble, END_4_the_status_counts) {
  const auto result = SendTo(GetParam().serve);
  EXPECT_EQ(result.status, SendStatus::kAnswered) << result.error;
  EXPECT_EQ(result.http_status, 410);
}

INSTANTIATE_TEST_SUITE_P(
    Sender, StatusThenTrouble,
    testing::Values(
        HostileCase{"endless_body", Flood("HTTP/1.1 410 Gone\r\n\r\n", string(10000, 'x'))},
        HostileCase{"huge_body", Flood("HTTP/1.1 410 Gone\r\nContent-Length: 999999999999\r\n\r\n",
                                       string(10000, 'x'))},
        HostileCase{"endless_chunks",
                    Flood("HTTP/1.1 410 Gone\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n")},
        HostileCase{
            "endless_trailer",
            Flood("HTTP/1.1 410 Gone\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "X: y\r\n")},
        HostileCase{"hangs_in_body", Stay("HTTP/1.1 410 Gone\r\nContent-Length: 5\r\n\r\nx")},
        HostileCase{"drips_body", Drip("HTTP/1.1 410 Gone\r\n\r\n", "x")},
        HostileCase{"closes_in_body",
                    AnswerOnce("HTTP/1.1 410 Gone\r\nContent-Length: 5\r\n\r\nx")},
        HostileCase{"does_not_read",
                    [](Connection& connection) {
                      connection.Send("HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n");
                    }}),
    test::CaseName);

// So that its connection is free for others.
TEST(Sender, END_4_waits_for_no_body_as_long_as_for_an_answer) {
  const Server slow(Hang);
  const Server server(Stay("HTTP/1.1 410 Gone\r\nContent-Length: 5\r\n\r\nx"));
  Client client;
  const auto other = client.Start(slow.Url());
  const auto id = client.Start(server.Url());
  client.RunUntil([&] { return client.results.contains(id); });
  EXPECT_EQ(client.results[id].http_status, 410);
  EXPECT_FALSE(client.results.contains(other));
}

TEST(Sender, END_4_reads_little_of_a_body) {
  // Far more than fits into the sockets' buffers.
  constexpr size_t kMost = size_t{64} * 1024 * 1024;
  std::atomic<size_t> sent = 0;
  {
    const string text(100000, 'x');
    const Server server([&](Connection& connection) {
      if (connection.ReadRequest() && connection.Send("HTTP/1.1 410 Gone\r\n\r\n")) {
        while (sent < kMost && connection.Send(text)) {
          sent += text.size();
        }
      }
    });
    Client client;
    EXPECT_EQ(client.SendOne(server.Url()).http_status, 410);
  }
  EXPECT_LT(sent, kMost);
}

// What OpenSSL and libcurl skip by themselves, without giving anybody else a turn.
TEST(Sender, END_4_a_handshake_that_never_comes) {
  // Far more than fits into the sockets' buffers.
  constexpr size_t kMost = size_t{32} * 1024 * 1024;
  string hello_requests;
  for (int n = 0; n < 7000; ++n) {
    hello_requests += "\x16\x03\x03\0\x04\0\0\0\0"s;
  }
  std::atomic<size_t> sent = 0;
  const Server server([&](Connection& connection) {
    while (sent < kMost && connection.Send(hello_requests)) {
      sent += hello_requests.size();
    }
  });
  Client client;
  const auto result = client.SendOne(server.Url("https"));
  EXPECT_EQ(result.status, SendStatus::kUnreachable);
  EXPECT_LT(sent, kMost);
}

TEST(Sender, END_4_refused_connection) {
  string url;
  {
    const Server server(Hang);
    url = server.Url();
  }
  Client client;
  const auto result = client.SendOne(url);
  EXPECT_EQ(result.status, SendStatus::kUnreachable);
  EXPECT_NE(result.error.find("Connection refused"), string::npos) << result.error;
}

TEST(Sender, END_4_the_trouble_is_ours) {
  const Server server(Answer(kCreated));
  Client client;
  struct rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const int next = dup(0);
  close(next);
  const struct rlimit none = {.rlim_cur = static_cast<rlim_t>(next), .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const auto result = client.SendOne(server.Url());
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(result.status, SendStatus::kUnreachable);
  EXPECT_EQ(result.error, "no connection can be made here: Too many open files");
  EXPECT_EQ(client.SendOne(server.Url()).http_status, 201);
}

TEST(Sender, END_4_says_nothing_in_the_services_words) {
  for (const auto& serve :
       {AnswerOnce("secret banner\r\n\r\n"), AnswerOnce("HTTP/7.7 secret\r\n\r\n"),
        AnswerOnce("HTTP/1.1 201 secret\r\nsecret"),
        Serve([](Connection& connection) { connection.Send("secret\r\n"); })}) {
    const auto result = SendTo(serve);
    EXPECT_EQ(result.error.find("secret"), string::npos) << result.error;
  }
}

// -- where to --

TEST(Sender, END_2_checks_the_address_of_every_connection) {
  const Server server(Answer(kCreated));
  EndpointPolicy policy;
  string error;
  ASSERT_TRUE(policy.Set("", "", "", "10.0.0.0/8", &error));
  Client client(Limits(), policy);
  const string port = server.Url().substr(16);
  for (const char* host : {"127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]", "0.0.0.0",
                           "[::1]", "[::]", "169.254.169.254"}) {
    const auto id = client.Start("http://"s + host + port);
    const auto id_tls = client.Start("https://"s + host + port);
    client.RunAll();
    EXPECT_EQ(client.results[id].status, SendStatus::kNotAllowed) << host;
    EXPECT_EQ(client.results[id_tls].status, SendStatus::kNotAllowed) << host;
  }
  EXPECT_EQ(server.connections(), 0U);
}

TEST(Sender, END_2_follows_no_redirect) {
  const Server elsewhere(Answer(kCreated));
  for (const char* status : {"301 M", "302 F", "303 S", "307 T", "308 P"}) {
    const auto result =
        SendTo(Answer(Status(status, "Location: " + elsewhere.Url() + "\r\nRefresh: 0\r\n")));
    EXPECT_EQ(result.http_status, std::atoi(status));
  }
  EXPECT_EQ(elsewhere.connections(), 0U);
}

TEST(Sender, END_1_other_schemes_are_none) {
  Client client;
  const Server server([](Connection&) {});
  for (const char* scheme : {"dict", "ftp", "gopher", "imap", "smtp", "telnet", "ws"}) {
    EXPECT_EQ(client.SendOne(server.Url(scheme)).status, SendStatus::kUnreachable) << scheme;
  }
  EXPECT_EQ(server.connections(), 0U);
  for (const char* url : {"file:///etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1/",
                          "dict://127.0.0.1/", "ldap://127.0.0.1/", "", "http://"}) {
    EXPECT_EQ(client.SendOne(url).status, SendStatus::kUnreachable) << url;
  }
}

TEST(Sender, END_2_takes_no_proxy_from_the_environment) {
  const Server proxy(Answer(kCreated));
  const Server server(Answer(Status("202 Accepted")));
  for (const char* name : {"http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"}) {
    setenv(name, proxy.Url().c_str(), 1);
  }
  Client client;
  EXPECT_EQ(client.SendOne(server.Url()).http_status, 202);
  for (const char* name : {"http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"}) {
    unsetenv(name);
  }
  EXPECT_EQ(proxy.connections(), 0U);
}

TEST(Sender, END_4_keeps_nothing_for_a_service) {
  std::mutex mutex;
  string seen;
  const Server server([&](Connection& connection) {
    while (auto request = connection.ReadRequest()) {
      {
        const std::lock_guard lock(mutex);
        seen += *request;
      }
      connection.Send(Status("201 Created",
                             "Set-Cookie: tracked=1\r\nAlt-Svc: h2=\"127.0.0.1:9\"\r\n"
                             "Strict-Transport-Security: max-age=31536000\r\n"
                             "ETag: \"tracked\"\r\nWWW-Authenticate: Negotiate\r\n"));
    }
  });
  Client client;
  for (int n = 0; n < 3; ++n) {
    EXPECT_EQ(client.SendOne(server.Url()).http_status, 201);
  }
  EXPECT_EQ(seen.find("tracked"), string::npos);
  EXPECT_EQ(seen.find("Cookie"), string::npos);
}

// -- connections --

TEST(Sender, END_4_uses_connections_again) {
  const Server server(Answer(kCreated));
  Client client;
  for (int n = 0; n < 20; ++n) {
    EXPECT_EQ(client.SendOne(server.Url()).http_status, 201);
  }
  EXPECT_EQ(server.connections(), 1U);
}

TEST(Sender, END_4_finds_out_that_a_connection_was_closed) {
  const Server server(AnswerOnce(kCreated));
  Client client;
  for (int n = 0; n < 10; ++n) {
    const auto result = client.SendOne(server.Url());
    EXPECT_EQ(result.http_status, 201) << result.error;
  }
}

TEST(Sender, END_4_bounds_the_connections_to_one_origin) {
  const Server server(Answer(kCreated));
  Client client;
  for (int n = 0; n < 300; ++n) {
    client.Start(server.Url());
  }
  EXPECT_EQ(client.sender().in_flight(), 300U);
  client.RunAll();
  for (const auto& [id, result] : client.results) {
    EXPECT_EQ(result.http_status, 201) << result.error;
  }
  EXPECT_LE(server.most_connections(), 4U);
}

TEST(Sender, END_4_bounds_all_connections) {
  std::atomic<int> arrived = 0;
  std::atomic<bool> may_answer = false;
  const Server server([&](Connection& connection) {
    while (connection.ReadRequest()) {
      ++arrived;
      while (!may_answer) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      connection.Send(kCreated);
    }
  });
  auto limits = Limits();
  limits.connections = 3;
  limits.connections_origin = 3;
  Client client(limits);
  for (int n = 0; n < 20; ++n) {
    client.Start(server.Url());
    client.Start(server.Url("http", "localhost"));
  }
  client.RunUntil([&] { return arrived == 3; });
  // If there were more to come, they could do so now.
  for (int n = 0; n < 20; ++n) {
    client.sender().Run();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(server.connections(), 3U);
  may_answer = true;
  client.RunAll();
  for (const auto& [id, result] : client.results) {
    EXPECT_EQ(result.http_status, 201) << result.error;
  }
}

TEST(Sender, END_4_serves_others_while_some_hang) {
  const Server hanging(Hang);
  const Server dripping(Drip("HTTP/1.1 201 Created\r\nX: ", "x"));
  const Server healthy(Answer(kCreated));
  Client client;
  for (int n = 0; n < 50; ++n) {
    client.Start(hanging.Url());
    client.Start(dripping.Url());
  }
  std::vector<uint64_t> ids(50);
  for (uint64_t& id : ids) {
    id = client.Start(healthy.Url());
  }
  client.RunUntil([&] { return client.results.size() >= ids.size(); });
  for (const uint64_t id : ids) {
    EXPECT_EQ(client.results[id].http_status, 201);
  }
  EXPECT_EQ(client.sender().in_flight(), 100U);
  EXPECT_LE(hanging.connections() + dripping.connections(), 8U);
}

TEST(Sender, END_4_a_dead_host_is_tried_once_for_all) {
  // Accepts, and never says a word of TLS.
  const Server server(Hang);
  auto limits = Limits();
  limits.connect_timeout_msecs = kShortMsecs;
  Client client(limits);
  for (int n = 0; n < 50; ++n) {
    client.Start(server.Url("https"));
  }
  client.RunAll();
  for (const auto& [id, result] : client.results) {
    EXPECT_EQ(result.status, SendStatus::kUnreachable);
  }
  EXPECT_EQ(server.connections(), 1U);
}

TEST(Sender, END_4_goes_on_after_a_time_out) {
  std::atomic<bool> hangs = true;
  const Server server([&hangs](Connection& connection) {
    while (connection.ReadRequest()) {
      if (hangs) {
        connection.WaitUntilClosed();
      } else {
        connection.Send(kCreated);
      }
    }
  });
  Client client(Limits(kShortMsecs));
  for (int n = 0; n < 10; ++n) {
    client.Start(server.Url());
  }
  client.RunAll();
  EXPECT_EQ(client.results[10].status, SendStatus::kUnreachable);
  hangs = false;
  EXPECT_EQ(client.SendOne(server.Url()).http_status, 201);
}

TEST(Sender, END_4_SUB_6_a_registration_passes_pushes_that_hang) {
  const Server server([](Connection& connection) {
    while (const auto request = connection.ReadRequest()) {
      if (request->find("WebPush-Validation: ") == string::npos) {
        connection.WaitUntilClosed();
      } else {
        connection.Send(kCreated);
      }
    }
  });
  Client client;
  for (int n = 0; n < 10; ++n) {
    client.Start(server.Url());
  }
  client.RunUntil([&] { return server.connections() == Limits().connections_origin - 1; });
  PushRequest registration;
  registration.endpoint = *LocalPolicy().Check(server.Url());
  registration.validation = "true";
  const uint64_t id = client.Start(std::move(registration));
  client.RunUntil([&] { return client.results.contains(id); });
  EXPECT_EQ(client.results[id].http_status, 201) << client.results[id].error;
  EXPECT_EQ(client.results.size(), 1U);
  EXPECT_EQ(server.connections(), Limits().connections_origin);
}

TEST(Sender, END_4_a_push_behind_a_registration_times_out_before_it) {
  const Server server(Hang);
  Client client(Limits(kShortMsecs));
  for (int n = 0; n < 10; ++n) {
    client.Start(server.Url());
  }
  client.RunUntil([&] { return server.connections() == Limits().connections_origin - 1; });
  std::this_thread::sleep_for(std::chrono::milliseconds(kShortMsecs / 3));
  for (int n = 0; n < 3; ++n) {
    PushRequest registration;
    registration.endpoint = *LocalPolicy().Check(server.Url());
    registration.validation = "true";
    client.Start(std::move(registration));
  }
  client.RunAll();
  EXPECT_EQ(client.results.size(), 13U);
  for (const auto& [id, result] : client.results) {
    EXPECT_EQ(result.status, SendStatus::kUnreachable) << id;
  }
}

// -- calls --

TEST(Sender, starts_more_from_within_done) {
  const Server server(Answer(kCreated));
  Client client;
  client.on_done = [&](const SendResult& result) {
    if (result.id < 30) {
      client.Start(server.Url());
    }
  };
  client.Start(server.Url());
  client.RunAll();
  EXPECT_EQ(client.results.size(), 30U);
}

TEST(Sender, is_silent_after_its_end) {
  const Server hanging(Hang);
  const Server healthy(Answer(kCreated));
  {
    Client client;
    client.on_done = [](const SendResult& result) { EXPECT_EQ(result.http_status, 201); };
    for (int n = 0; n < 10; ++n) {
      client.Start(hanging.Url());
    }
    client.Start(healthy.Url());
    client.RunUntil([&] { return client.results.size() == 1; });
    client.Start(healthy.Url());
  }
  { Client unused; }
}

TEST(Sender, says_why_it_cannot_be_made) {
  auto limits = Limits();
  limits.ca_file = "/nonexistent/ca.pem";
  string error;
  EXPECT_FALSE(Sender::Create(
      limits, LocalPolicy(), [](const SendResult&) {}, &error));
  EXPECT_EQ(error, "coi_push_ssl_ca_file: can't read certificates from /nonexistent/ca.pem");
}

// -- TLS --

template <auto free>
struct Free {
  template <typename T>
  void operator()(T* object) const {
    free(object);
  }
};
using KeyPtr = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;
using CertificatePtr = std::unique_ptr<X509, Free<X509_free>>;
using ContextPtr = std::unique_ptr<SSL_CTX, Free<SSL_CTX_free>>;

struct Identity {
  KeyPtr key;
  CertificatePtr certificate;
};

void AddExtension(X509* certificate, int nid, const char* value) {
  const std::unique_ptr<X509_EXTENSION, Free<X509_EXTENSION_free>> extension(
      X509V3_EXT_conf_nid(nullptr, nullptr, nid, value));
  ASSERT_TRUE(extension);
  X509_add_ext(certificate, extension.get(), -1);
}

// Signed by itself, or by `issuer`; without a name, an authority. Good from and to these seconds
// from now.
Identity MakeIdentity(const char* name, const Identity* issuer, long from, long to) {
  Identity identity{KeyPtr(EVP_EC_gen("P-256")), CertificatePtr(X509_new())};
  X509* certificate = identity.certificate.get();
  static long serial = 0;
  X509_set_version(certificate, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++serial);
  X509_gmtime_adj(X509_getm_notBefore(certificate), from);
  X509_gmtime_adj(X509_getm_notAfter(certificate), to);
  X509_set_pubkey(certificate, identity.key.get());
  const string common_name = "test " + std::to_string(serial);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(common_name.c_str()), -1, -1,
                             0);
  X509_set_issuer_name(
      certificate,
      X509_get_subject_name(issuer != nullptr ? issuer->certificate.get() : certificate));
  if (*name == '\0') {
    AddExtension(certificate, NID_basic_constraints, "critical,CA:TRUE");
  } else {
    AddExtension(certificate, NID_subject_alt_name, name);
  }
  X509_sign(certificate, (issuer != nullptr ? issuer : &identity)->key.get(), EVP_sha256());
  return identity;
}

class TlsTest : public testing::Test {
 protected:
  TlsTest() : ca_(MakeIdentity("", nullptr, -1000, 100000)) {
    ca_file_ = testing::TempDir() + "coi-sender-test-XXXXXX";
    const int fd = mkstemp(ca_file_.data());
    FILE* file = fdopen(fd, "w");
    PEM_write_X509(file, ca_.certificate.get());
    fclose(file);
  }
  ~TlsTest() override {
    unlink(ca_file_.c_str());
  }

  static ContextPtr Context(const Identity& identity) {
    ContextPtr context(SSL_CTX_new(TLS_server_method()));
    SSL_CTX_use_certificate(context.get(), identity.certificate.get());
    SSL_CTX_use_PrivateKey(context.get(), identity.key.get());
    return context;
  }

  SendResult SendTo(const Identity& identity, string_view host = "127.0.0.1") {
    return SendTo(Context(identity).get(), host);
  }
  SendResult SendTo(SSL_CTX* context, string_view host = "127.0.0.1") {
    const Server server(Answer(kCreated), context);
    auto limits = Limits();
    limits.ca_file = ca_file_;
    Client client(limits);
    return client.SendOne(server.Url("https", host));
  }

  Identity ca_;
  string ca_file_;
};

TEST_F(TlsTest, END_1_trusts_the_admins_authority) {
  const auto identity = MakeIdentity("IP:127.0.0.1,DNS:localhost", &ca_, -1000, 100000);
  EXPECT_EQ(SendTo(identity).http_status, 201);
  EXPECT_EQ(SendTo(identity, "localhost").http_status, 201);
}

TEST_F(TlsTest, END_4_session_tickets_without_end) {
  // Far more than fit into the sockets' buffers, some 40,000.
  constexpr size_t kMost = 100000;
  // That many are there when the sender has its turn.
  constexpr size_t kWaiting = 2000;
  std::atomic<size_t> sent = 0;
  // OpenSSL doesn't say that nobody reads them any more.
  std::atomic<bool> is_over = false;
  const auto identity = MakeIdentity("IP:127.0.0.1", &ca_, -1000, 100000);
  const auto context = Context(identity);
  const Server server(
      [&](Connection& connection) {
        connection.ReadRequest();
        while (!is_over && sent < kMost && connection.SendSessionTicket()) {
          ++sent;
        }
      },
      context.get());
  auto limits = Limits();
  limits.ca_file = ca_file_;
  Client client(limits);
  const uint64_t id = client.Start(server.Url("https"));
  client.RunUntil([&] { return sent > 0; });
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (sent < kWaiting && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  client.RunAll();
  is_over = true;
  EXPECT_EQ(client.results[id].status, SendStatus::kUnreachable);
  EXPECT_LT(sent, kMost);
}

TEST_F(TlsTest, END_1_uses_connections_again) {
  const auto identity = MakeIdentity("IP:127.0.0.1", &ca_, -1000, 100000);
  const auto context = Context(identity);
  const Server server(Answer(kCreated), context.get());
  auto limits = Limits();
  limits.ca_file = ca_file_;
  Client client(limits);
  for (int n = 0; n < 10; ++n) {
    EXPECT_EQ(client.SendOne(server.Url("https")).http_status, 201);
  }
  EXPECT_EQ(server.connections(), 1U);
}

TEST_F(TlsTest, END_1_refuses_certificates) {
  const auto other_ca = MakeIdentity("", nullptr, -1000, 100000);
  struct Case {
    const char* what;
    Identity identity;
    const char* error;
  };
  for (const auto& c :
       {Case{"wrong name", MakeIdentity("DNS:other.example", &ca_, -1000, 100000), ""},
        Case{"wrong address", MakeIdentity("IP:127.0.0.2", &ca_, -1000, 100000), ""},
        Case{"expired", MakeIdentity("IP:127.0.0.1", &ca_, -1000, -100), "certificate has expired"},
        Case{"not yet good", MakeIdentity("IP:127.0.0.1", &ca_, 1000, 100000),
             "certificate is not yet valid"},
        Case{"other authority", MakeIdentity("IP:127.0.0.1", &other_ca, -1000, 100000),
             "unable to get local issuer certificate"},
        Case{"self-signed", MakeIdentity("IP:127.0.0.1", nullptr, -1000, 100000),
             "self-signed certificate"}}) {
    const auto result = SendTo(c.identity);
    EXPECT_EQ(result.status, SendStatus::kUnreachable) << c.what;
    EXPECT_NE(result.error.find(c.error), string::npos) << c.what << ": " << result.error;
    EXPECT_EQ(result.error.find("other.example"), string::npos) << result.error;
  }
}

TEST_F(TlsTest, END_1_refuses_old_protocols_and_none) {
  const auto identity = MakeIdentity("IP:127.0.0.1", &ca_, -1000, 100000);
  const auto context = Context(identity);
  SSL_CTX_set_security_level(context.get(), 0);
  SSL_CTX_set_min_proto_version(context.get(), TLS1_VERSION);
  SSL_CTX_set_max_proto_version(context.get(), TLS1_1_VERSION);
  EXPECT_EQ(SendTo(context.get()).status, SendStatus::kUnreachable);
  SSL_CTX_set_max_proto_version(context.get(), TLS1_2_VERSION);
  EXPECT_EQ(SendTo(context.get()).http_status, 201);

  const Server plain([](Connection& connection) { connection.Send(kCreated); });
  Client client;
  EXPECT_EQ(client.SendOne(plain.Url("https")).status, SendStatus::kUnreachable);
}

TEST_F(TlsTest, END_1_the_admins_authority_is_not_everybodys) {
  const auto identity = MakeIdentity("IP:127.0.0.1", &ca_, -1000, 100000);
  const auto context = Context(identity);
  const Server server(Answer(kCreated), context.get());
  Client client;
  EXPECT_EQ(client.SendOne(server.Url("https")).status, SendStatus::kUnreachable);
}

}  // namespace
}  // namespace coi::relay
