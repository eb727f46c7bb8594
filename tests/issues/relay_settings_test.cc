// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Settings that can't work, or that a service refuses, and what is wrong with the folders
// that they name.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "push/handoff.h"
#include "push/subscription.h"
#include "relay_util.h"

namespace coi::test {
namespace {

using std::string;

class RelaySettings : public OpenRelayTest {
 protected:
  // By its name, with a slash, and by a link.
  void RefusesTwice(const char** one, const string& other) {
    relay_.reset();
    const char* const before = *one;
    const string with_slash = other + "/";
    const string link = directory_.path() + "/link";
    ASSERT_EQ(symlink(other.c_str(), link.c_str()), 0);
    for (const string& name : {other, with_slash, link}) {
      *one = name.c_str();
      EXPECT_FALSE(Open()) << name;
      EXPECT_NE(error_.find("must be three directories"), string::npos) << error_;
    }
    *one = before;
    unlink(link.c_str());
  }
};

// After a day, the spool removed vapid.pem as something that was left behind.
TEST_F(RelaySettings, SUB_1_a_spool_where_the_keys_are_removed_them) {
  RefusesTwice(&settings_.spool_dir, key_dir_);
  EXPECT_NE(ReadFile(key_dir_ + "/vapid.pem"), "");
}

TEST_F(RelaySettings, MSG_10_a_spool_where_the_queue_is_removed_it) {
  RefusesTwice(&settings_.spool_dir, queue_dir_);
}

TEST_F(RelaySettings, MSG_12_the_queue_was_put_beside_its_key_by_another_name) {
  RefusesTwice(&settings_.queue_dir, key_dir_);
}

TEST_F(RelaySettings, SUB_1_a_key_that_links_to_nothing_failed_without_a_word) {
  for (const string name : {"vapid.pem", "storage.pem"}) {
    relay_.reset();
    const string path = key_dir_ + "/" + name;
    ASSERT_EQ(rename(path.c_str(), (path + ".away").c_str()), 0);
    ASSERT_EQ(symlink("/nonexistent/key.pem", path.c_str()), 0);
    EXPECT_FALSE(Open());
    EXPECT_NE(error_.find(name), string::npos) << error_;
    EXPECT_EQ(rename((path + ".away").c_str(), path.c_str()), 0);
  }
}

// Push services refused all that was kept for longer than they do.
TEST_F(RelaySettings, MSG_8_a_TTL_of_more_than_four_weeks_was_sent) {
  constexpr unsigned int kMost = 28 * 86400;
  settings_.ttl_chat_secs = settings_.ttl_mail_secs = 2 * kMost;
  Reopen();
  Ask(MakeHandoff("alice"));
  EXPECT_EQ(sender_->AnswerHttp(503).ttl_secs, kMost);
  Run();
  // It is kept as long as the setting says.
  clock_.Advance(kMost + kMost / 2);
  Run();
  EXPECT_EQ(sender_->AnswerHttp(201).ttl_secs, kMost / 2);
  push::Handoff registration = MakeRegistration("alice");
  push::Subscription subscription = *push::ReadStored(registration.subscriptions.front().second);
  subscription.expires += 2 * kMost;
  registration.subscriptions.front().second = push::WriteStored(subscription);
  Connect(push::WriteHandoff(registration) + "\n");
  Run();
  EXPECT_EQ(sender_->AnswerHttp(201).ttl_secs, kMost);
}

TEST_F(RelaySettings, MSG_7_a_machine_without_a_domain_had_no_push_at_all) {
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

}  // namespace
}  // namespace coi::test
