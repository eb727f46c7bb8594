// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Who asks the relay, or leaves something in its spool: they go away, ask for others, or
// set a file to any time.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <string>

#include "push/handoff.h"
#include "relay_util.h"

namespace coi::test {
namespace {

using push::Handoff;

class RelayClients : public OpenRelayTest {};

TEST_F(RelayClients, MSG_10_a_push_was_lost_whose_asker_had_gone) {
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

TEST_F(RelayClients, END_4_who_sent_on_and_went_away_kept_it_busy) {
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

TEST_F(RelayClients, END_5_a_local_user_could_act_for_others) {
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

TEST_F(RelayClients, END_5_a_registration_that_timed_out_locked_for_decades) {
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

// The owner of a file may set it to anything, and a tmpfs keeps that. In microseconds it
// overflowed, and the mail was as old as 1970.
TEST_F(RelayClients, MSG_10_a_spool_file_of_a_time_that_no_clock_has) {
  const TemporaryDirectory memory("/dev/shm");
  spool_dir_ = memory.Make("spool", 01733);
  settings_.spool_dir = spool_dir_.c_str();
  Reopen();
  const Handoff handoff = MakeHandoff("alice");
  PutIntoSpool(handoff);
  const timespec time = {int64_t{1} << 62, 0};
  const timespec times[] = {time, time};
  ASSERT_EQ(utimensat(AT_FDCWD, Spool(handoff.id + ".handoff").c_str(), times, 0), 0);
  Run();
  EXPECT_EQ(sender_->requests.size(), 1U);
}

}  // namespace
}  // namespace coi::test
