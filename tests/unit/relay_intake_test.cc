// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <functional>
#include <limits>

#include "push/seal.h"
#include "relay/relay.h"
#include "relay_util.h"
#include "test_util.h"

// What comes in, and what goes wrong.
namespace coi::test {
namespace {

using push::Handoff;
using std::string;
using std::string_view;

class RelayIntake : public OpenRelayTest {};

// -- clients --

TEST_F(RelayIntake, Requests_that_are_none) {
  for (const string& text : {string("nonsense\n"), string("\n"), string("1\tdeliver\n"),
                             string("1\tvapid\nmore"), string(push::kMaxHandoffSize + 10, 'x')}) {
    const int fd = Connect("");
    Send(fd, text);
    for (int i = 0; i < 10; ++i) {
      Run();
      Send(fd, text.size() > 1000 ? string_view(text).substr(0, 100000) : "");
    }
    const string answer = Receive(fd);
    EXPECT_TRUE(answer == "-\tbad-request\n" || text.size() > 1000) << text.substr(0, 20);
    EXPECT_NE(answer, "(nothing)");
  }
  EXPECT_EQ(Status().clients, 0U);
}

TEST_F(RelayIntake, A_request_in_pieces) {
  const string line = push::WriteHandoff(MakeHandoff("alice")) + "\n";
  const int fd = Connect(line.substr(0, 10));
  Run();
  Send(fd, line.substr(10, 5));
  Run();
  Send(fd, line.substr(15));
  Run();
  EXPECT_EQ(Receive(fd), kQueued);
}

TEST_F(RelayIntake, A_client_that_stalls_is_dropped) {
  const int fd = Connect("1\tdeliver");
  Run();
  clock_.Advance(9);
  Run();
  EXPECT_EQ(Status().clients, 1U);
  clock_.Advance(2);
  Run();
  EXPECT_EQ(Status().clients, 0U);
  EXPECT_EQ(Receive(fd), "");
  EXPECT_EQ(closed_, 1);
}

TEST_F(RelayIntake, Only_so_many_clients) {
  std::vector<int> fds;
  for (size_t i = 0; i < 400; ++i) {
    fds.push_back(Connect("1"));
  }
  Run();
  EXPECT_EQ(Status().clients, 400U);
  for (const int fd : fds) {
    close(fd);
  }
  Run();
  EXPECT_EQ(Status().clients, 0U);
  EXPECT_EQ(closed_, 400);
}

TEST_F(RelayIntake, MSG_10_a_client_that_has_gone_has_used_the_spool) {
  const Handoff handoff = MakeHandoff("alice");
  const int fd = Connect(push::WriteHandoff(handoff) + "\n");
  close(fd);
  Run();
  EXPECT_EQ(Status().queued, 0U);
  PutIntoSpool(handoff);
  Run();
  EXPECT_EQ(Status().queued, 1U);
  EXPECT_EQ(AnswerAll(201), 1);
}

TEST_F(RelayIntake, Duplicates_are_queued_once) {
  const Handoff handoff = MakeHandoff("alice");
  const string line = push::WriteHandoff(handoff) + "\n";
  const int first = Connect(line);
  const int second = Connect(line);
  Run();
  EXPECT_EQ(Receive(first), kQueued);
  EXPECT_EQ(Receive(second), kQueued);
  EXPECT_EQ(AnswerAll(201), 1);
  // Also after it has been delivered.
  PutIntoSpool(handoff);
  Run();
  EXPECT_FALSE(IsInSpool(handoff));
  EXPECT_EQ(AnswerAll(201), 0);
  // The same id of somebody else is another one.
  Handoff other = handoff;
  other.user = "bob";
  EXPECT_EQ(Ask(other), kQueued);
  EXPECT_EQ(AnswerAll(201), 1);
}

// -- registrations --

TEST_F(RelayIntake, SUB_6_register) {
  const int fd = Connect(push::WriteHandoff(MakeRegistration("alice")) + "\n");
  Run();
  ASSERT_EQ(sender_->requests.size(), 1U);
  const relay::PushRequest request = sender_->AnswerHttp(201);
  EXPECT_EQ(request.validation, "true");
  EXPECT_EQ(request.ttl_secs, 300U);
  EXPECT_EQ(request.topic.size(), 32U);
  // Somebody waits for it.
  EXPECT_EQ(request.urgency, relay::Urgency::kHigh);
  Run();
  const string answer = Receive(fd);
  EXPECT_EQ(answer.substr(0, 17), "+\taccepted\tvapid=");
  EXPECT_EQ(answer.size(), 17U + 16 + 1);
  EXPECT_EQ(Status().queued, 0U);
  ASSERT_EQ(events_.size(), 1U);
  EXPECT_TRUE(events_[0].validation);
}

TEST_F(RelayIntake, SUB_12_register_says_what_went_wrong) {
  struct {
    const char* user;
    relay::SendStatus status;
    int http;
    const char* answer;
  } cases[] = {
      {"a", relay::SendStatus::kAnswered, 404, "-\trefused\n"},
      {"b", relay::SendStatus::kAnswered, 301, "-\trefused\n"},
      {"c", relay::SendStatus::kAnswered, 413, "-\trefused\n"},
      // These pass, and another endpoint wouldn't help.
      {"d", relay::SendStatus::kAnswered, 408, "-\tunreachable\n"},
      {"e", relay::SendStatus::kAnswered, 429, "-\tunreachable\n"},
      {"f", relay::SendStatus::kAnswered, 503, "-\tunreachable\n"},
      {"g", relay::SendStatus::kUnreachable, 0, "-\tunreachable\n"},
      {"h", relay::SendStatus::kNotAllowed, 0, "-\tnot-allowed\n"},
  };
  for (const auto& one : cases) {
    const int fd = Connect(push::WriteHandoff(MakeRegistration(one.user)) + "\n");
    Run();
    sender_->Answer({0, one.status, one.http, 10, "text"});
    Run();
    EXPECT_EQ(Receive(fd), one.answer);
  }
  EXPECT_EQ(Ask(MakeRegistration("i", "https://127.0.0.1/")), "-\tnot-allowed\n");
  EXPECT_EQ(Ask(MakeRegistration("i", "http://push.example.org/")), "-\tnot-allowed\n");
  point_.back() = static_cast<char>(point_.back() ^ 1);
  EXPECT_EQ(Ask(MakeRegistration("i")), "-\tbad-key\n");
  EXPECT_EQ(sender_->requests.size(), 0U);
}

TEST_F(RelayIntake, SUB_6_registers_only_what_is_to_be_validated) {
  for (const bool is_validated : {false, true}) {
    Handoff handoff = MakeRegistration("alice");
    push::Subscription subscription = MakeSubscription("https://push.example.org/a");
    subscription.validated = is_validated;
    subscription.expires = clock_.wall / 1000000 + 300;
    handoff.subscriptions.front().second = push::WriteStored(subscription);
    EXPECT_EQ(Ask(handoff), "-\tbad-request\n") << is_validated;
  }
  EXPECT_EQ(sender_->requests.size(), 0U);
}

TEST_F(RelayIntake, END_4_END_5_only_so_many_registrations_at_once) {
  const auto register_one = [&](int user, int host) {
    return Ask(MakeRegistration("user" + std::to_string(user),
                                "https://host" + std::to_string(host) + ".example/"));
  };
  // With one service, which may hang; and with all.
  int user = 0;
  for (int host = 0; host < 8; ++host) {
    for (int i = 0; i < 8; ++i) {
      EXPECT_EQ(register_one(++user, host), "(nothing)");
    }
    EXPECT_EQ(register_one(++user, host), "-\tbusy\n");
    EXPECT_EQ(sender_->requests.size(), (static_cast<size_t>(host) + 1) * 8);
  }
  EXPECT_EQ(register_one(++user, 8), "-\tbusy\n");
  sender_->AnswerHttp(404);
  Run();
  EXPECT_EQ(register_one(++user, 8), "(nothing)");
  EXPECT_EQ(sender_->requests.size(), 64U);
}

TEST_F(RelayIntake, SUB_6_register_is_answered_in_time) {
  const int fd = Connect(push::WriteHandoff(MakeRegistration("alice")) + "\n");
  const int other = Connect(push::WriteHandoff(MakeRegistration("bob")) + "\n");
  Run();
  close(other);
  clock_.Advance(11);
  Run();
  EXPECT_EQ(Receive(fd), "-\tunreachable\n");
  EXPECT_EQ(Status().clients, 0U);
  AnswerAll(201);
  EXPECT_EQ(Status().queued, 0U);
}

TEST_F(RelayIntake, END_5_failures_lock_registration) {
  const auto fail = [&] {
    const string answer = Ask(MakeRegistration("mallory", "https://127.0.0.1/"));
    return answer != "-\tbusy\n";
  };
  settings_.register_limit = 1000;
  Reopen();
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(fail());
  }
  EXPECT_NE(AllLogs().find("mallory keep failing; none is taken for 5 min"), string::npos);
  int64_t lock = 300;
  for (int i = 0; i < 3; ++i, lock *= 2) {
    clock_.Advance(lock - 1);
    EXPECT_FALSE(fail());
    clock_.Advance(1);
    EXPECT_TRUE(fail());
  }
  // Nobody else is locked out.
  EXPECT_EQ(Ask(MakeRegistration("alice", "https://127.0.0.1/")), "-\tnot-allowed\n");
}

TEST_F(RelayIntake, END_5_one_that_succeeds_ends_the_failures) {
  settings_.register_limit = 1000;
  Reopen();
  for (int i = 0; i < 5; ++i) {
    for (int k = 0; k < 4; ++k) {
      EXPECT_EQ(Ask(MakeRegistration("alice", "https://127.0.0.1/")), "-\tnot-allowed\n");
    }
    const int fd = Connect(push::WriteHandoff(MakeRegistration("alice")) + "\n");
    Run();
    EXPECT_EQ(AnswerAll(201), 1);
    EXPECT_EQ(Receive(fd).substr(0, 10), "+\taccepted");
  }
}

TEST_F(RelayIntake, END_5_registrations_an_hour) {
  settings_.register_limit = 6;
  Reopen();
  const auto register_one = [&] {
    const int fd = Connect(push::WriteHandoff(MakeRegistration("alice")) + "\n");
    Run();
    AnswerAll(201);
    return Receive(fd).substr(0, 6);
  };
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(register_one(), "+\tacce");
  }
  EXPECT_EQ(register_one(), "-\tbusy");
  clock_.Advance(601);
  EXPECT_EQ(register_one(), "+\tacce");
  EXPECT_EQ(register_one(), "-\tbusy");
}

// -- spool --

TEST_F(RelayIntake, MSG_10_takes_the_spool) {
  relay_.reset();
  const Handoff first = MakeHandoff("alice");
  const Handoff second = MakeHandoff("bob");
  PutIntoSpool(first);
  Reopen();
  EXPECT_FALSE(IsInSpool(first));
  EXPECT_EQ(AnswerAll(201), 1);
  // And while it is running.
  PutIntoSpool(second);
  Run();
  EXPECT_FALSE(IsInSpool(second));
  EXPECT_EQ(AnswerAll(201), 1);
}

TEST_F(RelayIntake, The_spool_may_hold_anything) {
  const string id(31, 'a');
  // It would be taken if it were there.
  const string canary = directory_.path() + "/canary";
  const string secret =
      push::SealFor(ReadFile(Spool("seal.pub")), push::WriteHandoff(MakeHandoff("carol")) + "\n")
          .value_or("");
  WriteFile(canary, secret);
  WriteFile(Spool(id + "0.handoff"), "junk");
  WriteFile(Spool(id + "1.handoff"), "");
  WriteFile(Spool(id + "2.handoff"), string(push::kMaxHandoffSize + 1000, 'x'));
  ASSERT_EQ(symlink(canary.c_str(), Spool(id + "3.handoff").c_str()), 0);
  ASSERT_EQ(mkfifo(Spool(id + "4.handoff").c_str(), 0666), 0);
  ASSERT_EQ(mkdir(Spool(id + "5.handoff").c_str(), 0777), 0);
  ASSERT_EQ(mkdir(Spool(id + "6.handoff").c_str(), 0777), 0);
  WriteFile(Spool(id + "6.handoff") + "/file", "");
  WriteFile(Spool("other-name"), "");
  WriteFile(Spool("A" + id + ".handoff"), "");
  const auto sealed = push::SealFor(ReadFile(Spool("seal.pub")), "1\tnonsense\n");
  WriteFile(Spool(id + "7.handoff"), *sealed);
  const auto registration =
      push::SealFor(ReadFile(Spool("seal.pub")), push::WriteHandoff(MakeRegistration("alice")));
  WriteFile(Spool(id + "8.handoff"), *registration);
  const Handoff good = MakeHandoff("alice");
  PutIntoSpool(good);
  Run();
  EXPECT_EQ(AnswerAll(201), 1);
  EXPECT_FALSE(IsInSpool(good));
  for (const char digit : {'0', '1', '2', '3', '4', '5', '7', '8'}) {
    struct stat status {};
    EXPECT_NE(lstat(Spool(id + digit + ".handoff").c_str(), &status), 0) << digit;
  }
  EXPECT_EQ(ReadFile(canary), secret);
  EXPECT_LE(logs_.size(), 8U);
  // Somebody may be writing it; a day later nobody is.
  EXPECT_EQ(access(Spool("other-name").c_str(), F_OK), 0);
  clock_.Advance(int64_t{25} * 3600);
  Run();
  EXPECT_NE(access(Spool("other-name").c_str(), F_OK), 0);
}

// What else is asked for there is no push.
TEST_F(RelayIntake, The_spool_is_for_deliveries_only) {
  push::Handoff handoff = MakeHandoff("alice");
  Ask(handoff);
  ASSERT_EQ(Status().queued, 1U);
  for (const auto kind : {push::HandoffKind::kForget, push::HandoffKind::kGone}) {
    push::Handoff other = MakeHandoff("alice");
    other.kind = kind;
    PutIntoSpool(other);
    Run();
    EXPECT_FALSE(IsInSpool(other));
    EXPECT_EQ(Status().queued, 1U);
  }
}

TEST_F(RelayIntake, Registers_nothing_that_has_expired) {
  clock_.Advance(-300);
  const push::Handoff handoff = MakeRegistration("alice");
  clock_.Advance(600);
  EXPECT_EQ(Ask(handoff), "-\trefused\n");
  EXPECT_EQ(sender_->requests.size(), 0U);
}

// How long ago that was is more than the type of a number holds.
TEST_F(RelayIntake, Registers_nothing_that_has_expired_before_all_time) {
  push::Handoff handoff = MakeRegistration("alice");
  push::Subscription subscription = MakeSubscription("https://push.example.org/a");
  subscription.validated = false;
  subscription.validation = "Canary-Validation";
  subscription.expires = std::numeric_limits<int64_t>::min();
  handoff.subscriptions.front().second = push::WriteStored(subscription);
  EXPECT_EQ(Ask(handoff), "-\trefused\n");
  EXPECT_EQ(sender_->requests.size(), 0U);
}

TEST_F(RelayIntake, A_full_queue_leaves_the_spool_alone) {
  settings_.queue_limit = 1;
  Reopen();
  Ask(MakeHandoff("alice"));
  const Handoff handoff = MakeHandoff("bob");
  PutIntoSpool(handoff);
  Run();
  EXPECT_TRUE(IsInSpool(handoff));
  EXPECT_EQ(AnswerAll(201), 1);
  clock_.Advance(11);
  Run();
  EXPECT_FALSE(IsInSpool(handoff));
  EXPECT_EQ(AnswerAll(201), 1);
}

TEST_F(RelayIntake, MSG_10_the_spool_counts_from_when_it_was_written) {
  clock_.wall = (static_cast<int64_t>(time(nullptr)) + 86400 + 100) * 1000000;
  PutIntoSpool(MakeHandoff("alice"));
  Reopen();
  EXPECT_EQ(sender_->requests.size(), 0U);
  EXPECT_EQ(Status().dropped, 1U);
  EXPECT_EQ(Status().queued, 0U);
}

TEST_F(RelayIntake, MSG_10_the_spool_counts_by_the_queues_clock) {
  const int64_t day = int64_t{86400} * 1000000;
  // Set to what it is while it runs, two days ago.
  clock_.wall += 2 * day;
  Reopen();
  clock_.wall -= 2 * day;
  PutIntoSpool(MakeHandoff("alice"));
  Run();
  ASSERT_EQ(sender_->requests.size(), 1U);
  EXPECT_GT(sender_->requests[0].ttl_secs, 86400U - 1000);
  EXPECT_EQ(Status().dropped, 0U);
}

// Whoever writes a file may give it any time.
TEST_F(RelayIntake, MSG_10_no_push_lives_longer_by_its_files_time) {
  const Handoff handoff = MakeHandoff("alice");
  PutIntoSpool(handoff);
  const timespec late{time(nullptr) + time_t{10} * 86400, 0};
  const timespec times[] = {late, late};
  ASSERT_EQ(utimensat(AT_FDCWD, Spool(handoff.id + ".handoff").c_str(), times, 0), 0);
  Run();
  ASSERT_EQ(sender_->requests.size(), 1U);
  EXPECT_LE(sender_->requests[0].ttl_secs, 86400U);
}

TEST_F(RelayIntake, END_5_what_others_put_into_the_spool_is_not_its_users) {
  if (geteuid() != 0) {
    GTEST_SKIP() << "only root can be somebody else";
  }
  settings_.queue_user_limit = 2;
  Reopen();
  Ask(MakeHandoff("alice"));
  ASSERT_EQ(sender_->requests.size(), 1U);
  for (int i = 0; i < 6; ++i) {
    const Handoff handoff = MakeHandoff("alice");
    PutIntoSpool(handoff);
    ASSERT_EQ(chown(Spool(handoff.id + ".handoff").c_str(), 65534, 65534), 0);
    Run();
    EXPECT_FALSE(IsInSpool(handoff));
  }
  // Hers, and two of the other's.
  EXPECT_EQ(Status().queued, 3U);
}

// -- what breaks --

TEST_F(RelayIntake, A_full_disk) {
  relay_.reset();
  max_pages_ = 40;
  Reopen();
  string answer = kQueued;
  int queued = 0;
  for (; queued < 200 && answer == kQueued; ++queued) {
    Handoff handoff = MakeHandoff("user" + std::to_string(queued));
    handoff.mail.body = string(4000, 'x');
    answer = Ask(handoff);
  }
  EXPECT_EQ(answer, "-\tunavailable\n");
  EXPECT_EQ(Status().queued, static_cast<uint64_t>(queued - 1));
  Handoff spooled = MakeHandoff("alice");
  spooled.mail.body = string(4000, 'x');
  PutIntoSpool(spooled);
  Run();
  EXPECT_TRUE(IsInSpool(spooled));
  EXPECT_EQ(AnswerAll(201), queued - 1);
  EXPECT_EQ(Ask(MakeHandoff("alice")), kQueued);
  clock_.Advance(11);
  Run();
  EXPECT_FALSE(IsInSpool(spooled));
  EXPECT_EQ(AnswerAll(201), 2);
}

// No file may get larger, as with LimitFSIZE.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t size) : handler_(signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{size, before_.rlim_max};
    EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
  void (*handler_)(int);
};

// It was stuck until it was started again, though the database had room for what was in
// the log.
TEST_F(RelayIntake, MSG_10_goes_on_where_its_log_may_not_grow) {
  const FileSizeLimit limit(size_t{1} << 20U);
  Handoff handoff;
  string answer = kQueued;
  for (int i = 0; i < 200 && answer == kQueued; ++i) {
    handoff = MakeHandoff("user" + std::to_string(i % 5));
    handoff.mail.body = string(4000, 'x');
    answer = Ask(handoff);
    AnswerAll(201);
  }
  EXPECT_EQ(answer, "-\tunavailable\n");
  clock_.Advance(2);
  Run();
  EXPECT_EQ(Ask(handoff), kQueued);
  EXPECT_EQ(AnswerAll(201), 1);
  EXPECT_EQ(Status().queued, 0U);
}

TEST_F(RelayIntake, A_queue_that_cannot_be_written) {
  for (int i = 0; i < 20; ++i) {
    Ask(MakeHandoff("user" + std::to_string(i)));
  }
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open((queue_dir_ + "/queue.sqlite").c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
  EXPECT_EQ(Ask(MakeHandoff("alice")), "-\tunavailable\n");
  int sent = AnswerAll(201);
  EXPECT_EQ(Status().delivered, static_cast<uint64_t>(sent));
  EXPECT_EQ(Status().queued, 20U);
  ASSERT_EQ(sqlite3_exec(other, "ROLLBACK", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(other);
  clock_.Advance(2);
  Run();
  sent += AnswerAll(201);
  EXPECT_EQ(sent, 20);
  EXPECT_EQ(Status().queued, 0U);
}

TEST_F(RelayIntake, A_damaged_queue_is_moved_away) {
  Ask(MakeHandoff("alice"));
  relay_.reset();
  WriteFile(queue_dir_ + "/queue.sqlite", string(10000, 'x'));
  unlink((queue_dir_ + "/queue.sqlite-wal").c_str());
  Reopen();
  EXPECT_EQ(Status().queued, 0U);
  EXPECT_EQ(Ask(MakeHandoff("alice")), kQueued);
  int kept = 0;
  for (const auto& file : std::filesystem::directory_iterator(queue_dir_)) {
    kept += file.path().filename().string().find(".damaged-") != string::npos ? 1 : 0;
  }
  EXPECT_EQ(kept, 1);
  EXPECT_NE(AllLogs().find("damaged"), string::npos);
}

TEST_F(RelayIntake, A_queue_that_is_damaged_while_in_use) {
  settings_.in_flight_limit = 1;
  Reopen();
  for (int i = 0; i < 300; ++i) {
    Handoff handoff = MakeHandoff("user" + std::to_string(i));
    handoff.mail.body = string(4000, 'x');
    Ask(handoff);
  }
  Reopen();
  {
    std::fstream file(queue_dir_ + "/queue.sqlite");
    for (std::streamoff page = 1; page < 200; ++page) {
      file.seekp(page * 4096);
      file << string(64, 'x');
    }
  }
  for (int i = 0; i < 50; ++i) {
    if (!sender_->requests.empty()) {
      sender_->AnswerHttp(201);
    }
    Ask(MakeHandoff("alice" + std::to_string(i)));
  }
  EXPECT_EQ(Ask(MakeHandoff("alice")), kQueued);
  EXPECT_NE(AllLogs().find("damaged"), string::npos);
  AnswerAll(201);
  EXPECT_EQ(Status().queued, 0U);
}

TEST_F(RelayIntake, A_new_storage_key_drops_what_it_cannot_open) {
  settings_.in_flight_limit = 1;
  Reopen();
  for (int i = 0; i < 20; ++i) {
    Ask(MakeHandoff("user" + std::to_string(i)));
  }
  relay_.reset();
  unlink((key_dir_ + "/storage.pem").c_str());
  logs_.clear();
  Reopen();
  EXPECT_EQ(sender_->requests.size(), 0U);
  EXPECT_EQ(Status().queued, 0U);
  EXPECT_EQ(Status().dropped, 20U);
  EXPECT_LE(logs_.size(), 3U);
  EXPECT_EQ(Ask(MakeHandoff("alice")), kQueued);
  EXPECT_EQ(AnswerAll(201), 1);
}

TEST_F(RelayIntake, The_clock_may_be_set_back) {
  Ask(MakeHandoff("alice"));
  sender_->AnswerHttp(503, 3600);
  Run();
  clock_.wall -= int64_t{30} * 86400 * 1000000;
  clock_.Advance(3500);
  Run();
  EXPECT_EQ(sender_->requests.size(), 0U);
  // The longest that Retry-After is stretched to.
  clock_.Advance(1000);
  Run();
  EXPECT_EQ(sender_->requests.size(), 1U);
  AnswerAll(201);
  EXPECT_EQ(Status().queued, 0U);
}

TEST_F(RelayIntake, MSG_7_old_keys_sign_for_old_subscriptions) {
  const auto sent_with = [&](const string& vapid) {
    Handoff handoff = MakeHandoff("alice");
    push::Subscription subscription = MakeSubscription("https://push.example.org/" + vapid);
    subscription.vapid = vapid;
    handoff.subscriptions[0].second = push::WriteStored(subscription);
    Ask(handoff);
    const string authorization = sender_->AnswerHttp(201).authorization;
    Run();
    return authorization.substr(authorization.find(", k=") + 4);
  };
  const auto old_key = push::VapidKey::FromPem(ReadFile(key_dir_ + "/vapid.pem"));
  ASSERT_TRUE(old_key);
  relay_.reset();
  ASSERT_EQ(rename((key_dir_ + "/vapid.pem").c_str(), (key_dir_ + "/vapid-2026.pem").c_str()), 0);
  Reopen();
  const auto new_key = push::VapidKey::FromPem(ReadFile(key_dir_ + "/vapid.pem"));
  ASSERT_TRUE(new_key);
  EXPECT_EQ(sent_with(""), new_key->PublicKey());
  EXPECT_EQ(sent_with(new_key->id()), new_key->PublicKey());
  EXPECT_EQ(sent_with(old_key->id()), old_key->PublicKey());
  EXPECT_EQ(AllLogs().find("not here"), string::npos);
  EXPECT_EQ(sent_with("AAAAAAAAAAAAAAAA"), new_key->PublicKey());
  EXPECT_NE(AllLogs().find("VAPID key that is not here"), string::npos);
}

TEST_F(RelayIntake, Refuses_to_start_without_its_keys) {
  relay_.reset();
  WriteFile(key_dir_ + "/vapid.pem", "nonsense");
  EXPECT_FALSE(Open());
  EXPECT_NE(error_.find("vapid.pem is not a private key"), string::npos) << error_;
  EXPECT_EQ(ReadFile(key_dir_ + "/vapid.pem"), "nonsense");
  unlink((key_dir_ + "/vapid.pem").c_str());
  unlink((key_dir_ + "/storage.pem").c_str());
  mkdir((key_dir_ + "/storage.pem").c_str(), 0700);
  EXPECT_FALSE(Open());
  EXPECT_NE(error_.find("storage.pem"), string::npos) << error_;
}

TEST_F(RelayIntake, Warns_of_keys_that_others_can_read) {
  relay_.reset();
  struct stat status {};
  ASSERT_EQ(stat((key_dir_ + "/vapid.pem").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0600U);
  chmod((key_dir_ + "/vapid.pem").c_str(), 0640);
  Reopen();
  EXPECT_NE(AllLogs().find("0600"), string::npos);
}

TEST_F(RelayIntake, The_public_key_is_published_whatever_is_there) {
  const string path = Spool("seal.pub");
  const string key = ReadFile(path);
  const string canary = directory_.path() + "/canary";
  const string copy = directory_.path() + "/copy";
  const struct {
    const char* name;
    std::function<void()> put;
  } cases[] = {
      {"nothing", [] {}},
      {"link", [&] { EXPECT_EQ(symlink(canary.c_str(), path.c_str()), 0); }},
      {"link to the same", [&] { EXPECT_EQ(symlink(copy.c_str(), path.c_str()), 0); }},
      {"another key", [&] { WriteFile(path, string(key.size(), 'x')); }},
      {"more", [&] { WriteFile(path, key + "x"); }},
      {"may be written",
       [&] {
         WriteFile(path, key);
         EXPECT_EQ(chmod(path.c_str(), 0666), 0);
       }},
      {"may not be read",
       [&] {
         WriteFile(path, key);
         EXPECT_EQ(chmod(path.c_str(), 0600), 0);
       }},
      {"somebody else's",
       [&] {
         WriteFile(path, key);
         EXPECT_EQ(chmod(path.c_str(), 0644), 0);
         EXPECT_EQ(geteuid() == 0 ? chown(path.c_str(), 65534, 65534) : 0, 0);
       }},
  };
  for (const auto& one : cases) {
    relay_.reset();
    WriteFile(canary, "secret");
    WriteFile(copy, key);
    chmod(copy.c_str(), 0644);
    unlink(path.c_str());
    one.put();
    Reopen();
    struct stat status {};
    ASSERT_EQ(lstat(path.c_str(), &status), 0) << one.name;
    EXPECT_TRUE(S_ISREG(status.st_mode)) << one.name;
    EXPECT_EQ(status.st_mode & 07777U, 0644U) << one.name;
    EXPECT_EQ(status.st_uid, geteuid()) << one.name;
    EXPECT_EQ(ReadFile(path), key) << one.name;
    EXPECT_EQ(ReadFile(canary), "secret") << one.name;
  }
}

TEST_F(RelayIntake, Refuses_bad_settings) {
  relay_.reset();
  const string link = directory_.path() + "/link";
  ASSERT_EQ(symlink(spool_dir_.c_str(), link.c_str()), 0);
  coi_relay_settings& settings = settings_;
  const struct {
    std::function<void()> change;
    string error;
  } cases[] = {
      {[&] { settings.vapid_subject = "nonsense"; }, "The contact for push services"},
      {[&] { settings.ttl_mail_secs = 0; }, "coi_push_ttl is 0"},
      {[&] { settings.ttl_chat_secs = 0; }, "coi_push_ttl is 0"},
      {[&] { settings.queue_dir = settings.key_dir; }, "two are the same"},
      {[&] { settings.spool_dir = settings.key_dir; }, "two are the same"},
      {[&] { settings.spool_dir = settings.queue_dir; }, "two are the same"},
      {[&] { settings.networks_allowed = "nonsense"; }, "nonsense"},
      {[&] { settings.device_token_gateway = "https://127.0.0.1/"; },
       "coi_push_deltachat_gateway: https://127.0.0.1/ is no URL"},
      {[&] { settings.key_dir = "/nonexistent"; }, "Can't make a file in /nonexistent"},
      {[&] { settings.queue_dir = "/nonexistent"; }, "Can't open /nonexistent/queue.lock"},
      {[&] { settings.spool_dir = "/nonexistent"; }, "Can't open /nonexistent: "},
      // Where it leads to may be changed.
      {[&] { settings.spool_dir = link.c_str(); }, "Can't open " + link + ": "},
  };
  const coi_relay_settings good = settings_;
  for (const auto& one : cases) {
    settings_ = good;
    one.change();
    EXPECT_FALSE(Open()) << one.error;
    EXPECT_NE(error_.find(one.error), string::npos) << one.error << "\n" << error_;
  }
  settings_ = good;
  EXPECT_TRUE(Open()) << error_;
}

}  // namespace
}  // namespace coi::test
