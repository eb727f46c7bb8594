// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_TESTS_UNIT_RELAY_UTIL_H
#define COI_TESTS_UNIT_RELAY_UTIL_H

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sqlite3.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <deque>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "push/handoff.h"
#include "push/seal.h"
#include "push/subscription.h"
#include "push/vapid.h"
#include "relay/relay.h"
#include "util/base64.h"

namespace coi::test {

// The answer to what was taken.
inline constexpr char kQueued[] = "+\tqueued\n";

// A directory that goes away with it.
class TemporaryDirectory {
 public:
  explicit TemporaryDirectory(
      const std::string& parent = std::filesystem::temp_directory_path().string()) {
    std::string name = parent + "/coi-relay-XXXXXX";
    if (mkdtemp(name.data()) == nullptr) {
      std::abort();
    }
    path_ = name;
  }
  ~TemporaryDirectory() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::string& path() const {
    return path_;
  }
  std::string Make(const std::string& name, mode_t mode = 0700) const {
    const std::string path = path_ + "/" + name;
    mkdir(path.c_str(), 0700);
    chmod(path.c_str(), mode);
    return path;
  }

 private:
  std::string path_;
};

inline std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void WriteFile(const std::string& path, std::string_view text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
}

class FakeClock : public relay::Clock {
 public:
  int64_t WallUsecs() override {
    return wall;
  }
  int64_t SteadyUsecs() override {
    steady += tick;
    return steady;
  }
  void Advance(int64_t seconds) {
    wall += seconds * 1000000;
    steady += seconds * 1000000;
  }
  // Files have real times.
  int64_t wall = static_cast<int64_t>(time(nullptr)) * 1000000;
  int64_t steady = int64_t{1000} * 1000000;
  // What looking at it costs.
  int64_t tick = 0;
};

// Keeps requests until the test answers them.
class FakeSender : public relay::Sender {
 public:
  explicit FakeSender(Done done) : done_(std::move(done)), fd_(eventfd(0, EFD_NONBLOCK)) {}
  ~FakeSender() override {
    close(fd_);
  }
  void Start(relay::PushRequest request) override {
    requests.push_back(std::move(request));
  }
  size_t in_flight() const override {
    return requests.size() + results_.size();
  }
  int fd() const override {
    return fd_;
  }
  void Run() override {
    uint64_t value = 0;
    EXPECT_EQ(read(fd_, &value, sizeof(value)) > 0, !results_.empty());
    std::vector<relay::SendResult> results = std::move(results_);
    results_.clear();
    for (const relay::SendResult& result : results) {
      done_(result);
    }
  }

  // Answers the oldest request, and returns it.
  relay::PushRequest Answer(relay::SendResult result) {
    if (requests.empty()) {
      ADD_FAILURE() << "there is no request";
      return {};
    }
    relay::PushRequest request = std::move(requests.front());
    requests.pop_front();
    result.id = request.id;
    results_.push_back(std::move(result));
    const uint64_t one = 1;
    EXPECT_EQ(write(fd_, &one, sizeof(one)), static_cast<ssize_t>(sizeof(one)));
    return request;
  }
  relay::PushRequest AnswerHttp(int status, std::optional<int64_t> retry_after = std::nullopt) {
    return Answer({0, relay::SendStatus::kAnswered, status, retry_after, ""});
  }
  relay::PushRequest AnswerUnreachable() {
    return Answer({0, relay::SendStatus::kUnreachable, 0, std::nullopt, "timed out"});
  }

  std::deque<relay::PushRequest> requests;

 private:
  Done done_;
  int fd_;
  std::vector<relay::SendResult> results_;
};

struct Event {
  enum coi_relay_outcome outcome;
  std::string user, subscription, origin, error;
  unsigned int status, attempt;
  uint64_t age_usecs;
  bool validation;
};

// A relay in a directory, with a fake sender and clock.
class RelayTest : public testing::Test {
 protected:
  RelayTest() {
    coi_relay_settings_defaults(&settings_);
    key_dir_ = directory_.Make("keys");
    queue_dir_ = directory_.Make("queue");
    spool_dir_ = directory_.Make("spool", 01733);
    settings_.key_dir = key_dir_.c_str();
    settings_.queue_dir = queue_dir_.c_str();
    settings_.spool_dir = spool_dir_.c_str();
    settings_.vapid_subject = "mailto:admin@example.org";
    settings_.ttl_chat_secs = 7 * 86400;
    settings_.ttl_mail_secs = 86400;
    const auto key = push::VapidKey::Generate();
    point_ = util::DecodeBase64(key->PublicKey()).value_or("");
  }

  bool Open() {
    const coi_relay_callbacks callbacks = {&OnLog, &OnEvent, &OnClosed, this};
    relay::Relay::Parts parts;
    parts.clock = &clock_;
    parts.queue_max_pages = max_pages_;
    // What no test answers isn't waited for.
    parts.leave = {};
    parts.seed = seed_;
    parts.make_sender = [this](const relay::SenderLimits&, const relay::EndpointPolicy&,
                               relay::Sender::Done done, std::string*) {
      auto sender = std::make_unique<FakeSender>(std::move(done));
      sender_ = sender.get();
      return sender;
    };
    error_.clear();
    relay_ = relay::Relay::Open(settings_, callbacks, std::move(parts), &error_);
    return relay_ != nullptr;
  }
  void Reopen() {
    relay_.reset();
    ASSERT_TRUE(Open()) << error_;
    Run();
  }
  void Run() {
    pollfd ready{relay_->fd(), POLLIN, 0};
    int rounds = 0;
    do {
      relay_->Run();
    } while ((relay_->HasWork() || poll(&ready, 1, 0) > 0) && ++rounds < 1000);
  }

  push::Subscription MakeSubscription(const std::string& endpoint) const {
    push::Subscription subscription;
    subscription.client = "client";
    subscription.device = "device";
    subscription.endpoint = endpoint;
    subscription.p256dh = point_;
    subscription.auth = "0123456789abcdef";
    subscription.created = created_;
    subscription.validated = true;
    return subscription;
  }
  push::Handoff MakeHandoff(const std::string& user, const std::vector<std::string>& endpoints = {
                                                         "https://push.example.org/a"}) {
    push::Handoff handoff;
    char id[33];
    std::snprintf(id, sizeof(id), "%032x", ++last_id_);
    handoff.id = id;
    handoff.user = user;
    handoff.mail.uid = last_id_;
    handoff.mail.uidvalidity = 5;
    handoff.mail.folder = "INBOX";
    handoff.mail.subject = "Canary-Subject";
    handoff.mail.body = "Canary-Body";
    for (const std::string& endpoint : endpoints) {
      handoff.subscriptions.emplace_back(
          "subscription-" + std::to_string(handoff.subscriptions.size()),
          push::WriteStored(MakeSubscription(endpoint)));
    }
    return handoff;
  }
  push::Handoff MakeRegistration(const std::string& user,
                                 const std::string& endpoint = "https://push.example.org/a") {
    push::Handoff handoff = MakeHandoff(user, {endpoint});
    handoff.kind = push::HandoffKind::kRegister;
    push::Subscription subscription = MakeSubscription(endpoint);
    subscription.validated = false;
    subscription.validation = "Canary-Validation";
    subscription.expires = clock_.wall / 1000000 + 300;
    handoff.subscriptions.front().second = push::WriteStored(subscription);
    handoff.mail = {};
    return handoff;
  }

  // Our end of a connection; what is given is sent.
  int Connect(std::string_view text) {
    int fds[2] = {-1, -1};
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    Send(fds[0], text);
    relay_->AddClient(fds[1]);
    return fds[0];
  }
  static void Send(int fd, std::string_view text) {
    while (!text.empty()) {
      const ssize_t size = send(fd, text.data(), text.size(), MSG_NOSIGNAL);
      if (size <= 0) {
        break;
      }
      text.remove_prefix(static_cast<size_t>(size));
    }
  }
  // What has come, or "(nothing)" while it is open and silent. Closes it.
  static std::string Receive(int fd) {
    std::string text;
    char chunk[4096];
    ssize_t size = 0;
    while ((size = recv(fd, chunk, sizeof(chunk), 0)) > 0) {
      text.append(chunk, static_cast<size_t>(size));
    }
    // Closed with something unread is reset.
    const bool closed = size == 0 || errno == ECONNRESET;
    close(fd);
    return closed ? text : "(nothing)";
  }
  std::string Ask(const push::Handoff& handoff) {
    const int fd = Connect(push::WriteHandoff(handoff) + "\n");
    Run();
    return Receive(fd);
  }
  // As a process of somebody else's: the kernel notes who makes the connection.
  std::string AskAs(uid_t uid, const push::Handoff& handoff) {
    EXPECT_EQ(seteuid(uid), 0);
    const int fd = Connect(push::WriteHandoff(handoff) + "\n");
    EXPECT_EQ(seteuid(0), 0);
    Run();
    return Receive(fd);
  }
  // Answers all that is and comes under way; returns how many.
  int AnswerAll(int status) {
    int count = 0;
    for (bool more = true; more;) {
      more = false;
      while (!sender_->requests.empty()) {
        sender_->AnswerHttp(status);
        ++count;
        more = true;
      }
      Run();
    }
    return count;
  }
  coi_relay_status Status() const {
    coi_relay_status status{};
    relay_->GetStatus(&status);
    return status;
  }
  std::string AllLogs() const {
    std::string text;
    for (const std::string& line : logs_) {
      text += line + "\n";
    }
    return text;
  }
  std::string Spool(const std::string& name) const {
    return spool_dir_ + "/" + name;
  }

  TemporaryDirectory directory_;
  std::string key_dir_, queue_dir_, spool_dir_;
  coi_relay_settings settings_{};
  FakeClock clock_;
  int64_t max_pages_ = 0;
  uint32_t seed_ = 0;
  std::string point_;
  unsigned int last_id_ = 0;
  // of subscriptions
  int64_t created_ = clock_.wall / 1000000;
  std::vector<std::string> logs_;
  std::vector<Event> events_;
  int closed_ = 0;
  std::string error_;
  FakeSender* sender_ = nullptr;
  std::unique_ptr<relay::Relay> relay_;

 private:
  static void OnLog(void* context, enum coi_relay_log, const char* text) {
    static_cast<RelayTest*>(context)->logs_.emplace_back(text);
  }
  static void OnEvent(void* context, const struct coi_relay_event* event) {
    static_cast<RelayTest*>(context)->events_.push_back(
        {event->outcome, event->user, event->subscription, event->origin, event->error,
         event->status, event->attempt, event->age_usecs, event->validation});
  }
  static void OnClosed(void* context) {
    ++static_cast<RelayTest*>(context)->closed_;
  }
};

// It is open when the test begins.
class OpenRelayTest : public RelayTest {
 protected:
  void SetUp() override {
    ASSERT_TRUE(Open()) << error_;
  }
  // A hand-off's file, as mail processes write it.
  void PutIntoSpool(const push::Handoff& handoff) {
    const auto sealed =
        push::SealFor(ReadFile(Spool("seal.pub")), push::WriteHandoff(handoff) + "\n");
    ASSERT_TRUE(sealed);
    WriteFile(Spool(handoff.id + ".tmp"), *sealed);
    ASSERT_EQ(rename(Spool(handoff.id + ".tmp").c_str(), Spool(handoff.id + ".handoff").c_str()),
              0);
    // It isn't looked at all the time.
    clock_.Advance(1);
  }
  bool IsInSpool(const push::Handoff& handoff) {
    return access(Spool(handoff.id + ".handoff").c_str(), F_OK) == 0;
  }
  // Answers the oldest by `status`, or (0) not at all.
  void Fail(int status) {
    if (status == 0) {
      sender_->AnswerUnreachable();
    } else {
      sender_->AnswerHttp(status);
    }
    Run();
  }
};

// With a gateway for device tokens.
class GatewayRelayTest : public OpenRelayTest {
 protected:
  void SetUp() override {
    settings_.device_token_gateway = "https://gateway.example.org/notify";
    OpenRelayTest::SetUp();
  }
  push::Handoff MakeTokens(const std::string& user, const std::vector<std::string>& tokens,
                           int64_t set = 1) {
    push::Handoff handoff = MakeHandoff(user, {});
    for (const std::string& token : tokens) {
      handoff.subscriptions.emplace_back(
          "deltachat-" + std::to_string(handoff.subscriptions.size()),
          push::WriteStored(*push::MakeDeviceToken(token, set)));
    }
    return handoff;
  }
  // Services that nobody has heard of yet.
  std::vector<std::string> NewUrls() {
    std::vector<std::string> urls;
    urls.reserve(100);
    for (int i = 0; i < 100; ++i) {
      urls.push_back("https://push" + std::to_string(++last_url_) + ".example/");
    }
    return urls;
  }
  static std::vector<std::string> BadTokens() {
    std::vector<std::string> tokens;
    tokens.reserve(10);
    for (int i = 0; i < 10; ++i) {
      tokens.push_back("bad" + std::to_string(i));
    }
    return tokens;
  }
  // Answers bad requests by `status` (0: not at all) once they are `after` seconds
  // old, and good ones at once. Returns how many of those there were.
  int AnswerSome(const std::function<bool(const relay::PushRequest&)>& is_bad, int status,
                 int after) {
    auto& requests = sender_->requests;
    for (int good = 0;; Run()) {
      const auto next = std::ranges::find_if(requests, [&](const relay::PushRequest& request) {
        const int64_t since = started_.try_emplace(request.id, clock_.steady).first->second;
        return !is_bad(request) || clock_.steady - since >= int64_t{1000000} * after;
      });
      if (next == requests.end()) {
        return good;
      }
      const bool bad = is_bad(*next);
      good += bad ? 0 : 1;
      std::swap(*next, requests.front());
      if (bad && status == 0) {
        sender_->AnswerUnreachable();
      } else {
        sender_->AnswerHttp(bad ? status : 200);
      }
    }
  }
  void FailAll() {
    for (; !sender_->requests.empty(); Run()) {
      sender_->AnswerUnreachable();
    }
  }
  static bool IsBadToken(const relay::PushRequest& request) {
    return request.body.starts_with("bad");
  }

 private:
  int last_url_ = 0;
  std::map<uint64_t, int64_t> started_;
};

// Somebody else's connection to the queue.
class Other {
 public:
  explicit Other(const std::string& directory) {
    EXPECT_EQ(sqlite3_open((directory + "/queue.sqlite").c_str(), &database_), SQLITE_OK);
  }
  ~Other() {
    sqlite3_close(database_);
  }
  Other(const Other&) = delete;
  Other& operator=(const Other&) = delete;

  void Do(const std::string& sql) {
    EXPECT_EQ(sqlite3_exec(database_, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
        << sqlite3_errmsg(database_);
  }

 private:
  sqlite3* database_ = nullptr;
};

}  // namespace coi::test

#endif  // COI_TESTS_UNIT_RELAY_UTIL_H
