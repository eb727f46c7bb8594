// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
//
// How requests get to libcurl
//
// Those to one origin wait in a queue here, and not in libcurl's, which knows
// limits but no fairness. The first of them finds out whether there is a
// connection and what it speaks. Then HTTP/2 takes them all, as streams of that
// one connection, and HTTP/1.1 one for each of some connections. If there is no
// connection, they all fail: nobody else waits for a dead host in their place.
//
// The time for a request runs from Start(), and ends here: libcurl's own limit
// does not count while it has a request pending (its issue 13227).
#include "relay/sender.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <deque>
#include <limits>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "util/ascii.h"

namespace coi::relay {
namespace {

using std::optional;
using std::string;
using std::string_view;

// The header of an answer, with those of the 1xx before it. libcurl's time for
// folded lines grows with the square of their number.
constexpr size_t kHeadersMaxSize = 65536;
constexpr unsigned int kHeaderLinesMax = 512;
// The body is of no use; it is read so that the connection can be used again.
constexpr size_t kBodyMaxSize = 16384;
constexpr int64_t kBodyMaxMsecs = 2000;
constexpr unsigned int kInterimMax = 16;
// RFC 9113 wants services to allow no fewer, and so all common servers do. With
// more there would be a second connection; libcurl 7.88 puts too many streams on
// it before it has heard of the service's limit, and they fail.
constexpr size_t kStreamsMax = 100;
// Until there is an answer, and before it the service's limit.
constexpr size_t kStreamsFirst = 8;
// By then the limit has come, whatever hangs.
constexpr int64_t kSilenceMsecs = 1000;
// libcurl 7.88 resets each stream when it is over, and 8.14 doesn't. Services close
// a connection that does so a thousand times (CVE-2023-44487), and what is under
// way there fails. So it is closed before.
constexpr unsigned int kResetsStreamsBefore = 0x080e00;
constexpr size_t kStreamsOfConnection = 500;
// The answers to all streams of a connection, in up to ten records each: its header, its
// body and updates of windows may come apart.
constexpr unsigned int kRecordsMax = 1000;
constexpr int kEventsMax = 64;
// How often a socket may be writable without anything else, and for how long nobody
// asks whether it is then.
constexpr unsigned int kWritableMax = 16;
constexpr int64_t kMuteMsecs = 100;
constexpr int kRoundsMax = 4;
constexpr size_t kPoolMax = 256;
constexpr size_t kResolverStackSize = size_t{512} * 1024;
constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

int64_t NowMsecs() noexcept {
  struct timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1000000;
}

bool IsHeaderValue(string_view text) noexcept {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c < 0x7f; });
}

// RFC 9110, 10.2.3. CURLINFO_RETRY_AFTER has a bound in newer versions, and
// does not tell 0 from nothing.
optional<int64_t> ParseRetryAfter(string_view value) {
  value = util::Trim(value);
  if (value.empty() || value.size() > 64) {
    return std::nullopt;
  }
  if (value[0] >= '0' && value[0] <= '9') {
    int64_t secs = 0;
    for (const char c : value) {
      if (c < '0' || c > '9') {
        return std::nullopt;
      }
      const int64_t digit = c - '0';
      secs = secs > (kNever - digit) / 10 ? kNever : secs * 10 + digit;
    }
    return secs;
  }
  const time_t date = curl_getdate(string(value).c_str(), nullptr);
  if (date == -1) {
    return std::nullopt;
  }
  return std::max<int64_t>(0, int64_t{date} - int64_t{time(nullptr)});
}

class CurlSender;
struct Transfer;

// Exists while there is a request for it.
struct Origin {
  enum class Protocol { kUnknown, kHttp1, kHttp2 };

  string name;
  // Known while something is active.
  Protocol protocol = Protocol::kUnknown;
  std::deque<Transfer*> waiting;
  std::vector<Transfer*> active;
  // Connections that the active ones take.
  size_t connections = 0;
  // In the sender's list of those to look at.
  bool is_ready = false;
  // When there last was an answer to what is active; 0 for none.
  int64_t answered_at = 0;
  // When the first that is active had its connection.
  int64_t connected_at = 0;
  // Where libcurl waits for it; for HTTP/2 that's its one connection.
  curl_socket_t fd = CURL_SOCKET_BAD;
  // A stream of its connection timed out while nothing was answered, so the
  // connection may be dead; or it has had enough of them. Nothing is started before
  // it is closed.
  bool is_draining = false;
};

// A request under way. Reused, so that pointers to it stay good; its number
// tells who had it before.
struct Transfer {
  CurlSender* sender = nullptr;
  uint64_t number = 0;
  PushRequest request;
  Origin* origin = nullptr;
  // Null while it waits.
  CURL* easy = nullptr;
  // Whether libcurl may use HTTP/2 for it.
  bool may_http2 = false;
  // The TLS of its connection, if that speaks HTTP/1.1.
  const SSL* http1_tls = nullptr;
  // It was given a connection of HTTP/1.1 that another one uses.
  bool is_crowded = false;
  // It waits again, and may have been sent before: libcurl tried again where a connection
  // was dead, and that one was crowded.
  bool was_tried = false;
  size_t active_index = 0;
  int64_t activated_at = 0;

  // The lines of the header, and libcurl's list of them.
  std::array<string, 5> lines;
  std::array<struct curl_slist, 9> list = {};

  // How often there was a connection for it: libcurl tries again where one is
  // dead.
  unsigned int connected = 0;
  unsigned int sockets_refused = 0;
  unsigned int sockets_opened = 0;

  size_t headers_size = 0;
  unsigned int header_lines = 0;
  size_t body_size = 0;
  unsigned int interims = 0;
  int final_status = 0;
  optional<int64_t> retry_after_secs;
};

bool IsRegistration(const Transfer* transfer) noexcept {
  return !transfer->request.validation.empty();
}

// Somebody waits for the answer to a registration, and not as long as a push may hang.
bool IsBefore(const Transfer* one, const Transfer* other) noexcept {
  return IsRegistration(one) != IsRegistration(other) ? IsRegistration(one)
                                                      : one->number < other->number;
}

// What libcurl waits for.
struct Socket {
  uint32_t events = 0;
  // How often it has only been writable since.
  unsigned int writable = 0;
  bool is_muted = false;
};

struct Deadline {
  int64_t at;
  Transfer* transfer;
  uint64_t number;
};

struct FreeEasy {
  void operator()(CURL* easy) const noexcept {
    curl_easy_cleanup(easy);
  }
};
struct FreeStore {
  void operator()(X509_STORE* store) const noexcept {
    X509_STORE_free(store);
  }
};
using EasyPtr = std::unique_ptr<CURL, FreeEasy>;
using StorePtr = std::unique_ptr<X509_STORE, FreeStore>;

// All certificate authorities, read once: libcurl would read the system's file
// for every connection. A folder of them is read as needed.
StorePtr MakeStore(const string& ca_file, string* error) {
  StorePtr store(X509_STORE_new());
  if (!store || X509_STORE_set_default_paths(store.get()) != 1) {
    *error = "OpenSSL has no store of certificates";
    return nullptr;
  }
  if (!ca_file.empty() && X509_STORE_load_file(store.get(), ca_file.c_str()) != 1) {
    *error = "coi_push_ssl_ca_file: can't read certificates from " + ca_file;
    return nullptr;
  }
  // As libcurl does: any certificate in the store is trusted, not roots alone.
  X509_STORE_set_flags(store.get(), X509_V_FLAG_TRUSTED_FIRST | X509_V_FLAG_PARTIAL_CHAIN);
  return store;
}

// For the life of the process. Not thread safe on every system's libcurl.
bool InitCurl() {
  static const bool is_ready = [] {
    // Names are resolved in threads, one for each name. Each would take 8 MB
    // of what the service may have.
    // And each 64 MB for an arena of its own.
    mallopt(M_ARENA_MAX, 1);
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) == 0) {
      if (pthread_attr_setstacksize(&attributes, kResolverStackSize) == 0) {
        pthread_setattr_default_np(&attributes);
      }
      pthread_attr_destroy(&attributes);
    }
    return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
  }();
  return is_ready;
}

class CurlSender final : public Sender {
 public:
  CurlSender(const SenderLimits& limits, const EndpointPolicy& policy, Done done)
      : limits_(limits), policy_(policy), done_(std::move(done)) {
    limits_.connections = std::max(limits_.connections, 1U);
    // One of them is for registrations.
    limits_.connections_origin = std::max(limits_.connections_origin, 2U);
  }
  CurlSender(const CurlSender&) = delete;
  CurlSender& operator=(const CurlSender&) = delete;
  ~CurlSender() override;

  bool Open(string* error);
  void Start(PushRequest request) override;
  size_t in_flight() const override {
    return in_flight_;
  }
  int fd() const override {
    return epoll_fd_;
  }
  void Run() override;

 private:
  static int OnSocket(CURL* easy, curl_socket_t fd, int what, void* context, void* known);
  static int OnTimer(CURLM* multi, long msecs, void* context);
  static curl_socket_t OnOpenSocket(void* context, curlsocktype purpose,
                                    struct curl_sockaddr* address);
  static CURLcode OnSslContext(CURL* easy, void* ssl_ctx, void* context);
  static void OnRecord(int is_written, int version, int type, const void* data, size_t size,
                       SSL* tls, void* context);
  static int OnConnected(void* context, char* remote_ip, char* local_ip, int remote_port,
                         int local_port);
  void CountStream(Origin* origin, SSL* tls);
  void Cork(curl_socket_t fd);
  void Uncork();
  static size_t OnHeader(char* data, size_t size, size_t count, void* context);
  static size_t OnBody(char* data, size_t size, size_t count, void* context);

  EasyPtr NewEasy();
  void SetHeader(Transfer* transfer);
  bool SetUp(Transfer* transfer);

  void MakeReady(Origin* origin);
  bool MayStart(const Origin& origin) const noexcept;
  void CountConnections(Origin* origin) noexcept;
  void Activate(Transfer* transfer);
  void Dispatch();

  void Act(curl_socket_t fd, int what);
  void Mute(curl_socket_t fd, uint32_t events);
  void Unmute(int64_t now);
  void Step();
  void TakeMessages();
  void TakeDeadlines(int64_t now);
  void OnTimeOut(Transfer* transfer);
  void Drain(Origin* origin);
  void DrainWorn();
  void EndActive(Transfer* transfer, CURLcode code, const char* error);
  static void Wait(Transfer* transfer);
  static void Reset(Transfer* transfer);
  void Report(Transfer* transfer, SendStatus status, const string& error,
              bool is_bystander = false);

  void Arm(int64_t now);

  SenderLimits limits_;
  const EndpointPolicy& policy_;
  Done done_;
  StorePtr store_;
  int epoll_fd_ = -1;
  int timer_fd_ = -1;
  CURLM* multi_ = nullptr;

  std::unordered_map<string, std::unique_ptr<Origin>> origins_;
  std::deque<Origin*> ready_;
  size_t connections_ = 0;
  size_t in_flight_ = 0;
  // Start() was called since Dispatch().
  bool has_new_ = false;
  std::unordered_map<curl_socket_t, Socket> sockets_;
  std::vector<curl_socket_t> muted_;
  int64_t unmute_at_ = kNever;
  // Sockets that keep back what doesn't fill a packet.
  std::vector<curl_socket_t> corked_;
  // Those whose connection has had enough streams.
  std::vector<Origin*> worn_;
  // Where a connection's TLS keeps their number; -1 where nobody has to count.
  int streams_index_ = -1;
  // TLS records that libcurl has read one after the other of that connection.
  const SSL* records_of_ = nullptr;
  unsigned int records_ = 0;

  std::vector<std::unique_ptr<Transfer>> transfers_;
  std::vector<Transfer*> free_transfers_;
  std::vector<EasyPtr> free_easies_;
  uint64_t next_number_ = 1;

  // Each in the order of time, since what they wait is always the same. What
  // is over stays in them until its time.
  std::deque<Deadline> deadlines_;
  std::deque<Deadline> body_deadlines_;
  // When an origin may have more streams even if nothing has been answered.
  std::deque<std::pair<int64_t, string>> silences_;
  int64_t curl_due_ = kNever;
  int64_t armed_at_ = kNever;

  std::vector<SendResult> results_;
};

CurlSender::~CurlSender() {
  if (multi_ != nullptr) {
    for (const auto& transfer : transfers_) {
      if (transfer->easy != nullptr) {
        curl_multi_remove_handle(multi_, transfer->easy);
        curl_easy_cleanup(transfer->easy);
      }
    }
    free_easies_.clear();
    curl_multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, nullptr);
    curl_multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, nullptr);
    curl_multi_cleanup(multi_);
  }
  if (timer_fd_ != -1) {
    close(timer_fd_);
  }
  if (epoll_fd_ != -1) {
    close(epoll_fd_);
  }
}

bool CurlSender::Open(string* error) {
  const auto* version = InitCurl() ? curl_version_info(CURLVERSION_NOW) : nullptr;
  if (version == nullptr || (version->features & CURL_VERSION_ASYNCHDNS) == 0 ||
      version->ssl_version == nullptr ||
      !string_view(version->ssl_version).starts_with("OpenSSL")) {
    *error = "libcurl without OpenSSL, or without a resolver that does not block";
    return false;
  }
  if (version->version_num < kResetsStreamsBefore) {
    streams_index_ = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  }
  store_ = MakeStore(limits_.ca_file, error);
  if (!store_) {
    return false;
  }
  epoll_fd_ = epoll_create1(EPOLL_CLOEXEC);
  timer_fd_ = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  struct epoll_event event = {.events = EPOLLIN, .data = {.fd = timer_fd_}};
  if (epoll_fd_ == -1 || timer_fd_ == -1 ||
      epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, timer_fd_, &event) != 0) {
    *error = string("epoll: ") + std::strerror(errno);
    return false;
  }
  multi_ = curl_multi_init();
  if (multi_ == nullptr) {
    *error = "libcurl: out of memory";
    return false;
  }
  curl_multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, &OnSocket);
  curl_multi_setopt(multi_, CURLMOPT_SOCKETDATA, this);
  curl_multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, &OnTimer);
  curl_multi_setopt(multi_, CURLMOPT_TIMERDATA, this);
  curl_multi_setopt(multi_, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
  curl_multi_setopt(multi_, CURLMOPT_MAX_CONCURRENT_STREAMS, long{kStreamsMax});
  // They matter where a service allows few streams: otherwise it's here that
  // connections are counted.
  curl_multi_setopt(multi_, CURLMOPT_MAX_TOTAL_CONNECTIONS, long{limits_.connections});
  curl_multi_setopt(multi_, CURLMOPT_MAX_HOST_CONNECTIONS, long{limits_.connections_origin});
  curl_multi_setopt(multi_, CURLMOPT_MAXCONNECTS, long{limits_.connections});
  return true;
}

// What is the same for all requests.
EasyPtr CurlSender::NewEasy() {
  EasyPtr owner(curl_easy_init());
  CURL* easy = owner.get();
  if (easy == nullptr) {
    return owner;
  }
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, "");
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
  // Or, when libcurl tries again, it may do so as if it followed one.
  curl_easy_setopt(easy, CURLOPT_POSTREDIR, long{CURL_REDIR_POST_ALL});
  curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
  // Nothing of the environment.
  curl_easy_setopt(easy, CURLOPT_PROXY, "");
  curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
  curl_easy_setopt(easy, CURLOPT_NETRC, long{CURL_NETRC_IGNORED});
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  // Without it, giving up a request waits for the thread that resolves its
  // name.
  curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, long{limits_.connect_timeout_msecs});
  curl_easy_setopt(easy, CURLOPT_USERAGENT, "dovecot-coi");
  curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 8192L);
  curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, 16384L);

  curl_easy_setopt(easy, CURLOPT_SSLVERSION, long{CURL_SSLVERSION_TLSv1_2});
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
  curl_easy_setopt(easy, CURLOPT_CAINFO, nullptr);
  curl_easy_setopt(easy, CURLOPT_CAPATH, nullptr);
  curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, &OnSslContext);
  curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, this);

  curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, &OnOpenSocket);
  curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, &OnConnected);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &OnHeader);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &OnBody);
  return owner;
}

// -- libcurl calls --

int CurlSender::OnSocket(CURL* easy, curl_socket_t fd, int what, void* context, void* known) {
  auto* sender = static_cast<CurlSender*>(context);
  struct epoll_event event = {.events = 0, .data = {.fd = fd}};
  // libcurl has handles of its own, too.
  Transfer* transfer = nullptr;
  if (curl_easy_getinfo(easy, CURLINFO_PRIVATE, &transfer) == CURLE_OK && transfer != nullptr &&
      transfer->easy == easy) {
    transfer->origin->fd = what == CURL_POLL_REMOVE ? CURL_SOCKET_BAD : fd;
  }
  if (what == CURL_POLL_REMOVE) {
    sender->sockets_.erase(fd);
    epoll_ctl(sender->epoll_fd_, EPOLL_CTL_DEL, fd, &event);
    return 0;
  }
  event.events =
      ((what & CURL_POLL_IN) != 0 ? EPOLLIN : 0U) | ((what & CURL_POLL_OUT) != 0 ? EPOLLOUT : 0U);
  sender->sockets_[fd] = {.events = event.events};
  const int operation = known == nullptr ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
  if (epoll_ctl(sender->epoll_fd_, operation, fd, &event) != 0) {
    // The number may be that of a socket that was closed.
    epoll_ctl(sender->epoll_fd_, known == nullptr ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event);
  }
  if (known == nullptr) {
    curl_multi_assign(sender->multi_, fd, sender);
  }
  return 0;
}

int CurlSender::OnTimer(CURLM* /*multi*/, long msecs, void* context) {
  auto* sender = static_cast<CurlSender*>(context);
  sender->curl_due_ = msecs < 0 ? kNever : NowMsecs() + msecs;
  return 0;
}

// For every connection, after name resolution (END-2).
curl_socket_t CurlSender::OnOpenSocket(void* context, curlsocktype purpose,
                                       struct curl_sockaddr* address) {
  auto* transfer = static_cast<Transfer*>(context);
  // Newer versions ask for flags here, too.
  const int type = address->socktype & ~(SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (purpose != CURLSOCKTYPE_IPCXN || type != SOCK_STREAM ||
      !transfer->sender->policy_.AllowsAddress(&address->addr)) {
    ++transfer->sockets_refused;
    return CURL_SOCKET_BAD;
  }
  ++transfer->sockets_opened;
  const int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
  if (fd != -1) {
    // Not for minutes where the other side is gone without a word.
    const unsigned int msecs = transfer->sender->limits_.request_timeout_msecs;
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &msecs, sizeof(msecs));
  }
  return fd;
}

CURLcode CurlSender::OnSslContext(CURL* /*easy*/, void* ssl_ctx, void* context) {
  auto* sender = static_cast<CurlSender*>(context);
  auto* ctx = static_cast<SSL_CTX*>(ssl_ctx);
  SSL_CTX_set1_cert_store(ctx, sender->store_.get());
  SSL_CTX_set_msg_callback(ctx, &OnRecord);
  SSL_CTX_set_msg_callback_arg(ctx, sender);
  return CURLE_OK;
}

// OpenSSL and libcurl read on and on while there are records that hold nothing for
// them, such as HelloRequests and session tickets, and let nobody else have a turn.
// So one that has too many of them looks closed.
void CurlSender::OnRecord(int is_written, int /*version*/, int type, const void* /*data*/,
                          size_t /*size*/, SSL* tls, void* context) {
  auto* sender = static_cast<CurlSender*>(context);
  if (is_written != 0 || type != SSL3_RT_HEADER) {
    return;
  }
  if (sender->records_of_ != tls) {
    sender->records_of_ = tls;
    sender->records_ = 0;
  }
  if (++sender->records_ > kRecordsMax) {
    SSL_set_shutdown(tls, SSL_get_shutdown(tls) | SSL_RECEIVED_SHUTDOWN);
  }
}

// There is a connection, and nothing is sent yet.
int CurlSender::OnConnected(void* context, char* /*remote_ip*/, char* /*local_ip*/,
                            int /*remote_port*/, int /*local_port*/) {
  auto* transfer = static_cast<Transfer*>(context);
  ++transfer->connected;
  transfer->http1_tls = nullptr;
  Origin* origin = transfer->origin;
  auto protocol = Origin::Protocol::kHttp1;
  bool is_crowded = false;
  struct curl_tlssessioninfo* session = nullptr;
  if (curl_easy_getinfo(transfer->easy, CURLINFO_TLS_SSL_PTR, &session) == CURLE_OK &&
      session != nullptr && session->backend == CURLSSLBACKEND_OPENSSL &&
      session->internals != nullptr) {
    const unsigned char* name = nullptr;
    unsigned int size = 0;
    auto* tls = static_cast<SSL*>(session->internals);
    SSL_get0_alpn_selected(tls, &name, &size);
    if (size == 2 && std::memcmp(name, "h2", 2) == 0) {
      protocol = Origin::Protocol::kHttp2;
      transfer->sender->CountStream(origin, tls);
      transfer->sender->Cork(origin->fd);
    } else {
      is_crowded =
          transfer->may_http2 && std::ranges::any_of(origin->active, [tls](const Transfer* other) {
            return other->http1_tls == tls;
          });
      transfer->http1_tls = tls;
    }
  }
  if (origin->protocol != protocol) {
    origin->protocol = protocol;
    origin->connected_at = NowMsecs();
    if (protocol == Origin::Protocol::kHttp2) {
      transfer->sender->silences_.emplace_back(origin->connected_at + kSilenceMsecs, origin->name);
    }
    transfer->sender->CountConnections(origin);
    transfer->sender->MakeReady(origin);
  }
  if (is_crowded) {
    transfer->is_crowded = true;
    return CURL_PREREQFUNC_ABORT;
  }
  return CURL_PREREQFUNC_OK;
}

void CurlSender::CountStream(Origin* origin, SSL* tls) {
  if (streams_index_ == -1) {
    return;
  }
  const size_t count = reinterpret_cast<uintptr_t>(SSL_get_ex_data(tls, streams_index_)) + 1;
  // A pointer is all that there is room for.
  // NOLINTNEXTLINE(performance-no-int-to-ptr)
  SSL_set_ex_data(tls, streams_index_, reinterpret_cast<void*>(count));
  if (count >= kStreamsOfConnection && !origin->is_draining) {
    origin->is_draining = true;
    worn_.push_back(origin);
  }
}

// libcurl writes each frame by itself, three for a request. All that are written in one
// go share their packets.
void CurlSender::Cork(curl_socket_t fd) {
  if (fd != CURL_SOCKET_BAD && std::ranges::find(corked_, fd) == corked_.end()) {
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_CORK, &on, sizeof(on));
    corked_.push_back(fd);
  }
}

// One may be closed by now. Where its number is another socket's, this does it no harm.
void CurlSender::Uncork() {
  for (const curl_socket_t fd : corked_) {
    const int off = 0;
    setsockopt(fd, IPPROTO_TCP, TCP_CORK, &off, sizeof(off));
  }
  corked_.clear();
}

// Called for each line; 0 ends the request.
size_t CurlSender::OnHeader(char* data, size_t size, size_t count, void* context) {
  constexpr string_view kRetryAfter = "retry-after:";
  auto* transfer = static_cast<Transfer*>(context);
  const string_view line(data, size * count);
  if (transfer->origin->answered_at == 0) {
    transfer->sender->MakeReady(transfer->origin);
  }
  transfer->origin->answered_at = NowMsecs();
  transfer->headers_size += line.size();
  if (transfer->headers_size > kHeadersMaxSize || ++transfer->header_lines > kHeaderLinesMax) {
    return 0;
  }
  if (transfer->final_status != 0) {
    return line.size();  // a trailer
  }
  if (line.starts_with("HTTP/")) {
    transfer->retry_after_secs.reset();
  } else if (line == "\r\n" || line == "\n") {
    long status = 0;
    curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status >= 200 && status <= 999) {
      transfer->final_status = static_cast<int>(status);
      transfer->sender->body_deadlines_.push_back(
          {.at = NowMsecs() + kBodyMaxMsecs, .transfer = transfer, .number = transfer->number});
    } else if (++transfer->interims > kInterimMax) {
      return 0;
    }
  } else if (!transfer->retry_after_secs &&
             util::EqualsIgnoringCase(line.substr(0, kRetryAfter.size()), kRetryAfter)) {
    transfer->retry_after_secs = ParseRetryAfter(line.substr(kRetryAfter.size()));
  }
  return line.size();
}

size_t CurlSender::OnBody(char* /*data*/, size_t size, size_t count, void* context) {
  auto* transfer = static_cast<Transfer*>(context);
  transfer->body_size += size * count;
  return transfer->body_size > kBodyMaxSize ? 0 : size * count;
}

// -- from Start() to libcurl --

void CurlSender::Start(PushRequest request) {
  Transfer* transfer = nullptr;
  if (free_transfers_.empty()) {
    transfers_.push_back(std::make_unique<Transfer>());
    transfer = transfers_.back().get();
    transfer->sender = this;
  } else {
    transfer = free_transfers_.back();
    free_transfers_.pop_back();
  }
  transfer->number = next_number_++;
  transfer->request = std::move(request);
  ++in_flight_;
  has_new_ = true;
  if (!IsHeaderValue(transfer->request.authorization) || !IsHeaderValue(transfer->request.topic) ||
      !IsHeaderValue(transfer->request.validation)) {
    Report(transfer, SendStatus::kUnreachable, "not the value of a header field");
    return;
  }

  auto& origin = origins_[transfer->request.endpoint.origin];
  if (!origin) {
    origin = std::make_unique<Origin>();
    origin->name = transfer->request.endpoint.origin;
  }
  transfer->origin = origin.get();
  Wait(transfer);
  MakeReady(origin.get());
  deadlines_.push_back({.at = NowMsecs() + int64_t{limits_.request_timeout_msecs},
                        .transfer = transfer,
                        .number = transfer->number});
}

void CurlSender::MakeReady(Origin* origin) {
  if (!origin->is_ready) {
    origin->is_ready = true;
    ready_.push_back(origin);
  }
}

bool CurlSender::MayStart(const Origin& origin) const noexcept {
  const size_t active = origin.active.size();
  if (origin.waiting.empty() || origin.is_draining) {
    return false;
  }
  switch (origin.protocol) {
    case Origin::Protocol::kUnknown:
      return active == 0;
    case Origin::Protocol::kHttp1:
      // The last one isn't for pushes, which may all hang.
      return active + (IsRegistration(origin.waiting.front()) ? 0 : 1) < limits_.connections_origin;
    case Origin::Protocol::kHttp2:
      return active < (origin.answered_at != 0 || NowMsecs() - origin.connected_at >= kSilenceMsecs
                           ? kStreamsMax
                           : kStreamsFirst);
  }
  return false;
}

void CurlSender::CountConnections(Origin* origin) noexcept {
  connections_ -= origin->connections;
  origin->connections = origin->protocol == Origin::Protocol::kHttp2
                            ? std::min<size_t>(origin->active.size(), 1)
                            : origin->active.size();
  connections_ += origin->connections;
}

// One each in turn where a connection is needed, so that a busy origin does not
// take what others wait for.
void CurlSender::Dispatch() {
  has_new_ = false;
  size_t blocked = 0;
  while (blocked < ready_.size()) {
    Origin* origin = ready_.front();
    ready_.pop_front();
    const bool may_start = MayStart(*origin);
    const bool needs_connection =
        origin->protocol != Origin::Protocol::kHttp2 || origin->active.empty();
    if (may_start && needs_connection && connections_ >= limits_.connections) {
      ready_.push_back(origin);
      ++blocked;
      continue;
    }
    origin->is_ready = false;
    if (may_start) {
      Transfer* transfer = origin->waiting.front();
      origin->waiting.pop_front();
      MakeReady(origin);
      Activate(transfer);
    } else if (origin->waiting.empty() && origin->active.empty()) {
      origins_.erase(origins_.find(origin->name));
    }
  }
}

void CurlSender::Activate(Transfer* transfer) {
  Origin* origin = transfer->origin;
  const bool is_multiplexed = origin->protocol == Origin::Protocol::kHttp2;
  transfer->active_index = origin->active.size();
  transfer->activated_at = NowMsecs();
  origin->active.push_back(transfer);
  CountConnections(origin);

  if (!free_easies_.empty()) {
    transfer->easy = free_easies_.back().release();
    free_easies_.pop_back();
  } else {
    transfer->easy = NewEasy().release();
  }
  if (transfer->easy != nullptr) {
    // If the connection is gone by now, they wait for another one.
    curl_easy_setopt(transfer->easy, CURLOPT_PIPEWAIT, is_multiplexed ? 1L : 0L);
    // Those that may be sent as HTTP/2 get connections of HTTP/1.1 that are in use, too, by
    // libcurl 7.88, where a service has some of each. OnConnected() refuses that.
    transfer->may_http2 = origin->protocol != Origin::Protocol::kHttp1 &&
                          transfer->request.endpoint.url.starts_with("https:");
    curl_easy_setopt(transfer->easy, CURLOPT_HTTP_VERSION,
                     long{transfer->may_http2 ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1});
  }
  if (transfer->easy == nullptr || !SetUp(transfer)) {
    EndActive(transfer, CURLE_FAILED_INIT, nullptr);
  }
}

// The list's texts are ours, and stay where they are while libcurl has them.
void CurlSender::SetHeader(Transfer* transfer) {
  const PushRequest& request = transfer->request;
  size_t lines = 0;
  size_t count = 0;
  const auto add = [&](const char* text) {
    // libcurl does not write to it.
    transfer->list[count].data = const_cast<char*>(text);
    transfer->list[count].next = nullptr;
    if (count > 0) {
      transfer->list[count - 1].next = &transfer->list[count];
    }
    ++count;
  };
  const auto add_line = [&](string_view name, string_view value) {
    string& line = transfer->lines[lines++];
    line.assign(name);
    line.append(value);
    add(line.c_str());
  };
  // No line of that name.
  add("Expect:");
  add("Accept:");
  if (request.is_device_token) {
    add("Content-Type: text/plain");
    return;
  }
  add("Content-Type: application/octet-stream");
  add("Content-Encoding: aes128gcm");
  add(request.urgency == Urgency::kHigh ? "Urgency: high" : "Urgency: normal");
  add_line("TTL: ", std::to_string(request.ttl_secs));
  if (!request.authorization.empty()) {
    add_line("Authorization: ", request.authorization);
  }
  if (!request.topic.empty()) {
    add_line("Topic: ", request.topic);
  }
  if (!request.validation.empty()) {
    add_line("WebPush-Validation: ", request.validation);
  }
}

bool CurlSender::SetUp(Transfer* transfer) {
  const PushRequest& request = transfer->request;
  SetHeader(transfer);
  CURL* easy = transfer->easy;
  curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, transfer);
  curl_easy_setopt(easy, CURLOPT_PREREQDATA, transfer);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->list.data());
  curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
  curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request.body.data());
  return curl_easy_setopt(easy, CURLOPT_URL, request.endpoint.url.c_str()) == CURLE_OK &&
         curl_multi_add_handle(multi_, easy) == CURLM_OK;
}

// -- from libcurl to Done --

void CurlSender::Report(Transfer* transfer, SendStatus status, const string& error,
                        bool is_bystander) {
  SendResult result;
  result.is_bystander = is_bystander;
  result.id = transfer->request.id;
  result.status = status;
  if (status == SendStatus::kAnswered) {
    result.http_status = transfer->final_status;
    result.retry_after_secs = transfer->retry_after_secs;
  } else {
    result.error = error;
  }
  results_.push_back(std::move(result));

  // All but what is worth keeping: who it is for, and the memory of lines.
  transfer->number = 0;
  transfer->request = {};
  transfer->origin = nullptr;
  transfer->was_tried = false;
  Reset(transfer);
  free_transfers_.push_back(transfer);
}

// As it was before libcurl had it.
void CurlSender::Reset(Transfer* transfer) {
  transfer->http1_tls = nullptr;
  transfer->is_crowded = false;
  transfer->connected = 0;
  transfer->sockets_refused = 0;
  transfer->sockets_opened = 0;
  transfer->headers_size = 0;
  transfer->header_lines = 0;
  transfer->body_size = 0;
  transfer->interims = 0;
  transfer->final_status = 0;
  transfer->retry_after_secs.reset();
}

// An error number, or 0 if there is a descriptor left. Where there is none, libcurl and the
// resolver speak of the other side's trouble.
int WhyNoDescriptor(int some_fd) {
  const int fd = fcntl(some_fd, F_DUPFD_CLOEXEC, 0);
  if (fd == -1) {
    return errno;
  }
  close(fd);
  return 0;
}

// In words that are ours, libcurl's or OpenSSL's: libcurl's longer ones have
// parts of the answer in them.
string ErrorText(CURL* easy, CURLcode code) {
  string text = curl_easy_strerror(code);
  long number = 0;
  if (code == CURLE_PEER_FAILED_VERIFICATION &&
      curl_easy_getinfo(easy, CURLINFO_SSL_VERIFYRESULT, &number) == CURLE_OK &&
      number != X509_V_OK && number != X509_V_ERR_UNSPECIFIED) {
    text += string(": ") + X509_verify_cert_error_string(number);
  } else if (code == CURLE_COULDNT_CONNECT &&
             curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &number) == CURLE_OK && number != 0) {
    text += string(": ") + std::strerror(static_cast<int>(number));
  }
  return text;
}

void CurlSender::EndActive(Transfer* transfer, CURLcode code, const char* error) {
  Origin* origin = transfer->origin;
  CURL* easy = transfer->easy;
  auto status = SendStatus::kUnreachable;
  string text;
  if (transfer->final_status != 0) {
    status = SendStatus::kAnswered;  // whatever came after it
  } else if (transfer->sockets_refused > 0 && transfer->sockets_opened == 0 &&
             transfer->connected == 0) {
    status = SendStatus::kNotAllowed;
    text = "not an address that may be connected to";
  } else if (error != nullptr) {
    text = error;
  } else if (const int why = transfer->connected == 0 ? WhyNoDescriptor(epoll_fd_) : 0; why != 0) {
    text = string("no connection can be made here: ") + std::strerror(why);
  } else {
    text = code == CURLE_OK ? "no final status" : ErrorText(easy, code);
  }

  transfer->easy = nullptr;
  if (easy != nullptr) {
    if (origin->protocol == Origin::Protocol::kHttp2) {
      Cork(origin->fd);
    }
    curl_multi_remove_handle(multi_, easy);
    EasyPtr owner(easy);
    // libcurl counts retries for the life of a handle, and gives up after five.
    if (code == CURLE_OK && transfer->connected == 1 && free_easies_.size() < kPoolMax) {
      // Nothing of this request is left in it.
      curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 0L);
      curl_easy_setopt(easy, CURLOPT_HTTPHEADER, nullptr);
      curl_easy_setopt(easy, CURLOPT_POSTFIELDS, nullptr);
      free_easies_.push_back(std::move(owner));
    }
  }

  Transfer* last = origin->active.back();
  origin->active[transfer->active_index] = last;
  last->active_index = transfer->active_index;
  origin->active.pop_back();
  const bool is_connected = transfer->connected > 0;
  if (origin->active.empty()) {
    origin->protocol = Origin::Protocol::kUnknown;
    origin->answered_at = 0;
    origin->fd = CURL_SOCKET_BAD;
    origin->is_draining = false;
  }
  CountConnections(origin);
  MakeReady(origin);
  if (transfer->is_crowded && status == SendStatus::kUnreachable &&
      code == CURLE_ABORTED_BY_CALLBACK) {
    // Nothing of it was sent there.
    transfer->was_tried = transfer->was_tried || transfer->connected > 1;
    Reset(transfer);
    Wait(transfer);
    return;
  }
  Report(transfer, status, text);

  if (!is_connected && status != SendStatus::kAnswered && origin->active.empty()) {
    while (!origin->waiting.empty()) {
      Transfer* other = origin->waiting.front();
      origin->waiting.pop_front();
      Report(other, status, text, !other->was_tried);
    }
  }
}

void CurlSender::Wait(Transfer* transfer) {
  auto& waiting = transfer->origin->waiting;
  waiting.insert(std::ranges::upper_bound(waiting, transfer, IsBefore), transfer);
}

// The connection is closed with the last of its requests. Not from a callback of
// libcurl's.
void CurlSender::Drain(Origin* origin) {
  origin->is_draining = true;
  for (const Transfer* transfer : origin->active) {
    curl_easy_setopt(transfer->easy, CURLOPT_FORBID_REUSE, 1L);
  }
}

void CurlSender::DrainWorn() {
  for (Origin* origin : worn_) {
    Drain(origin);
  }
  worn_.clear();
}

void CurlSender::OnTimeOut(Transfer* transfer) {
  Origin* origin = transfer->origin;
  if (transfer->easy == nullptr) {
    // Before it there are only registrations.
    origin->waiting.erase(std::ranges::find(origin->waiting, transfer));
    MakeReady(origin);
    Report(transfer, SendStatus::kUnreachable, "no connection free in time");
    return;
  }
  if (origin->protocol == Origin::Protocol::kHttp2 && transfer->connected > 0 &&
      transfer->final_status == 0 && !origin->is_draining &&
      origin->answered_at <= transfer->activated_at) {
    Drain(origin);
  }
  EndActive(transfer, CURLE_OPERATION_TIMEDOUT, nullptr);
}

void CurlSender::TakeMessages() {
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
    if (message->msg != CURLMSG_DONE) {
      continue;
    }
    Transfer* transfer = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
    EndActive(transfer, message->data.result, nullptr);
  }
}

void CurlSender::TakeDeadlines(int64_t now) {
  const auto take = [&](std::deque<Deadline>* deadlines) {
    while (!deadlines->empty()) {
      const Deadline deadline = deadlines->front();
      const bool is_over = deadline.transfer->number != deadline.number;
      if (!is_over && deadline.at > now) {
        return;
      }
      deadlines->pop_front();
      if (!is_over) {
        OnTimeOut(deadline.transfer);
      }
    }
  };
  take(&deadlines_);
  take(&body_deadlines_);
  for (; !silences_.empty() && silences_.front().first <= now; silences_.pop_front()) {
    const auto origin = origins_.find(silences_.front().second);
    if (origin != origins_.end()) {
      MakeReady(origin->second.get());
    }
  }
}

void CurlSender::Act(curl_socket_t fd, int what) {
  int running = 0;
  records_of_ = nullptr;
  curl_multi_socket_action(multi_, fd, what, &running);
}

void CurlSender::Step() {
  std::array<struct epoll_event, kEventsMax> events;
  const int count = epoll_wait(epoll_fd_, events.data(), kEventsMax, 0);
  for (int n = 0; n < count; ++n) {
    const auto& event = events[static_cast<size_t>(n)];
    if (event.data.fd == timer_fd_) {
      uint64_t times = 0;
      if (read(timer_fd_, &times, sizeof(times)) > 0) {
        armed_at_ = kNever;
      }
      continue;
    }
    const int what = ((event.events & EPOLLIN) != 0 ? CURL_CSELECT_IN : 0) |
                     ((event.events & EPOLLOUT) != 0 ? CURL_CSELECT_OUT : 0) |
                     ((event.events & (EPOLLERR | EPOLLHUP)) != 0 ? CURL_CSELECT_ERR : 0);
    Act(event.data.fd, what);
    Mute(event.data.fd, event.events);
  }
}

// While a service of HTTP/2 takes no body, libcurl 7.88 waits for its socket to be
// writable, which it always is.
void CurlSender::Mute(curl_socket_t fd, uint32_t events) {
  const auto found = sockets_.find(fd);
  if (found == sockets_.end()) {
    return;
  }
  Socket& socket = found->second;
  struct epoll_event event = {.events = socket.events, .data = {.fd = fd}};
  if (events != EPOLLOUT) {
    if (socket.is_muted) {
      socket.is_muted = false;
      epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, fd, &event);
    }
  } else if (++socket.writable > kWritableMax) {
    socket.is_muted = true;
    event.events &= ~uint32_t{EPOLLOUT};
    epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, fd, &event);
    muted_.push_back(fd);
    unmute_at_ = std::min(unmute_at_, NowMsecs() + kMuteMsecs);
  }
}

void CurlSender::Unmute(int64_t now) {
  if (unmute_at_ > now) {
    return;
  }
  unmute_at_ = kNever;
  for (const curl_socket_t fd : std::exchange(muted_, {})) {
    const auto found = sockets_.find(fd);
    if (found != sockets_.end() && found->second.is_muted) {
      found->second.is_muted = false;
      struct epoll_event event = {.events = found->second.events, .data = {.fd = fd}};
      epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, fd, &event);
    }
  }
}

void CurlSender::Run() {
  Step();
  int64_t now = NowMsecs();
  Unmute(now);
  // What is started is due at once; a server that keeps libcurl busy is not to
  // keep us here.
  for (int round = 0; round < kRoundsMax; ++round) {
    DrainWorn();
    TakeMessages();
    Dispatch();
    if (curl_due_ > now) {
      break;
    }
    curl_due_ = kNever;
    Act(CURL_SOCKET_TIMEOUT, 0);
    Uncork();
    now = NowMsecs();
  }
  DrainWorn();
  TakeMessages();
  TakeDeadlines(now);
  Dispatch();
  Uncork();

  // They may call Start().
  std::vector<SendResult> results;
  results.swap(results_);
  for (const auto& result : results) {
    --in_flight_;
    done_(result);
  }
  Arm(NowMsecs());
}

// Sets the timer to what is due next. One that is early is left as it is.
void CurlSender::Arm(int64_t now) {
  int64_t due = std::min(curl_due_, unmute_at_);
  if (!deadlines_.empty()) {
    due = std::min(due, deadlines_.front().at);
  }
  if (!body_deadlines_.empty()) {
    due = std::min(due, body_deadlines_.front().at);
  }
  if (!silences_.empty()) {
    due = std::min(due, silences_.front().first);
  }
  if (has_new_ || !results_.empty()) {
    due = now;
  }
  due = std::max(due, now);
  if (due >= armed_at_) {
    return;
  }
  armed_at_ = due;
  struct itimerspec spec = {};
  spec.it_value.tv_sec = static_cast<time_t>(due / 1000);
  spec.it_value.tv_nsec = static_cast<long>(due % 1000) * 1000000 + 1;
  timerfd_settime(timer_fd_, TFD_TIMER_ABSTIME, &spec, nullptr);
}

}  // namespace

std::unique_ptr<Sender> Sender::Create(const SenderLimits& limits, const EndpointPolicy& policy,
                                       Done done, string* error) {
  auto sender = std::make_unique<CurlSender>(limits, policy, std::move(done));
  if (!sender->Open(error)) {
    return nullptr;
  }
  return sender;
}

}  // namespace coi::relay
