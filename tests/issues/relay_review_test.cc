// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Mistakes of the relay that a review, and its first load tests, have found.

#include <gtest/gtest.h>
#include <poll.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "relay/retry.h"
#include "relay_util.h"
#include "util/base64.h"

namespace coi::test {
namespace {

using std::string;

class RelayReview : public OpenRelayTest {
 protected:
  void Fail(int status) {
    if (status == 0) {
      sender_->AnswerUnreachable();
    } else {
      sender_->AnswerHttp(status);
    }
    Run();
  }
};

TEST_F(RelayReview, END_4_two_dead_subscriptions_made_a_service_sick) {
  for (const int status : {0, 503, 507}) {
    const string url = "https://push" + std::to_string(status) + ".example/";
    for (int i = 0; i < 12; ++i) {
      for (const char* name : {"dead", "gone"}) {
        Ask(MakeHandoff(name, {url + name}));
        while (!sender_->requests.empty()) {
          Fail(status);
        }
        clock_.Advance(3600);
        Run();
      }
    }
    while (!sender_->requests.empty()) {
      Fail(status);
    }
    Ask(MakeHandoff("alice" + std::to_string(status), {url + "alice"}));
    EXPECT_EQ(sender_->requests.size(), 1U) << status;
    AnswerAll(201);
  }
}

TEST_F(RelayReview, MSG_10_a_start_that_could_not_write_left_pushes_for_ever) {
  Ask(MakeHandoff("alice", {"https://push.example/"}));
  Fail(503);
  relay_.reset();
  clock_.Advance(3600);
  // As a full disk would, or another process that reads the queue.
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open((queue_dir_ + "/queue.sqlite").c_str(), &database), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(database, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
  ASSERT_TRUE(Open()) << error_;
  Run();
  EXPECT_EQ(sender_->requests.size(), 0U);
  sqlite3_close(database);
  clock_.Advance(2);
  Run();
  EXPECT_EQ(sender_->requests.size(), 1U);
}

TEST_F(RelayReview, MSG_10_a_new_push_waited_for_the_time_of_an_old_one) {
  settings_.queue_user_limit = 0;
  settings_.in_flight_limit = 100000;
  Reopen();
  for (int i = 0; i < 5; ++i) {
    Ask(MakeHandoff("alice", {"https://good.example/a"}));
    Fail(403);
  }
  // So many services are being looked after that there is no room for that one.
  for (int i = 0; i < 45; ++i) {
    clock_.Advance(1);
    std::vector<string> urls;
    for (int n = 0; n < 100; ++n) {
      urls.push_back("https://push" + std::to_string(i * 100 + n) + ".example/");
    }
    Ask(MakeHandoff("user" + std::to_string(i), urls));
  }
  Ask(MakeHandoff("bob", {"https://good.example/b"}));
  bool is_sent = false;
  for (int secs = 0; secs < 60; ++secs) {
    while (!sender_->requests.empty()) {
      is_sent = sender_->AnswerHttp(201).endpoint.url == "https://good.example/b" || is_sent;
      Run();
    }
    clock_.Advance(1);
    Run();
  }
  EXPECT_TRUE(is_sent);
}

TEST_F(RelayReview, END_4_one_failed_connection_counted_for_all_who_waited_for_it) {
  for (int i = 0; i < 4; ++i) {
    Ask(MakeHandoff("user" + std::to_string(i), {"https://a.example/" + std::to_string(i)}));
  }
  ASSERT_EQ(sender_->requests.size(), 4U);
  for (bool waited = false; !sender_->requests.empty(); waited = true) {
    sender_->Answer({0, relay::SendStatus::kUnreachable, 0, std::nullopt, "timed out", waited});
  }
  Run();
  // It is well, and those who have only waited have not been tried.
  Ask(MakeHandoff("alice", {"https://a.example/alice"}));
  EXPECT_EQ(sender_->requests.size(), 1U);
  AnswerAll(201);
  clock_.Advance(10);
  Run();
  EXPECT_EQ(AnswerAll(201), 4);
  int second_attempts = 0;
  for (const Event& event : events_) {
    second_attempts += event.outcome == COI_RELAY_DELIVERED && event.attempt == 2 ? 1 : 0;
  }
  EXPECT_EQ(second_attempts, 1);
}

TEST_F(RelayReview, MSG_9_another_failure_overrode_Retry_After) {
  Ask(MakeHandoff("alice"));
  Ask(MakeHandoff("alice"));
  ASSERT_EQ(sender_->requests.size(), 2U);
  sender_->AnswerHttp(429, 3600);
  Run();
  sender_->AnswerUnreachable();
  Run();
  clock_.Advance(3500);
  Run();
  EXPECT_EQ(sender_->requests.size(), 0U);
  clock_.Advance(500);
  Run();
  EXPECT_EQ(AnswerAll(201), 2);
}

TEST(RetryReview, MSG_9_Retry_After_1_switched_the_back_off_off) {
  EXPECT_EQ(relay::RetryDelay(1, 1, 0), 1000);
  EXPECT_EQ(relay::RetryDelay(4, 1, 0), 8000);
  EXPECT_EQ(relay::RetryDelay(40, 1, 0), 300000);
  EXPECT_EQ(relay::RetryDelay(40, 3600, 0), 3600000);
  EXPECT_EQ(relay::RetryDelay(4000000000U, 1, 0), 300000);
}

TEST_F(RelayReview, MSG_10_a_push_was_lost_whose_asker_had_gone) {
  // It has gone without the answer, and put the mail into the spool: there are
  // both, and one of them is enough.
  const push::Handoff handoff = MakeHandoff("alice");
  const int fd = Connect(push::WriteHandoff(handoff) + "\n");
  shutdown(fd, SHUT_RD);
  Run();
  close(fd);
  PutIntoSpool(handoff);
  Run();
  EXPECT_FALSE(IsInSpool(handoff));
  EXPECT_EQ(AnswerAll(201), 1);
}

TEST_F(RelayReview, MSG_10_a_clock_set_back_stopped_the_spool) {
  PutIntoSpool(MakeHandoff("alice"));
  Run();
  EXPECT_EQ(AnswerAll(201), 1);
  clock_.wall -= int64_t{7200} * 1000000;
  PutIntoSpool(MakeHandoff("alice"));
  Run();
  EXPECT_EQ(AnswerAll(201), 1);
}

TEST_F(RelayReview, END_5_a_local_user_could_act_for_others) {
  if (geteuid() != 0) {
    GTEST_SKIP() << "only root can be somebody else";
  }
  settings_.queue_user_limit = 2;
  relay_.reset();
  ASSERT_TRUE(Open()) << error_;
  const auto as_other = [&](const push::Handoff& handoff) { return AskAs(65534, handoff); };
  EXPECT_EQ(Ask(MakeHandoff("alice")), "+\tqueued\n");
  for (int i = 0; i < 6; ++i) {
    as_other(MakeRegistration("alice", "https://127.0.0.1/"));
    as_other(MakeHandoff("alice"));
  }
  EXPECT_EQ(as_other(MakeRegistration("alice")), "-\tbusy\n");
  // Her push is still there, and she may register.
  EXPECT_EQ(sender_->requests.front().ttl_secs, 86400U);
  const size_t before = sender_->requests.size();
  const int fd = Connect(push::WriteHandoff(MakeRegistration("alice")) + "\n");
  Run();
  EXPECT_EQ(sender_->requests.size(), before + 1);
  close(fd);
  EXPECT_EQ(Status().queued, 3U);
}

TEST_F(RelayReview, MSG_7_a_machine_without_a_domain_had_no_push_at_all) {
  settings_.vapid_subject = "";
  settings_.vapid_subject_default = "mailto:postmaster@localhost";
  relay_.reset();
  ASSERT_TRUE(Open()) << error_;
  EXPECT_NE(AllLogs().find("coi_push_vapid_subject"), string::npos);
  Ask(MakeHandoff("alice"));
  EXPECT_EQ(sender_->AnswerHttp(201).authorization.substr(0, 8), "vapid t=");
  settings_.vapid_subject = "mailto:postmaster@localhost";
  relay_.reset();
  EXPECT_FALSE(Open());
}

TEST_F(RelayReview, MSG_10_a_full_disk_kept_it_from_starting) {
  const auto inode = [&] {
    struct stat status {};
    EXPECT_EQ(stat(Spool("seal.pub").c_str(), &status), 0);
    return status.st_ino;
  };
  const auto before = inode();
  const auto wal = [&] {
    std::error_code error;
    return std::filesystem::file_size(queue_dir_ + "/queue.sqlite-wal", error);
  };
  Ask(MakeHandoff("alice"));
  AnswerAll(201);
  Reopen();
  // What is as it should be isn't written again.
  EXPECT_EQ(inode(), before);
  EXPECT_LT(wal(), 20000U);
}

// What one user's services keep waiting is a part of what may be under way.
TEST_F(RelayReview, END_4_one_user_could_stop_all_pushes) {
  std::vector<string> urls;
  for (int i = 0; i < 10; ++i) {
    urls.push_back("https://mallory.example:" + std::to_string(5000 + i) + "/");
  }
  // They answer well for a while ...
  for (int i = 0; i < 40; ++i) {
    Ask(MakeHandoff("mallory", urls));
    AnswerAll(201);
  }
  // ... and then not at all.
  for (int i = 0; i < 40; ++i) {
    Ask(MakeHandoff("mallory", urls));
  }
  const size_t held = sender_->requests.size();
  EXPECT_LT(held, 100U);
  Ask(MakeHandoff("alice", {"https://good.example/"}));
  EXPECT_EQ(sender_->requests.size(), held + 1);
  // Another user of the same services isn't held back by it either.
  Ask(MakeHandoff("bob", {urls.front()}));
  EXPECT_EQ(sender_->requests.size(), held + 2);
  EXPECT_GE(AnswerAll(201), 402);
  EXPECT_EQ(Status().queued, 0U);
}

TEST_F(RelayReview, MSG_10_a_dead_service_filled_the_queue_for_all) {
  settings_.queue_limit = 20;
  Reopen();
  Ask(MakeHandoff("alice", {"https://good.example/"}));
  AnswerAll(201);
  const auto dead = [&](int i) {
    return MakeHandoff("user" + std::to_string(i), {"https://dead.example/" + std::to_string(i)});
  };
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(Ask(dead(i)), "+\tqueued\n");
    while (!sender_->requests.empty()) {
      Fail(0);
    }
  }
  // One that nobody has heard of may be well.
  EXPECT_EQ(Ask(MakeHandoff("alice", {"https://new.example/"})), "+\tqueued\n");
  sender_->AnswerHttp(201);
  Run();
  EXPECT_EQ(Ask(dead(10)), "-\tfull\n");
  EXPECT_NE(AllLogs().find("half full"), string::npos);
  // What comes by the spool must not keep out those behind it.
  const push::Handoff spooled = dead(11);
  PutIntoSpool(spooled);
  Run();
  EXPECT_FALSE(IsInSpool(spooled));
  // For all of a mail's subscriptions that aren't dead there is room.
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(Ask(MakeHandoff("alice", {"https://dead.example/", "https://good.example/"})),
              "+\tqueued\n");
  }
  EXPECT_EQ(Status().queued, 20U);
  EXPECT_EQ(Ask(MakeHandoff("alice", {"https://good.example/"})), "-\tfull\n");
}

TEST_F(RelayReview, SUB_2_what_waited_for_a_removed_subscription_was_sent) {
  Ask(MakeHandoff("alice", {"https://a.example/old", "https://a.example/other"}));
  Ask(MakeHandoff("bob", {"https://a.example/old"}));
  while (!sender_->requests.empty()) {
    sender_->AnswerHttp(503);
    Run();
  }
  ASSERT_EQ(Status().queued, 3U);
  push::Handoff forget = MakeHandoff("alice", {"https://a.example/old"});
  forget.kind = push::HandoffKind::kForget;
  forget.id.clear();
  forget.mail = {};
  EXPECT_EQ(Ask(forget), "+\tok\n");
  EXPECT_EQ(Status().queued, 2U);
  clock_.Advance(3600);
  Run();
  EXPECT_EQ(AnswerAll(201), 2);
  // It may come back, and then gets what is new.
  Ask(MakeHandoff("alice", {"https://a.example/old"}));
  EXPECT_EQ(AnswerAll(201), 1);
  EXPECT_EQ(Status().queued, 0U);
}

// Somebody else's push under way when the subscription goes: its answer changes nothing.
TEST_F(RelayReview, SUB_2_forgotten_while_it_is_under_way) {
  Ask(MakeHandoff("alice", {"https://a.example/old"}));
  push::Handoff forget = MakeHandoff("alice", {"https://a.example/old"});
  forget.kind = push::HandoffKind::kForget;
  forget.id.clear();
  forget.mail = {};
  EXPECT_EQ(Ask(forget), "+\tok\n");
  sender_->AnswerHttp(503);
  Run();
  clock_.Advance(3600);
  Run();
  EXPECT_EQ(sender_->requests.size(), 0U);
  EXPECT_EQ(Status().queued, 0U);
}

TEST_F(RelayReview, END_5_a_clock_set_back_locked_for_a_month) {
  settings_.register_limit = 1000;
  Reopen();
  clock_.wall += int64_t{86400} * 30 * 1000000;
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(Ask(MakeRegistration("alice", "https://127.0.0.1/")), "-\tnot-allowed\n");
  }
  clock_.wall -= int64_t{86400} * 30 * 1000000;
  EXPECT_EQ(Ask(MakeRegistration("alice", "https://127.0.0.1/")), "-\tbusy\n");
  clock_.Advance(301);
  EXPECT_EQ(Ask(MakeRegistration("alice", "https://127.0.0.1/")), "-\tnot-allowed\n");
}

TEST_F(RelayReview, END_5_a_registration_that_timed_out_locked_for_decades) {
  settings_.register_limit = 1000;
  Reopen();
  for (int i = 0; i < 5; ++i) {
    const int fd = Connect(push::WriteHandoff(MakeRegistration("alice")) + "\n");
    Run();
    clock_.Advance(20);
    Run();
    EXPECT_EQ(Receive(fd), "-\tunreachable\n");
    sender_->AnswerUnreachable();
    Run();
  }
  EXPECT_EQ(Ask(MakeRegistration("alice", "https://127.0.0.1/")), "-\tbusy\n");
  clock_.Advance(301);
  EXPECT_EQ(Ask(MakeRegistration("alice", "https://127.0.0.1/")), "-\tnot-allowed\n");
}

TEST_F(RelayReview, END_4_one_user_could_stop_a_service_for_all) {
  Ask(MakeHandoff("alice", {"https://good.example/"}));
  AnswerAll(201);
  std::vector<string> urls;
  for (int i = 0; i < 10; ++i) {
    urls.push_back("https://mallory.example:" + std::to_string(5000 + i) + "/");
  }
  for (int i = 0; i < 40; ++i) {
    Ask(MakeHandoff("mallory", urls));
  }
  ASSERT_GE(sender_->requests.size(), 30U);
  // So many that others' pushes aren't even read.
  for (int i = 0; i < 600; ++i) {
    Ask(MakeHandoff("mallory", {"https://good.example/mallory"}));
  }
  Ask(MakeHandoff("alice", {"https://good.example/"}));
  bool found = false;
  for (int i = 0; i < 5000 && !found; ++i) {
    auto& requests = sender_->requests;
    const auto good = std::ranges::find_if(requests, [](const relay::PushRequest& request) {
      return request.endpoint.url.starts_with("https://good.example/");
    });
    ASSERT_NE(good, requests.end());
    found = good->endpoint.url == "https://good.example/";
    std::swap(*good, requests.front());
    sender_->AnswerHttp(201);
    Run();
  }
  EXPECT_TRUE(found);
}

TEST_F(RelayReview, END_4_who_sent_on_and_went_away_kept_it_busy) {
  const int fd = Connect(push::WriteHandoff(MakeRegistration("mallory")) + "\n");
  Run();
  Send(fd, "x");
  close(fd);
  pollfd ready{relay_->fd(), POLLIN, 0};
  int rounds = 0;
  while (poll(&ready, 1, 0) > 0 && ++rounds < 100) {
    relay_->Run();
  }
  EXPECT_LT(rounds, 10);
  EXPECT_EQ(Status().clients, 0U);
  AnswerAll(201);
}

struct ClockCase {
  const char* name;
  int64_t step_hours;
  bool opened_before;  // and not running, when it was set
  bool opened_after;
};

class RelayClockReview : public RelayReview, public testing::WithParamInterface<ClockCase> {};

// What was acknowledged was dropped, or wasn't tried again for hours.
TEST_P(RelayClockReview, MSG_9_a_clock_that_was_set) {
  const int64_t step = GetParam().step_hours * 3600 * 1000000;
  // Files have real times.
  clock_.wall -= std::max<int64_t>(step, 0);
  Reopen();
  Ask(MakeHandoff("alice"));
  sender_->AnswerUnreachable();
  Run();
  clock_.wall += step;
  if (GetParam().opened_before) {
    Reopen();
  }
  Run();
  if (GetParam().opened_after) {
    Reopen();
  }
  int minutes = 0;
  for (; sender_->requests.empty() && minutes < 10; ++minutes) {
    clock_.Advance(60);
    Run();
  }
  ASSERT_LT(minutes, 10);
  EXPECT_EQ(AnswerAll(201), 1);
  // And so it goes on.
  PutIntoSpool(MakeHandoff("alice"));
  for (int i = 0; i < 40; ++i) {
    clock_.Advance(2);
    Run();
  }
  EXPECT_EQ(AnswerAll(201), 1);
  EXPECT_EQ(Ask(MakeHandoff("alice")), "+\tqueued\n");
  EXPECT_EQ(AnswerAll(201), 1);
  EXPECT_EQ(Status().dropped, 0U);
  EXPECT_EQ(Status().queued, 0U);
}

// One that was set forward while nobody looked is taken for time that has passed.
constexpr ClockCase kClocks[] = {
    {"from_1970", 56 * 365 * 24, false, false},
    {"from_1970_and_opened", 56 * 365 * 24, false, true},
    {"two_days_on", 48, false, false},
    {"two_days_on_and_opened", 48, false, true},
    {"two_hours_back", -2, false, false},
    {"two_hours_back_and_opened", -2, false, true},
    {"two_hours_back_while_it_did_not_run", -2, true, false},
    {"a_month_back", -720, false, false},
    {"a_month_back_and_opened", -720, false, true},
    {"a_month_back_while_it_did_not_run", -720, true, true},
};
INSTANTIATE_TEST_SUITE_P(Table, RelayClockReview, testing::ValuesIn(kClocks),
                         [](const auto& test) { return test.param.name; });

// -- and of our own clock --

TEST_F(RelayReview, MSG_9_a_push_expires_by_the_time_that_has_passed) {
  settings_.ttl_chat_secs = settings_.ttl_mail_secs = 3600;
  Reopen();
  Ask(MakeHandoff("alice"));
  sender_->AnswerUnreachable();
  Run();
  clock_.wall -= int64_t{86400} * 1000000;
  for (int i = 0; i < 65; ++i) {
    clock_.Advance(60);
    Run();
    while (!sender_->requests.empty()) {
      sender_->AnswerUnreachable();
      Run();
    }
  }
  EXPECT_EQ(Status().queued, 0U);
  EXPECT_EQ(Status().dropped, 1U);
}

// It is signed for others' clocks.
TEST_F(RelayReview, MSG_8_tokens_are_of_the_time_of_day) {
  const auto expires = [&] {
    Ask(MakeHandoff("alice"));
    const string token = sender_->requests.front().authorization;
    AnswerAll(201);
    const size_t begin = token.find('.') + 1;
    const string claims =
        util::DecodeBase64(token.substr(begin, token.find('.', begin) - begin)).value_or("");
    return std::stoll(claims.substr(claims.find("\"exp\":") + 6));
  };
  for (const int64_t days : {0, 300, -600}) {
    clock_.wall += days * 86400 * 1000000;
    const int64_t left = expires() - clock_.wall / 1000000;
    EXPECT_GT(left, 0);
    EXPECT_LE(left, 86400);
  }
}

}  // namespace
}  // namespace coi::test
